"""Square windows of a map, as Swin Transformers cut them.

Liu et al., 2021 (arXiv 2103.14030).
"""

import jax
import jax.numpy as jnp
import numpy as np


def pad(x: jax.Array, multiple: int) -> jax.Array:
    """Appends zeros to `[B, H, W, C]` until `multiple` divides H and W."""
    margins = [(0, -side % multiple) for side in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *margins, (0, 0)))


def split(x: jax.Array, window: int) -> jax.Array:
    """Cuts `[B, H, W, ...]` into windows, `[B * number, window**2, ...]` row by row."""
    b, height, width, *rest = x.shape
    x = x.reshape(b, height // window, window, width // window, window, *rest)
    return x.swapaxes(2, 3).reshape(-1, window**2, *rest)


def join(windows: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The inverse of `split`: `[B * number, T, C]` to `[B, H, W, C]` of a size (H, W)."""
    side, channels = round(windows.shape[1] ** 0.5), windows.shape[-1]
    rows, columns = (length // side for length in size)
    x = windows.reshape(-1, rows, columns, side, side, channels)
    return x.swapaxes(2, 3).reshape(-1, *size, channels)


def regions(size: tuple[int, int], shift: tuple[int, int], window: int) -> np.ndarray:
    """What has come from where when a map is moved to the upper left, by window.

    Args:
      size: (height, width) of the map.
      shift: How far it is moved; what leaves it comes in again at the other side.
      window: Side of the windows.

    Returns:
      Numbers of regions `[number, window**2]`; pixels of a window are neighbours in the
      map if they have the same.
    """
    behind = [np.arange(side) >= side - s for side, s in zip(size, shift)]
    numbers = 2 * behind[0][:, None] + behind[1][None, :]
    return np.asarray(split(numbers[None].astype(np.int32), window))


def relative_positions(window: int) -> np.ndarray:
    """Row of the table of biases for each pair of pixels of a window, `[T, T]`."""
    y, x = (axis.reshape(-1) for axis in np.indices((window, window)))
    rows, columns = (axis[:, None] - axis[None, :] + window - 1 for axis in (y, x))
    return rows * (2 * window - 1) + columns
