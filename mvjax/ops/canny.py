"""Edges after Canny (TPAMI 1986), with as many sweeps of the hysteresis as are asked for.

Without blur and at thresholds that are given in grey levels it is OpenCV's `Canny` with
`L2gradient`, up to edges that more sweeps would follow further.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.ops import photometry

_TAN = float(
    np.tan(np.pi / 8)
)  # Borders of the four directions: 22.5 and 67.5 degrees.
SWEEPS = 32
_ROUNDING = 1e-5  # Of gradients, as a share of the largest value.


def detect(
    images: jax.Array,
    *,
    sigma: float = 1.0,
    low: float = 0.1,
    high: float = 0.3,
    sweeps: int = SWEEPS,
) -> jax.Array:
    """Edges of the luma; of images without colours, of the mean channel.

    Args:
      images: `[B, H, W, C]`, any float type; their scale does not matter.
      sigma: Of the Gaussian that smoothes first, in pixels; 0: none.
      low: Least gradient of an edge that goes on, as a share of the image's largest.
      high: Least gradient that an edge has somewhere, likewise.
      sweeps: Pixels by which an edge is followed from there.

    Returns:
      1 on edges and 0 elsewhere, `[B, H, W, 1]` float32.

    Raises:
      UserError: The thresholds are not in order, or the image is too small to smooth.
    """
    if not 0 <= low <= high <= 1 or sigma < 0:
        raise errors.UserError(
            "Canny takes thresholds with 0 <= low <= high <= 1 and a sigma of at least "
            f"0, not low={low}, high={high}, sigma={sigma}."
        )
    x = images.astype(jnp.float32)
    if x.shape[-1] == 3:
        x = photometry.grey(x)
    else:
        x = jnp.mean(x, axis=-1, keepdims=True)
    if sigma > 0:
        size = 2 * round(3 * sigma) + 1
        if size // 2 >= min(x.shape[1:3]):
            raise errors.UserError(
                f"Canny with sigma={sigma} needs images above {size // 2} pixels a side, "
                f"not {x.shape[1]} x {x.shape[2]}."
            )
        x = photometry.smooth(x, jnp.full(len(x), sigma), size=size)
    grey = x[..., 0]
    largest = jnp.sqrt(jnp.max(_square(*_gradient(grey)), axis=(1, 2)))
    # What rounding leaves of a flat image makes no edges.
    least = _ROUNDING * jnp.max(jnp.abs(grey), axis=(1, 2))
    thresholds = (jnp.maximum(part * largest, least) for part in (low, high))
    return edges(grey, *thresholds, sweeps=sweeps)[..., None].astype(jnp.float32)


def edges(
    grey: jax.Array, low: jax.Array, high: jax.Array, *, sweeps: int = SWEEPS
) -> jax.Array:
    """Edges at thresholds of the Sobel gradient itself.

    Args:
      grey: `[B, H, W]` float32.
      low: What a pixel's gradient must exceed, `[B]`.
      high: What some pixel of each edge must exceed, `[B]`.
      sweeps: Pixels by which an edge is followed.

    Returns:
      `[B, H, W]` bool.
    """
    across, down = _gradient(grey)
    square = _square(across, down)  # Not its root, which rounds what is equal.
    low, high = (jnp.square(jnp.asarray(limit))[:, None, None] for limit in (low, high))
    weak = (square > low) & _is_crest(square, across, down)
    strong = weak & (square > high)

    def follow(_: int, found: jax.Array) -> jax.Array:
        return weak & _any_near(found)

    return jax.lax.fori_loop(0, sweeps, follow, strong)


def _gradient(grey: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sobel responses, right minus left and lower minus upper; borders are repeated."""
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[:, :, 2:] - padded[:, :, :-2]
    down = padded[:, 2:] - padded[:, :-2]
    return (
        across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:],
        down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:],
    )


def _square(across: jax.Array, down: jax.Array) -> jax.Array:
    return across**2 + down**2


def _is_crest(square: jax.Array, across: jax.Array, down: jax.Array) -> jax.Array:
    """Whether the gradient is largest along its own direction.

    Of two equal neighbours in a row or a column the first counts, as in OpenCV.
    """
    near = _neighbours(square, 0.0)
    steep, flat = jnp.abs(down), jnp.abs(across)
    horizontal = (square > near[1][0]) & (square >= near[1][2])
    vertical = (square > near[0][1]) & (square >= near[2][1])
    falling = (square > near[0][0]) & (square > near[2][2])
    rising = (square > near[0][2]) & (square > near[2][0])
    diagonal = jnp.where((across < 0) == (down < 0), falling, rising)
    return jnp.where(
        steep < _TAN * flat,
        horizontal,
        # tan(67.5 degrees) = 2 + tan(22.5 degrees).
        jnp.where(steep > (2 + _TAN) * flat, vertical, diagonal),
    )


def _any_near(found: jax.Array) -> jax.Array:
    """Whether a pixel or one of its eight neighbours is found."""
    rows = _neighbours(found, False)
    return jnp.any(jnp.stack([place for row in rows for place in row]), axis=0)


def _neighbours(maps: jax.Array, outside: float | bool) -> list[list[jax.Array]]:
    """Maps `[B, H, W]` shifted by -1, 0 and 1 rows, and so many columns."""
    height, width = maps.shape[1:]
    pad = ((0, 0), (1, 1), (1, 1))
    padded = jnp.pad(maps, pad, constant_values=outside)
    return [
        [padded[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)
    ]
