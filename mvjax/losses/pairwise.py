"""Distances between all pairs of rows."""

import jax
import jax.numpy as jnp

from mvjax.core import precision


def _wide(x: jax.Array) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def squared_distances(x: jax.Array) -> jax.Array:
    """Squared distances of all pairs of rows, by their differences.

    Exact where rows are near each other, but the differences take `[B, B, D]`: for few
    dimensions.

    Args:
      x: `[B, D]`, any float type.

    Returns:
      `[B, B]`, float32 or wider.
    """
    x = _wide(x)
    # No norms and products of matrices: these cancel, and accelerators shorten them.
    return jnp.sum(jnp.square(x[:, None] - x[None]), axis=-1)


def gram_squared_distances(x: jax.Array) -> jax.Array:
    """Squared distances of all pairs of rows, by their products.

    One matrix product for any D, at full precision; of rows that are near each other, for
    their length, it may be negative by rounding, so put a floor below it.

    Args:
      x: `[B, D]`, any float type.

    Returns:
      `[B, B]`, float32 or wider; zeros on the diagonal.
    """
    x = _wide(x)
    products = precision.matmul(x, x.T)
    # Squares summed in another order would leave something of the diagonal.
    square = jnp.diagonal(products)
    return square[:, None] - 2 * products + square[None]


def centre(matrix: jax.Array) -> jax.Array:
    """H M H of a symmetric matrix `[B, B]`, where H takes the mean off a vector."""
    means = jnp.mean(matrix, axis=0)  # [B]
    return matrix - means - means[:, None] + jnp.mean(means)
