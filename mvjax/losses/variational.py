"""Loss terms of variational autoencoders."""

import jax
import jax.numpy as jnp


def gaussian_kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL divergence of N(mean, exp(logvar)) from N(0, I), both `[B, D]`.

    Returns:
      Sum over D, mean over B, `[]` float32.
    """
    kl = -0.5 * (1 + logvar - jnp.square(mean) - jnp.exp(logvar))
    return jnp.mean(jnp.sum(kl, axis=-1))


def categorical_kl(logits: jax.Array) -> jax.Array:
    """KL divergence of categorical variables from the uniform one.

    Args:
      logits: `[B, D, K]`.

    Returns:
      Sum over the D variables, mean over B, `[]` float32.
    """
    log_q = jax.nn.log_softmax(logits)
    kl = jnp.sum(jnp.exp(log_q) * (log_q + jnp.log(logits.shape[-1])), axis=-1)
    return jnp.mean(jnp.sum(kl, axis=-1))


def squared_errors(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum of squared differences of each sample, `[B, ...]` to `[B]` float32."""
    difference = x.astype(jnp.float32) - y.astype(jnp.float32)
    return jnp.sum(jnp.square(difference), axis=tuple(range(1, x.ndim)))
