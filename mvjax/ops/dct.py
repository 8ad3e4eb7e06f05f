"""Discrete cosine transform of images, type II, by two matrix products."""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import precision


def dct2(images: jax.Array) -> jax.Array:
    """Unnormalised DCT-II over height and width, as released with MV-MR.

    Along an axis of N pixels it is X_k = 2 sum_n x_n cos(pi k (2n + 1) / 2N), as
    `scipy.fft.dct` without a norm.

    Args:
      images: `[B, H, W, C]`, any float type.

    Returns:
      `[B, H, W, C]` float32; the first row and column hold the lowest frequencies.
    """
    rows, columns = (_cosines(side) for side in images.shape[1:3])
    x = images.astype(jnp.float32)
    return precision.einsum(
        "jw,bkwc->bkjc", columns, precision.einsum("kh,bhwc->bkwc", rows, x)
    )


def _cosines(side: int) -> np.ndarray:
    """Matrix of the transform along one axis, `[side, side]` float32."""
    k, n = np.arange(side)[:, None], np.arange(side)[None]
    # Whole numbers leave the circle first: large angles would lose digits.
    return (2 * np.cos(np.pi / (2 * side) * (k * (2 * n + 1) % (4 * side)))).astype(
        np.float32
    )
