"""Classes from images: a backbone and a linear layer or an MLP.

With `config.freeze=("backbone",)` it is a linear probe, without a fine-tune; a subset of
the training split makes it semi-supervised, `objective="bce"` multi-label.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import backbone as backbone_lib
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import classification
from mvjax.models import heads
from mvjax.models import resnet
from mvjax.models import transfer

BACKBONE, HEAD = "backbone", "head"  # The components.


def check_truth(spec: Any, target: str, classes: int, *, tags: bool = False) -> None:
    """Raises `UserError` where the truth is not there or not of so many classes.

    Args:
      spec: `mvjax.data.batch.Spec` of the data set.
      target: A factor or a target; "": the labels.
      classes: `config.method.classes`.
      tags: Whether it must be a row of tags, `[K]`.
    """
    where = "config.method.target"
    if target in spec.targets:
        shape = tuple(spec.targets[target].shape)
        if shape != ((classes,) if tags else ()):
            raise errors.UserError(
                f"{where}={target}: records hold an array of shape {shape} there; "
                f"config.method.objective and .classes={classes} want "
                f"{(classes,) if tags else 'one class'}."
            )
        low, high = spec.targets[target].low, spec.targets[target].high
        if tags and not 0 <= low <= high <= 1:
            raise errors.UserError(
                f"{where}={target}: tags are 0 or 1; the data hold {low:g} to {high:g}."
            )
        return
    if tags or (target and target not in spec.factors):
        choices = spec.targets if tags else {*spec.targets, *spec.factors}
        raise errors.unknown(where, target, choices)
    found = spec.factors[target] if target else spec.classes
    if found is None:
        raise errors.UserError("The data set has no labels; set config.method.target.")
    if found != classes:
        raise errors.UserError(
            f"config.method.classes is {classes}; the data set has {found} classes."
        )


def truth(batch: method.Batch, target: str) -> jax.Array:
    """The labels, or the factor or target of this name."""
    if not target:
        return batch["label"]
    held = batch.get("targets", {})
    return held[target] if target in held else batch["factors"][target]


@dataclasses.dataclass(frozen=True)
class Base(method.Method):
    """A backbone that reads one view, and a head behind it.

    Components: `backbone`, `head`.
    """

    backbone: backbone_lib.Backbone = resnet.Backbone()
    view: limits.Text = "image"
    mean: tuple[float, ...] = ()  # Of each channel, taken off images in [0, 1].
    std: tuple[limits.Positive, ...] = ()
    # Norms of a frozen backbone: by their running statistics, by those of the batch, or
    # by the latter while the running ones move, as in MV-MR's official probe.
    frozen_norm: limits.one_of(*method.FROZEN_NORMS) = "eval"
    dtype: limits.Dtype = "float32"

    @property
    def tower(self) -> transfer.Tower:
        """The backbone as it reads the view."""
        return transfer.Tower(self.backbone, self.mean, self.std, self.dtype)

    def check(self, spec: Any) -> None:
        super().check(spec)
        transfer.check_view(self, spec)

    def read(
        self, variables: method.Variables, batch: method.Batch, rng: Any = None
    ) -> tuple[backbone_lib.Features, method.Variables]:
        """Features of the view, and the statistics that have moved.

        Args:
          variables: Of the whole method.
          batch: Holds the view.
          rng: Key of a training step; None: `predict`.
        """
        return self.tower.features(
            transfer.component(variables, BACKBONE),
            batch["views"][self.view],
            train=rng is not None and self.norms_by_batch(BACKBONE),
            rng=rng,
        )

    def ready_views(self, spec: Any) -> tuple[str, ...]:
        return (self.view,)

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return {BACKBONE: ("backbone", "mean", "std")}


@dataclasses.dataclass(frozen=True)
class Method(Base):
    """Cross entropy of one view's scores; `predict` gives `logits`, `features/<view>`."""

    target: str = ""  # A factor or a target of the data set; "": its labels.
    classes: limits.Size = 10
    hidden: tuple[limits.Size, ...] = ()  # Widths of an MLP; (): a linear layer.
    # "bce": the target holds a row of tags.
    objective: limits.one_of("cross_entropy", "bce") = "cross_entropy"
    label_smoothing: limits.Rate = 0.0
    # How the last layer starts: small, or as PyTorch's own, as in MV-MR's released code.
    head_start: limits.one_of("small", "torch") = "small"

    @property
    def head(self) -> heads.Classifier:
        """What stands behind the backbone."""
        return heads.Classifier(self.hidden, self.classes, jnp.dtype(self.dtype))

    def check(self, spec: Any) -> None:
        super().check(spec)
        check_truth(spec, self.target, self.classes, tags=self.objective == "bce")
        if self.label_smoothing and self.objective == "bce":
            raise errors.UserError(
                "config.method.label_smoothing belongs to objective=cross_entropy."
            )

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        h = jnp.zeros((1, self.backbone.width))
        rules = heads.RULES if self.head_start == "small" else {}
        return transfer.components(
            backbone=self.tower.init(
                rng_lib.named(rng, BACKBONE), batch["views"][self.view]
            ),
            head=transfer.init_head(
                rng_lib.named(rng, HEAD), self.head, h, rules=rules
            ),
        )

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        features, moved = self.read(variables, batch, rng)
        scores = self.head.apply(transfer.component(variables, HEAD), features.pooled)
        wanted = truth(batch, self.target)
        if self.objective == "bce":
            loss = classification.binary_cross_entropy(scores, wanted)
            metrics = {"bce": loss}
        else:
            loss = classification.cross_entropy(
                scores, wanted, smoothing=self.label_smoothing
            )
            accuracy = classification.accuracy(scores, wanted)
            metrics = {"cross_entropy": loss, "accuracy": accuracy}
        return loss, method.Aux(metrics, transfer.components(backbone=moved))

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `logits` `[B, K]` and `features/<view>` `[B, D]`."""
        features, _ = self.read(variables, batch)
        scores = self.head.apply(transfer.component(variables, HEAD), features.pooled)
        return {"logits": scores, f"features/{self.view}": features.pooled}

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """A file `{encoder, classifier}` as MV-MR's, and those of the backbone alone."""
        head = torch_table.Table(heads.classifier_leaves(self.hidden))
        return transfer.torch_tables(self.backbone, head)

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return transfer.standard_names(tensors, linear=not self.hidden)
