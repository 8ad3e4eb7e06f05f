"""Samples from predicted distributions, differentiable in their parameters."""

import jax
import jax.numpy as jnp

MIN_TEMPERATURE = 0.5
ANNEAL_RATE = 3e-5


def gaussian(mean: jax.Array, logvar: jax.Array, noise: jax.Array) -> jax.Array:
    """`mean + exp(logvar / 2) * noise` with standard normal noise, all `[B, D]`."""
    return mean + jnp.exp(0.5 * logvar) * noise


def gumbel_softmax(
    logits: jax.Array, uniform: jax.Array, temperature: jax.Array | float
) -> jax.Array:
    """Relaxed samples of categorical variables, as in the released MRDD.

    Args:
      logits: `[B, D, K]`.
      uniform: Draws from [0, 1), same shape.
      temperature: Above 0; lower is nearer to one-hot.

    Returns:
      `[B, D * K]`; each K numbers sum to one.
    """
    gumbel = -jnp.log(-jnp.log(uniform + 1e-7) + 1e-7)
    code = jax.nn.softmax((logits + gumbel) / temperature)
    return code.reshape(code.shape[0], -1)


def anneal_temperature(temperature: jax.Array, epoch: jax.Array) -> jax.Array:
    """Temperature after one training batch of `epoch`, as released.

    Every batch of each fifth epoch multiplies it by `exp(-3e-5 * epoch)`, down to 0.5.
    """
    lower = temperature * jnp.exp(-ANNEAL_RATE * epoch)
    return jnp.where(epoch % 5 == 0, jnp.maximum(lower, MIN_TEMPERATURE), temperature)
