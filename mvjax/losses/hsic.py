"""Hilbert-Schmidt independence criterion with Gaussian kernels.

Zero for independent variables. `biased` is the V-statistic of Gretton et al. (NeurIPS
2007, with 1 / B^2 where their paper of 2005 has 1 / (B - 1)^2), `unbiased` the
U-statistic of Song et al. (JMLR 2012), which can be negative.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors


def biased(
    x: jax.Array,
    y: jax.Array,
    *,
    bandwidth_x: float | None = None,
    bandwidth_y: float | None = None,
) -> jax.Array:
    """Trace of K H L H over B^2, where H centres; never negative but for rounding.

    Args:
      x: First variable, `[B, D]`.
      y: Second variable of the same samples, `[B, E]`.
      bandwidth_x: Standard deviation of the kernel of x; None is the median distance.
      bandwidth_y: The same for y.

    Returns:
      The criterion, `[]`.
    """
    _check(x, y, fewest=1)
    kernel_x, kernel_y = (
        gaussian_kernel(x, bandwidth_x),
        gaussian_kernel(y, bandwidth_y),
    )
    # One centred kernel is enough: H is a projection. Centring both is the more exact.
    return jnp.mean(_centre(kernel_x) * _centre(kernel_y))


def unbiased(
    x: jax.Array,
    y: jax.Array,
    *,
    bandwidth_x: float | None = None,
    bandwidth_y: float | None = None,
) -> jax.Array:
    """The criterion without bias, `[]`; arguments as for `biased`, with B > 3."""
    size = _check(x, y, fewest=4)
    same = np.eye(size, dtype=bool)  # A sample forms no pair with itself.
    kernel_x = jnp.where(same, 0, gaussian_kernel(x, bandwidth_x))
    kernel_y = jnp.where(same, 0, gaussian_kernel(y, bandwidth_y))
    rows_x, rows_y = jnp.sum(kernel_x, axis=1), jnp.sum(kernel_y, axis=1)  # [B]
    total = jnp.sum(kernel_x * kernel_y)
    total += jnp.sum(rows_x) * jnp.sum(rows_y) / ((size - 1) * (size - 2))
    total -= 2 * jnp.sum(rows_x * rows_y) / (size - 2)
    return total / (size * (size - 3))


def gaussian_kernel(x: jax.Array, bandwidth: float | None = None) -> jax.Array:
    """exp(-|x_i - x_j|^2 / (2 bandwidth^2)) of rows `[B, D]`, `[B, B]`.

    The bandwidth None is `median_bandwidth(x)`.
    """
    if bandwidth is None:
        bandwidth = median_bandwidth(x)
    return jnp.exp(-_squared_distances(x) / (2 * bandwidth**2))


def median_bandwidth(x: jax.Array) -> jax.Array:
    """Median distance between two of the rows `[B, D]`, `[]`, without gradient.

    It is 1 where there is no such distance to go by: a single row, or a median of zero
    because most rows are equal.
    """
    rows, columns = np.triu_indices(x.shape[0], 1)
    if not rows.size:
        return jnp.ones([])
    squared = jax.lax.stop_gradient(_squared_distances(x))[rows, columns]
    median = jnp.median(jnp.sqrt(squared))
    return jnp.where(median > 0, median, 1)


def _check(x: jax.Array, y: jax.Array, *, fewest: int) -> int:
    """The batch size, if both arguments have the same one and it is large enough."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0] or x.shape[0] < fewest:
        raise errors.UserError(
            f"HSIC takes two arrays [B, D] of at least {fewest} samples, not "
            f"{x.shape} and {y.shape}."
        )
    return x.shape[0]


def _squared_distances(x: jax.Array) -> jax.Array:
    """Squared distances of all pairs of rows, `[B, D]` to `[B, B]`."""
    x = jnp.asarray(x)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    # Norms and matrix products would cancel, and accelerators shorten them.
    return jnp.sum(jnp.square(x[:, None] - x[None]), axis=-1)


def _centre(kernel: jax.Array) -> jax.Array:
    """H K H of a symmetric kernel, `[B, B]`."""
    means = jnp.mean(kernel, axis=0)  # [B]
    return kernel - means - means[:, None] + jnp.mean(means)
