"""Losses on the cross-correlation of two embeddings.

Barlow Twins (Zbontar et al., 2021, arXiv 2103.03230) and DeCUR (Wang et al., 2024, arXiv
2309.05300), of embeddings that a batch norm without scale and bias has standardised
(`models/layers/norm.py`): the norm keeps statistics, so it belongs to the model.

Only the diagonal of the matrix and the sum of its squares are needed. The latter is a
product of two `[B, B]` matrices as well as one of `[K, K]`, whichever is smaller: at B = 512
and K = 8,192 a sixteenth of the memory and of the work.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mvjax.core import precision


class Terms(NamedTuple):
    """A loss and what it is made of, each `[]` float32."""

    loss: jax.Array
    diagonal: jax.Array
    off_diagonal: jax.Array  # Before its weight.


def diagonal(za: jax.Array, zb: jax.Array, divisor: float) -> jax.Array:
    """Correlations of each dimension with itself.

    Args:
      za: Standardised embeddings `[B, K]`.
      zb: Of the other view, of the same shape.
      divisor: B, or what stands in its place.

    Returns:
      `[K]`, float32 or wider.
    """
    za, zb = (z.astype(jnp.promote_types(z.dtype, jnp.float32)) for z in (za, zb))
    return jnp.sum(za * zb, axis=0) / divisor


def squares(za: jax.Array, zb: jax.Array, divisor: float) -> jax.Array:
    """Sum of all squared correlations, of each dimension with each; see `diagonal`.

    Returns:
      `[]`, float32 or wider.
    """
    za, zb = (z.astype(jnp.promote_types(z.dtype, jnp.float32)) for z in (za, zb))
    if za.shape[0] < za.shape[1]:  # sum (A^T B)^2 = <A A^T, B B^T>.
        total = jnp.sum(precision.matmul(za, za.T) * precision.matmul(zb, zb.T))
    else:
        total = jnp.sum(jnp.square(precision.matmul(za.T, zb)))
    return total / divisor**2


def off_diagonal_squares(za: jax.Array, zb: jax.Array, divisor: float) -> jax.Array:
    """Sum of the squared correlations of different dimensions, `[]`; see `diagonal`."""
    own = jnp.sum(jnp.square(diagonal(za, zb, divisor)))
    return squares(za, zb, divisor) - own


def redundancy(
    za: jax.Array,
    zb: jax.Array,
    *,
    weight: float,
    divisor: float,
    target: float = 1.0,
) -> Terms:
    """Barlow Twins' loss: the diagonal at its target, all else at zero.

    Args:
      za: Standardised embeddings `[B, K]`.
      zb: Of the other view, of the same shape.
      weight: Of the off-diagonal entries, lambda.
      divisor: Of the correlations: B; the released DeCUR takes four times its batch of
        one device, whatever their number.
      target: Of the diagonal; 0 for DeCUR's unique dimensions.
    """
    entries = diagonal(za, zb, divisor)
    on = jnp.sum(jnp.square(entries - target))
    off = squares(za, zb, divisor) - jnp.sum(jnp.square(entries))
    return Terms(on + weight * off, on, off)


def decoupled(
    za: jax.Array, zb: jax.Array, *, common: int, weight: float, divisor: float
) -> tuple[Terms, Terms]:
    """DeCUR's loss between modalities: common dimensions agree, unique ones do not.

    Correlations between common and unique dimensions are left alone. DeCUR takes the mean
    of the two losses.

    Args:
      za: Standardised embeddings of one modality, `[B, K]`.
      zb: Of the other modality, of the same shape.
      common: How many dimensions, the first ones, are common.
      weight: Of the off-diagonal entries, lambda.
      divisor: See `redundancy`.

    Returns:
      The terms of the common and of the unique dimensions; zeros where there are none.
    """
    return (
        redundancy(za[:, :common], zb[:, :common], weight=weight, divisor=divisor),
        redundancy(
            za[:, common:], zb[:, common:], weight=weight, divisor=divisor, target=0
        ),
    )
