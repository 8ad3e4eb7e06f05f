"""Classes from images: a backbone and a linear layer or an MLP.

Several views, such as radar and optical images, have a backbone each, and the head reads
their features side by side: the late fusion of DeCUR (arXiv 2309.05300). With
`config.freeze=("backbone",)` it is a linear probe, without a fine-tune; a subset of the
training split makes it semi-supervised, `objective="bce"` multi-label.
"""

from collections.abc import Mapping
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
    """A backbone for each view, and a head behind them.

    Components: `backbone`, or `backbone_<view>` of several views, and `head`. Features of
    a view that a sample lacks are 0.
    """

    backbone: backbone_lib.Backbone = resnet.Backbone()  # One for each view.
    view: limits.Text = "image"
    also: limits.AnyNames = ()  # Further views.
    # Of each channel, of one view after another, taken off images in [0, 1].
    mean: tuple[float, ...] = ()
    std: tuple[limits.Positive, ...] = ()
    # Norms of a frozen backbone: by their running statistics, by those of the batch, or
    # by the latter while the running ones move, as in MV-MR's official probe.
    frozen_norm: limits.one_of(*method.FROZEN_NORMS) = "eval"
    dtype: limits.Dtype = "float32"

    @property
    def components(self) -> dict[str, str]:
        """The backbones' names by view."""
        if not self.also:
            return {self.view: BACKBONE}
        return {view: f"{BACKBONE}_{view}" for view in (self.view, *self.also)}

    def towers(self, views: Mapping[str, Any]) -> dict[str, transfer.Tower]:
        """The backbones as they read their views, by view.

        Args:
          views: What has the shape of each view, with or without an axis of the batch.
        """
        towers, start = {}, 0
        for view in self.components:
            end = start + views[view].shape[-1]
            towers[view] = transfer.Tower(
                self.backbone, self.mean[start:end], self.std[start:end], self.dtype
            )
            start = end
        return towers

    def check(self, spec: Any) -> None:
        super().check(spec)
        transfer.check_views(self, (self.view, *self.also), spec)

    def init_towers(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        """Fresh variables of the backbones, by component."""
        views = batch["views"]
        return {
            self.components[view]: tower.init(
                rng_lib.named(rng, self.components[view]), views[view]
            )
            for view, tower in self.towers(views).items()
        }

    def read(
        self, variables: method.Variables, batch: method.Batch, rng: Any = None
    ) -> tuple[dict[str, backbone_lib.Features], method.Variables]:
        """Features by view, and the statistics that have moved.

        Args:
          variables: Of the whole method.
          batch: Holds the views.
          rng: Key of a training step; None: `predict`.
        """
        features, moved = {}, {}
        for view, tower in self.towers(batch["views"]).items():
            name = self.components[view]
            found, moved[name] = tower.features(
                transfer.component(variables, name),
                batch["views"][view],
                train=rng is not None and self.norms_by_batch(name),
                rng=rng_lib.named(rng, name) if self.also and rng is not None else rng,
            )
            features[view] = transfer.mask(found, batch.get("present", {}).get(view))
        return features, transfer.components(**moved)

    def ready_views(self, spec: Any) -> tuple[str, ...]:
        return tuple(self.components)

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return {f"{BACKBONE}*": ("backbone", "mean", "std")}


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
        h = jnp.zeros((1, self.backbone.width * len(self.components)))
        rules = heads.RULES if self.head_start == "small" else {}
        return transfer.components(
            **self.init_towers(rng, batch),
            head=transfer.init_head(
                rng_lib.named(rng, HEAD), self.head, h, rules=rules
            ),
        )

    def _scores(
        self, variables: method.Variables, pooled: Mapping[str, jax.Array]
    ) -> jax.Array:
        """Scores `[B, K]` of features `[B, D]` by view."""
        ordered = [pooled[view] for view in self.components]  # JAX sorts dicts.
        return self.head.apply(
            transfer.component(variables, HEAD), jnp.concatenate(ordered, axis=-1)
        )

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        features, moved = self.read(variables, batch, rng)
        scores = self._scores(variables, transfer.pooled(features))
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
        return loss, method.Aux(metrics, moved)

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `logits` `[B, K]` and `features/<view>` `[B, D]`."""
        features, _ = self.read(variables, batch)
        scores = self._scores(variables, transfer.pooled(features))
        return {"logits": scores} | transfer.named(features)

    def explain(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `cam/<view>` `[B, h, w]`, where the greatest score comes from.

        Empty for backbones whose features are no mean over a map.
        """
        features, _ = self.read(variables, batch)
        found = transfer.grad_cam(
            self.backbone,
            lambda pooled: jnp.max(self._scores(variables, pooled), axis=-1),
            features,
        )
        return {f"cam/{view}": cam for view, cam in found.items()}

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """Files of DeCUR's transfer, of MV-MR's, and those of backbones alone."""
        head = torch_table.Table(heads.classifier_leaves(self.hidden))
        if self.also:
            names = self.components
            joint = transfer.joint_table(self.backbone, tuple(names.values()), "net")
            whole = {"decur": transfer.published(joint, head.nest(torch="ffc"))}
            return whole | transfer.tables_by_view(self.backbone, names)
        tables = transfer.torch_tables(self.backbone, head)
        return tables | transfer.single_tables(self.backbone, head)

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return transfer.standard_names(tensors, linear=not self.hidden)
