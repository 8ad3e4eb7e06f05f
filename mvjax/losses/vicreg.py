"""Variance, invariance and covariance of embeddings (VICReg, Bardes et al., 2022).

arXiv 2105.04906. The weights of the paper are 25, 25 and 1.
"""

import jax
import jax.numpy as jnp

from mvjax.losses import cross_correlation

STABILISER = 1e-4  # Added to variances, as in the paper.


def _wide(z: jax.Array) -> jax.Array:
    return z.astype(jnp.promote_types(z.dtype, jnp.float32))


def invariance(za: jax.Array, zb: jax.Array) -> jax.Array:
    """Mean squared difference of all entries of two views `[B, D]`, `[]`."""
    return jnp.mean(jnp.square(_wide(za) - _wide(zb)))


def variance(
    z: jax.Array, *, margin: float = 1.0, stabiliser: float = STABILISER
) -> jax.Array:
    """Mean shortfall of the deviation of each dimension, unbiased, below a margin.

    Args:
      z: Embeddings of one view, `[B, D]` with B > 1.
      margin: Smallest deviation that costs nothing.
      stabiliser: Added to the variance; with 0, as MV-MR has it, a dimension that does not
        vary at all costs the margin and gets no gradient, where PyTorch's is not finite.

    Returns:
      `[]`, float32 or wider.
    """
    var = jnp.var(_wide(z), axis=0, ddof=1) + stabiliser  # [D]
    tiny = var <= 0
    deviation = jnp.where(tiny, 0, jnp.sqrt(jnp.where(tiny, 1, var)))
    return jnp.mean(jax.nn.relu(margin - deviation))


def covariance(z: jax.Array, *, divisor: float | None = None) -> jax.Array:
    """Sum of the squared covariances of different dimensions, over D.

    Args:
      z: Embeddings of one view, `[B, D]` with B > 1.
      divisor: Of the covariances; None: B - 1.

    Returns:
      `[]`, float32 or wider.
    """
    z = _wide(z)
    z = z - jnp.mean(z, axis=0)
    divisor = z.shape[0] - 1 if divisor is None else divisor
    return cross_correlation.off_diagonal_squares(z, z, divisor) / z.shape[1]
