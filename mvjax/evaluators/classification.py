"""Top-k accuracy of a method's logits, added up on the device.

An output `[B, V, K]` of V draws of one sample, such as the ten crops of MV-MR, is
averaged over the draws first, as logits. Classes of equal logits are ranked by their
number, the smallest first.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import confusion
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import predictor
from mvjax.losses import classification as losses


def mean_logits(logits: jax.Array) -> jax.Array:
    """Logits `[B, K]` of samples, float32, from those of their draws `[B, V, K]`."""
    logits = logits.astype(jnp.float32)
    return logits.mean(axis=1) if logits.ndim == 3 else logits


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """`top<k>` for each k and `mean_class`, the mean over the classes of their top-1."""

    output: limits.Text = "logits"
    split: limits.Text = "test"
    factor: limits.Text = "label"  # Or a factor of the data.
    ks: limits.some(limits.Count, distinct=True) = (1, 5)
    per_class: bool = False  # Also `class/<number>`, the share that is found.

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it needs of `predict`."""
        return (self.output,)

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, output or factor, an output that holds no logits of
            the classes, or a k that is greater than their number.
        """
        offer.check_splits(self.split)
        offer.check_factor(self.factor, least=2)
        classes = _classes(self.output, offer.output_shape(self.output))
        known = {features_lib.LABEL: offer.spec.classes, **offer.spec.factors}
        if known[self.factor] > classes:
            raise errors.UserError(
                f"Output {self.output!r} has logits of {classes} classes, but "
                f"{self.factor!r} has {known[self.factor]}."
            )
        for k in self.ks:
            if k > classes:
                raise errors.UserError(
                    f"There is no top {k} of {classes} classes in ks."
                )
        names = [f"top{k}" for k in self.ks] + ["mean_class"]
        return names + [f"class/{c}" for c in range(classes) if self.per_class]

    def class_names(self, spec: Any) -> tuple[str, ...]:
        """What the numbers in `class/<number>` stand for; (): the data do not say."""
        return spec.names(self.factor)

    def measure(
        self, outputs: dict[str, jax.Array], batch: dict[str, Any]
    ) -> dict[str, jax.Array]:
        """Hits by k, the confusion matrix of top-1, and how many samples lack a label."""
        logits = mean_logits(outputs[self.output])  # [B, K]
        classes = _classes(self.output, logits.shape[1:])
        label = self.factor == features_lib.LABEL
        labels = batch["label"] if label else batch["factors"][self.factor]
        mask = batch[predictor.MASK]
        keep = mask & (labels >= 0)
        places = losses.rank(logits, jnp.clip(labels, 0, classes - 1))
        hits = [jnp.sum(keep & (places < k)) for k in self.ks]
        # As `losses.rank` has it: of equal logits the first.
        guess = jnp.argmax(jnp.nan_to_num(logits, nan=-jnp.inf), axis=1)
        return {
            "hits": jnp.stack(hits),
            "confusion": confusion.count(labels, guess, keep, classes),
            "unknown": jnp.sum(mask & ~keep),
            "broken": jnp.sum(mask & jnp.isnan(logits).any(axis=1)),
        }

    def finish(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Scores by name.

        Raises:
          UserError: NaN among the logits, or, as `Insufficient`, samples without a label.
        """
        counts = sums["confusion"]
        if sums["broken"]:
            raise errors.UserError(
                f"Output {self.output!r} of split {self.split!r} is NaN for "
                f"{sums['broken']} samples."
            )
        if sums["unknown"]:
            raise features_lib.Insufficient(
                f"Split {self.split!r} has no {self.factor} for {sums['unknown']} of "
                f"{sums['unknown'] + counts.sum()} samples, and this evaluation needs "
                "them."
            )
        total, found = counts.sum(), confusion.recall(counts)
        result = {f"top{k}": hits / total for k, hits in zip(self.ks, sums["hits"])}
        result["mean_class"] = confusion.mean(found)
        if self.per_class:
            result |= {f"class/{c}": value for c, value in enumerate(found)}
        return result


def _classes(name: str, shape: tuple[int, ...]) -> int:
    """Number of classes of logits of a sample, `(K,)` or `(V, K)`."""
    if len(shape) not in (1, 2) or shape[-1] < 2:
        raise errors.UserError(
            f"Output {name!r} has shape {tuple(shape)} per sample; logits have (classes,) "
            "or (draws, classes)."
        )
    return shape[-1]
