"""Local binary patterns: which neighbours of a pixel are as bright as it, or brighter.

Ojala, Pietikainen and Maenpaa, TPAMI 2002, with the eight adjacent pixels themselves, not
points of a circle.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.ops import cells

# Around the pixel, clockwise from the upper left, in the order of the bits of a code.
_AROUND = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


def codes(images: jax.Array) -> jax.Array:
    """The pattern of each pixel that has eight neighbours.

    Args:
      images: `[B, H, W, C]`, H and W at least 3, any type.

    Returns:
      `[B, H - 2, W - 2, C]` int32 in 0..255; bit k stands for neighbour k.
    """
    height, width = (side - 2 for side in images.shape[1:3])

    def at(row: int, column: int) -> jax.Array:
        return images[:, row : row + height, column : column + width]

    centre = at(1, 1)
    bits = ((at(*place) >= centre) << k for k, place in enumerate(_AROUND))
    return sum(bits).astype(jnp.int32)


def describe(images: jax.Array, *, pool: int = 8, uniform: bool = True) -> jax.Array:
    """Histograms of the patterns in cells, for each channel.

    Args:
      images: `[B, H, W, C]`, any float type.
      pool: Side of a cell, in pixels of the map of codes.
      uniform: Counts all patterns that change more than twice around the pixel together,
        which leaves 59 of the 256.

    Returns:
      Shares of a cell's pixels, `[B, H', W', C * bins]` float32.

    Raises:
      UserError: The image is smaller than a cell.
    """
    cells.check("LBP", pool, *(side - 2 for side in images.shape[1:3]))
    table = _uniform_table() if uniform else np.arange(256, dtype=np.int32)
    places = jnp.asarray(table)[codes(images)]
    return cells.histograms([(places, 1.0)], bins=int(table.max()) + 1, pool=pool)


def _uniform_table() -> np.ndarray:
    """Bin of each code: 58 uniform ones in the order of their codes, then the rest."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    changes = np.sum(bits != np.roll(bits, 1, axis=1), axis=1)
    table = np.full(256, 58, np.int32)
    table[changes <= 2] = np.arange(58)
    return table
