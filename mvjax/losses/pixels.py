"""Losses of classes of pixels, from logits `[N, K]` and integer labels `[N]`.

The code of CMX (Zhang et al., 2023, arXiv 2203.04838) offers them beside the cross entropy
that it trains with. Pixels whose label is -1, unknown, count nowhere; without any known
label all is 0. The docstrings tell where that code computes something else.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.losses import classification

# Probability that stands for 0 inside the logarithm of the reverse cross entropy.
FLOOR = 1e-9
# Above this logit the softmax of exponentials is one-hot in any float type.
_SATURATED = 40.0


def focal(logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0) -> jax.Array:
    """Mean of -(1 - p)^gamma log(p), p being the label's probability, `[]`.

    Lin et al., 2017 (arXiv 1708.02002), with a softmax. The exponent of CMX's code is 2.

    Args:
      logits: `[N, K]`.
      labels: `[N]`.
      gamma: The larger, the less do pixels count that are right already; 0: cross entropy.
    """
    log_p = classification.log_probability(logits, labels)
    # The derivative of a root is infinite at 0.
    rest = jnp.maximum(-jnp.expm1(log_p), 1e-12)
    return classification.mean_of_known(-(rest**gamma) * log_p, labels)


def balance(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of -(1 - q)^2 log(p), q being the label's share in softmax(exp(logits)), `[]`.

    A focal loss with another probability inside, which has its origin in CMX's code.

    Args:
      logits: `[N, K]`.
      labels: `[N]`.
    """
    log_p = classification.log_probability(logits, labels)
    logits = classification.real(logits)
    # exp(logits) without its largest entry, which a softmax does not see.
    top = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    scale = jnp.exp(jnp.minimum(top, _SATURATED))
    log_q = classification.log_probability(scale * jnp.expm1(logits - top), labels)
    return classification.mean_of_known(-(jnp.expm1(log_q) ** 2) * log_p, labels)


def sigmoid_focal(
    logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0, alpha: float = 0.25
) -> jax.Array:
    """Focal loss of one yes-or-no question a class, summed over the classes, `[]`.

    Lin et al., 2017 (arXiv 1708.02002), eq. 5; the mean over pixels is the one over
    positives, as each pixel has one. CMX's code, for a single class, puts probabilities
    where the formula has logits, with the opposite sign; it cannot be trained with.

    Args:
      logits: `[N, K]`.
      labels: `[N]`.
      gamma: As in `focal`.
      alpha: Weight of the label's own question; that of the others is 1 - alpha.
    """
    logits = classification.real(logits)
    own = jax.nn.one_hot(labels, logits.shape[1], dtype=bool)
    signed = jnp.where(own, logits, -logits)  # The larger, the better.
    rest = jnp.exp(gamma * jax.nn.log_sigmoid(-signed))
    cost = -jnp.where(own, alpha, 1 - alpha) * rest * jax.nn.log_sigmoid(signed)
    return classification.mean_of_known(jnp.sum(cost, axis=1), labels)


def with_reverse(
    logits: jax.Array,
    labels: jax.Array,
    *,
    weight: float = 0.01,
    released: bool = False,
) -> jax.Array:
    """Cross entropy plus `weight` times the reverse one, -sum_k p_k log(truth_k), `[]`.

    Wang et al., 2019 (arXiv 1908.06112), with log(0) = log(`FLOOR`), so that the reverse one
    is -log(FLOOR) (1 - p).

    Args:
      logits: `[N, K]`.
      labels: `[N]`.
      weight: Of the reverse cross entropy.
      released: Whether it is that of CMX's code: the largest logit has all probability,
        so that there is no gradient, and the mean is over the unknown pixels, too.
    """
    log_p = classification.log_probability(logits, labels)
    if released:
        missed = jnp.argmax(logits, axis=1) != labels
        share = jnp.mean(jnp.where(labels >= 0, missed, 0).astype(log_p.dtype))
    else:
        share = classification.mean_of_known(-jnp.expm1(log_p), labels)
    reverse = -math.log(FLOOR) * share
    return classification.mean_of_known(-log_p, labels) + weight * reverse


def hardest(
    logits: jax.Array,
    labels: jax.Array,
    *,
    threshold: float = 0.6,
    min_kept: int = 256,
) -> jax.Array:
    """Cross entropy of the pixels whose label is not probable, `[]`.

    Online hard example mining (Shrivastava et al., 2016, arXiv 1604.03540) by threshold.

    Args:
      logits: `[N, K]`.
      labels: `[N]`.
      threshold: Labels of at most this probability count.
      min_kept: Where these are fewer in the whole batch, that many of the least probable
        labels count, and all that are as probable as the last of them.
    """
    log_p = classification.log_probability(logits, labels)
    # Unknown pixels come last.
    p = jnp.where(labels >= 0, jnp.exp(jax.lax.stop_gradient(log_p)), 2)
    last = jnp.sort(p)[min(min_kept, p.size) - 1]
    kept = p <= jnp.maximum(last, threshold)
    return classification.mean_of_known(-log_p, jnp.where(kept, labels, -1))


# Which fields of `Objective` a kind has.
_FIELDS = {
    "cross_entropy": (),
    "focal": ("gamma",),
    "balance": (),
    "sigmoid_focal": ("gamma", "alpha"),
    "rce": ("reverse", "released"),
    "ohem": ("threshold", "min_kept"),
}


@dataclasses.dataclass(frozen=True)
class Objective:
    """One of the losses by name; the other fields belong to the kinds that they name."""

    kind: limits.one_of(*_FIELDS) = "cross_entropy"
    # focal and sigmoid_focal: how little right pixels count.
    gamma: limits.Weight = 2.0
    alpha: limits.Share = 0.25  # sigmoid_focal: weight of the label's own question.
    reverse: limits.Weight = 0.01  # rce: weight of the reverse cross entropy.
    released: bool = False  # rce: whether it is CMX's, which has no gradient.
    threshold: limits.Share = 0.6  # ohem: labels of at most this probability count.
    min_kept: limits.Count = 256  # ohem: how many pixels of a batch count at least.

    def __post_init__(self):
        for field in dataclasses.fields(self)[1:]:
            foreign = field.name not in _FIELDS.get(self.kind, ())
            if foreign and getattr(self, field.name) != field.default:
                uses = ", ".join(_FIELDS.get(self.kind, ())) or "nothing"
                raise errors.UserError(
                    f"{field.name} is set, but kind={self.kind} reads {uses} beside it."
                )

    def __call__(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """The loss of logits `[N, K]` and labels `[N]`, -1 where unknown, `[]`."""
        if self.kind == "focal":
            return focal(logits, labels, gamma=self.gamma)
        if self.kind == "balance":
            return balance(logits, labels)
        if self.kind == "sigmoid_focal":
            return sigmoid_focal(logits, labels, gamma=self.gamma, alpha=self.alpha)
        if self.kind == "rce":
            released = self.released
            return with_reverse(logits, labels, weight=self.reverse, released=released)
        if self.kind == "ohem":
            least = self.min_kept
            return hardest(logits, labels, threshold=self.threshold, min_kept=least)
        return classification.cross_entropy(logits, labels)
