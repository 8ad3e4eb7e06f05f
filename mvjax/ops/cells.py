"""Means and histograms over the square cells of maps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors


def check(what: str, pool: int, height: int, width: int) -> None:
    """Checks that a map holds a cell.

    Raises:
      UserError: It is smaller, or cells have no side.
    """
    most = min(height, width)
    if not 1 <= pool <= most:
        raise errors.UserError(
            f"{what} at pool={pool} needs maps of at least that many pixels a side; "
            f"here they have {height} x {width}. Choices of pool: "
            + (f"1 to {most}." if most > 0 else "none: take larger images.")
        )


def histograms(
    pairs: Sequence[tuple[jax.Array, jax.Array | float]], *, bins: int, pool: int
) -> jax.Array:
    """Weighted histograms of cells, divided by the number of pixels in a cell.

    Args:
      pairs: Of each pixel the number of a bin, and what is added to it; arrays
        `[B, H, W, C]`. Numbers outside 0..bins - 1 add nothing.
      bins: Number of bins.
      pool: Side of a cell; a rest at the lower and the right border is left out.

    Returns:
      `[B, H // pool, W // pool, C * bins]` float32, bins of one channel side by side.
    """
    shape = pairs[0][0].shape
    batch, rows, columns, channels = (
        shape[0],
        shape[1] // pool,
        shape[2] // pool,
        shape[3],
    )

    def by_pixel(maps: jax.Array | float) -> jax.Array:
        """`[pool * pool, B, h, w, C, 1]`: the first axis runs over a cell."""
        maps = jnp.broadcast_to(maps, shape)[:, : rows * pool, : columns * pool]
        maps = maps.reshape(batch, rows, pool, columns, pool, channels)
        maps = maps.transpose(2, 4, 0, 1, 3, 5)
        return maps.reshape(pool**2, batch, rows, columns, channels, 1)

    number = np.arange(bins)

    def add(total: jax.Array, pixel: list[list[jax.Array]]) -> tuple[jax.Array, None]:
        for place, share in pixel:
            total = total + jnp.where(place == number, share, 0)
        return total, None

    # One pixel of all cells after the other: as one sum over a one-hot array it takes
    # ten times as long on CPU, and scattering is slow on TPU and unordered on GPU.
    total = jnp.zeros((batch, rows, columns, channels, bins))
    pixels = [[by_pixel(place), by_pixel(share)] for place, share in pairs]
    total, _ = jax.lax.scan(add, total, pixels)
    return total.reshape(batch, rows, columns, -1) / pool**2
