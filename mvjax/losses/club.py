"""CLUB: upper bounds on mutual information (Cheng et al., ICML 2020).

`mean` and `logvar`, both `[B, D]`, describe q(y | x) for each sample and `y` is `[B, D]`.
As released, the log-likelihood lacks the factor 1/2 and the constant; the bounds have
the factor.
"""

import jax
import jax.numpy as jnp


def log_likelihood(mean: jax.Array, logvar: jax.Array, y: jax.Array) -> jax.Array:
    """Mean over B of the summed Gaussian log-likelihood, as released, `[]`."""
    terms = -jnp.square(mean - y) / jnp.exp(logvar) - logvar
    return jnp.mean(jnp.sum(terms, axis=-1))


def sampled_upper_bound(
    mean: jax.Array, logvar: jax.Array, y: jax.Array, permutation: jax.Array
) -> jax.Array:
    """CLUBSample: one negative for each sample.

    Args:
      mean: Mean of q(y | x), `[B, D]`.
      logvar: Log variance of q(y | x), `[B, D]`.
      y: Matching samples, `[B, D]`.
      permutation: Row of the negative for each row, `[B]` integer.

    Returns:
      The bound, `[]`.
    """
    positive = -jnp.square(mean - y) / jnp.exp(logvar)
    negative = -jnp.square(mean - y[permutation]) / jnp.exp(logvar)
    return 0.5 * jnp.mean(jnp.sum(positive, axis=-1) - jnp.sum(negative, axis=-1))


def upper_bound(mean: jax.Array, logvar: jax.Array, y: jax.Array) -> jax.Array:
    """CLUB: all samples of the batch are negatives of each; `[]`."""
    variance = jnp.exp(logvar)
    positive = -0.5 * jnp.square(mean - y) / variance
    distances = jnp.square(y[None, :, :] - mean[:, None, :])  # [B, B, D]
    negative = -0.5 * jnp.mean(distances, axis=1) / variance
    return jnp.mean(jnp.sum(positive, axis=-1) - jnp.sum(negative, axis=-1))


def categorical_log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean log-likelihood of labels `[B]` under logits `[B, K]`, `[]`."""
    log_q = jax.nn.log_softmax(logits)
    return jnp.mean(jnp.take_along_axis(log_q, labels[:, None], axis=1))


def categorical_upper_bound(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """CLUBForCategorical with all pairs of samples as negatives, `[]`."""
    # This is log q(label_j | x_i) without the normaliser of x_i, which would cancel.
    scores = logits[:, labels]  # [B, B]
    return jnp.mean(jnp.diagonal(scores) - jnp.mean(scores, axis=1))
