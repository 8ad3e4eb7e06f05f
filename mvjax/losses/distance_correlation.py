"""Distance correlation of two variables of the same samples (Szekely et al., 2007).

Zero in the limit of many samples if and only if they are independent. As in MV-MR (arXiv
2303.12130), it is the V-statistic, so biased towards 1 for few samples, and the ROOT of
what some libraries give.
"""

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.losses import pairwise

FLOOR = 1e-4  # Of squared distances, as in the released code; on the diagonal, too.
_ROUNDING = 4  # Units of the last place by which centred distances may be off.


def correlation(x: jax.Array, y: jax.Array) -> jax.Array:
    """Distance correlation.

    Unlike the released code it is 0, with zero gradients, where one of the variables is
    the same for all samples, or rounding makes the covariance negative, not NaN.

    Args:
      x: First variable, `[B, D]`, any float type.
      y: Second variable of the same samples, `[B, E]`.

    Returns:
      Between 0 and 1, `[]`, float32 or wider.

    Raises:
      UserError: The shapes are others, or there are fewer than two samples.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise errors.UserError(
            "Distance correlation takes two arrays [B, D] of at least 2 samples, not "
            f"{x.shape} and {y.shape}."
        )
    (a, noise_a), (b, noise_b) = _centred(x), _centred(y)
    covariance, variance_a, variance_b = (
        jnp.mean(left * right) for left, right in ((a, b), (a, a), (b, b))
    )
    sound = (covariance > 0) & (variance_a > noise_a) & (variance_b > noise_b)
    # The guards stand before the roots, whose gradients at 0 are infinite.
    covariance, variance_a, variance_b = (
        jnp.where(sound, x, 1) for x in (covariance, variance_a, variance_b)
    )
    deviations = jnp.sqrt(variance_a) * jnp.sqrt(variance_b)
    return jnp.where(sound, jnp.sqrt(covariance / deviations), 0)


def _centred(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centred distances `[B, B]`, and the variance that rounding alone makes, `[]`."""
    raw = distances(x)
    noise = jnp.square(_ROUNDING * jnp.finfo(raw.dtype).eps * jnp.mean(raw))
    return pairwise.centre(raw), jax.lax.stop_gradient(noise)


def distances(x: jax.Array) -> jax.Array:
    """Distances of all pairs of rows `[B, D]`, at least 0.01, `[B, B]`.

    The gradient is zero where the floor holds, so also where rows are equal.
    """
    squared = pairwise.gram_squared_distances(x)
    return jnp.sqrt(jnp.where(squared > FLOOR, squared, FLOOR))
