"""Classification from logits `[B, K]` and integer labels `[B]`.

Samples whose label is -1, unknown, count nowhere; without any known label all is 0.
"""

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array, labels: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
    """Mean over the known samples of -log softmax(logits)[label], `[]`.

    Args:
      logits: `[B, K]`.
      labels: `[B]`.
      smoothing: Share of the truth that all K classes get alike.
    """
    cost = -log_probability(logits, labels)
    if smoothing:
        log_q = jax.nn.log_softmax(real(logits))
        cost = (1 - smoothing) * cost - smoothing * jnp.mean(log_q, axis=1)
    return mean_of_known(cost, labels)


def log_probability(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """log softmax(logits)[label] of each sample, `[B]`; that of class 0 if unknown."""
    return _log_probability(real(logits), jnp.maximum(_integers(labels), 0))


@jax.custom_vjp
def _log_probability(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """`log_probability` of known samples.

    Its gradient is written out, because the one of picking a class holds several arrays
    as large as the logits: for pixels they are the largest of all. Forward-mode
    differentiation does not pass through.
    """
    return _log_probability_forward(logits, labels)[0]


def _log_probability_forward(
    logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    total = jax.nn.logsumexp(logits, axis=1)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return own - total, (logits, labels, total)


def _log_probability_backward(
    kept: tuple[jax.Array, jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None]:
    logits, labels, total = kept
    own = labels[:, None] == jnp.arange(logits.shape[1])
    p = jnp.exp(logits - total[:, None])
    return gradient[:, None] * (own.astype(p.dtype) - p), None


_log_probability.defvjp(_log_probability_forward, _log_probability_backward)


def binary_cross_entropy(logits: jax.Array, tags: jax.Array) -> jax.Array:
    """Mean over samples and tags of the cross entropy of sigmoid(logits), `[]`.

    PyTorch's `MultiLabelSoftMarginLoss`. Tags outside [0, 1], such as 255, are
    unknown and count nowhere.

    Args:
      logits: `[B, K]`.
      tags: `[B, K]`, 1 where a tag holds, 0 where not.
    """
    logits, tags = real(logits), real(tags)
    cost = jax.nn.softplus(logits) - logits * tags
    return mean_of_known(cost, jnp.where(tags > 1, -1, tags))


def double_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross entropy with the softmax taken twice, `[]`.

    As in the released code of Sanchez et al. (ECCV 2020), which hands probabilities to a
    loss that expects logits; for ten classes it stays between 1.46 and 2.46.
    """
    return cross_entropy(jax.nn.softmax(real(logits)), labels)


def rank(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes come before the label, `[B]` int32.

    Args:
      logits: `[B, K]`; of equal ones the first comes first.
      labels: `[B]`, in 0..K-1.
    """
    ahead, own = _compare(logits, labels)
    return jnp.where(jnp.isnan(own), logits.shape[1], ahead.sum(axis=1))


def _compare(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which classes come before the label, `[B, K]` bool, and its logit, `[B]`."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    number = jnp.arange(logits.shape[1])
    first = (logits == own) & (number < labels[:, None])
    # NaN comes before nothing and after everything.
    return (logits > own) | first, own[:, 0]


def accuracy(logits: jax.Array, labels: jax.Array, *, k: int = 1) -> jax.Array:
    """Share of the known samples whose label is among the k largest logits, `[]`."""
    labels, logits = _integers(labels), real(logits)
    known = jnp.clip(labels, 0, logits.shape[1] - 1)
    if k == 1:  # XLA's CPU compiler writes out what it counts, as large as the logits.
        ahead, own = _compare(logits, known)
        hits = ~(ahead.any(axis=1) | jnp.isnan(own))
    else:
        hits = rank(logits, known) < k
    return mean_of_known(hits.astype(jnp.float32), labels)


def real(x: jax.Array) -> jax.Array:
    """An array as floats, of 32 bits or more."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _integers(labels: jax.Array) -> jax.Array:
    # Some published data sets store class indices as floats.
    return jnp.asarray(labels).astype(jnp.int32)


def mean_of_known(values: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of `values` where `labels`, of the same shape, are not negative; or 0."""
    known = labels >= 0  # [B]
    return jnp.sum(jnp.where(known, values, 0)) / jnp.maximum(jnp.sum(known), 1)
