"""Histograms of the values of each channel (Swain and Ballard, IJCV 1991)."""

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.ops import cells

_TILE = 8  # Pixels a side that are counted together on the way to a whole image.


def describe(
    images: jax.Array,
    *,
    bins: int = 16,
    low: float = -3.0,
    high: float = 3.0,
    pool: int | None = None,
) -> jax.Array:
    """How often values lie in each of equally wide bins, for each channel.

    A value counts for the two bins whose middles are next to it, by how near they are, so
    that rounding changes little; what lies beyond the outer middles counts for them.

    Args:
      images: `[B, H, W, C]`, any float type.
      bins: Number of bins.
      low: Lower end of the first one; by default normalised images fit in.
      high: Upper end of the last one.
      pool: Side of the cells that have a histogram each; None: the whole image is one.

    Returns:
      Shares of the pixels, `[B, H', W', C * bins]` float32; H' = W' = 1 without `pool`.

    Raises:
      UserError: The range is empty, or the image is smaller than a cell.
    """
    if not low < high or bins < 1:
        raise errors.UserError(
            "Colour histograms need a bin at least, and a low end below the high one, "
            f"not bins={bins}, low={low}, high={high}."
        )
    height, width = images.shape[1:3]
    if pool is not None:
        cells.check("A colour histogram", pool, height, width)
    x = images.astype(jnp.float32)
    middle = jnp.clip((x - low) / (high - low) * bins - 0.5, 0, bins - 1)
    lower = jnp.floor(middle)
    part = middle - lower
    place = lower.astype(jnp.int32)
    pairs = [(place, 1 - part), (place + 1, part)]  # A bin too many gets nothing.
    if pool is not None:
        return cells.histograms(pairs, bins=bins, pool=pool)
    # Tiles of the image, filled up with pixels of no bin, and then their sum.
    pad = ((0, 0), (0, -height % _TILE), (0, -width % _TILE), (0, 0))
    pairs = [
        (jnp.pad(place, pad, constant_values=-1), jnp.pad(share, pad))
        for place, share in pairs
    ]
    tiles = cells.histograms(pairs, bins=bins, pool=_TILE)
    total = jnp.sum(tiles, axis=(1, 2), keepdims=True)
    return total * (_TILE**2 / (height * width))
