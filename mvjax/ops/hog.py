"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), as released with MV-MR.

`released` is what the published code computes. The channel's Sobel responses gx and gy
give a length and an angle atan2(gx, gy), in units of a bin p = angle / pi * bins. The bin
floor(p) is set to the length, and the bin ceil(p) then gets 1 - length, which is no
weight of an interpolation: it may be negative, and a flat pixel puts 1 into bin 0. Bins
are counted modulo `bins`, so that opposite directions share one.

`proper` shares the length among the two bins beside the angle atan2(gy, gx), linearly.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import limits
from mvjax.ops import cells

KINDS = ("released", "proper")
_ROUNDING = 3 * float(np.finfo(np.float32).eps)  # Relative, of an angle in bins.


def describe(
    images: jax.Array,
    *,
    kind: str = "released",
    bins: int = 10,
    pool: int = 8,
    max_angle: float = math.pi,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> jax.Array:
    """Mean histograms of cells, for each channel.

    Args:
      images: `[B, H, W, C]`, any float type.
      kind: "released" or "proper".
      bins: Number of bins.
      pool: Side of a cell, in pixels of the gradient map; a rest at the lower and the
        right border is left out.
      max_angle: Angle that all bins span: pi, so that opposite directions share a bin, or
        2 pi for signed directions.
      stride: Of the Sobel filter.
      padding: Zeros around the image.
      dilation: Pixels from tap to tap of the filter.

    Returns:
      `[B, H', W', C * bins]` float32, bins of one channel side by side.

    Raises:
      UserError: A setting is out of its range, or the image is smaller than a cell.
    """
    limits.check("kind of HOG", kind, limits.one_of(*KINDS))
    height, width = (
        (side + 2 * padding - 2 * dilation - 1) // stride + 1
        for side in images.shape[1:3]
    )
    cells.check("HOG", pool, height, width)
    across, down = _sobel(images.astype(jnp.float32), stride, padding, dilation)
    length = jnp.sqrt(across**2 + down**2)
    if kind == "released":
        place = _in_bins(jnp.arctan2(across, down), max_angle, bins)
        low, high = jnp.floor(place), jnp.ceil(place)
        shares = (length, 1 - length)
    else:  # The responses point from light to dark.
        place = _in_bins(jnp.arctan2(-down, -across), max_angle, bins)
        low = jnp.floor(place)
        high = low + 1
        shares = (length * (high - place), length * (place - low))
    places = ((bin % bins).astype(jnp.int32) for bin in (low, high))
    return cells.histograms(tuple(zip(places, shares)), bins=bins, pool=pool)


def _sobel(
    x: jax.Array, stride: int, padding: int, dilation: int
) -> tuple[jax.Array, jax.Array]:
    """Responses to the released kernels, left minus right and upper minus lower.

    They are sums of differences, so exactly zero where the image is constant: a
    convolution leaves rounding errors there, whose angle is random.
    """
    pad = (padding, padding)
    x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    height, width = (side - 2 * dilation for side in x.shape[1:3])

    def tap(row: int, column: int) -> jax.Array:
        top, left = row * dilation, column * dilation
        return x[:, top : top + height : stride, left : left + width : stride]

    across = [tap(i, 0) - tap(i, 2) for i in range(3)]
    down = [tap(0, i) - tap(2, i) for i in range(3)]
    return across[0] + 2 * across[1] + across[2], down[0] + 2 * down[1] + down[2]


def _in_bins(angle: jax.Array, max_angle: float, bins: int) -> jax.Array:
    """Angles in units of a bin, whole where only rounding keeps them from it.

    Angles along the axes and the diagonals are. A compiler that turns the division into a
    product with the inverse gives 11.999999 for 12, and so another bin.
    """
    place = angle / jnp.float32(max_angle) * bins
    nearest = jnp.round(place)
    return jnp.where(
        jnp.abs(place - nearest) <= _ROUNDING * jnp.abs(place), nearest, place
    )
