"""A class for each pixel: a backbone whose maps are read by a fully convolutional head.

Long, Shelhamer and Darrell, 2015 (arXiv 1411.4038); see `models/heads.py`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import classification
from mvjax.methods import classify
from mvjax.models import heads
from mvjax.models import transfer


@dataclasses.dataclass(frozen=True)
class Method(classify.Base):
    """Mean cross entropy of the known pixels; `predict` gives `logits` `[B, H, W, K]`."""

    target: limits.Text = "mask"  # Classes `[H, W]` of the data set.
    classes: limits.Size = 2
    ignore: int = 255  # Class of pixels that count nowhere.
    levels: limits.Layers = 3  # How many of the coarsest maps the head reads.

    @property
    def head(self) -> heads.FCN:
        """What stands behind the backbone."""
        return heads.FCN(self.levels, self.classes, jnp.dtype(self.dtype))

    def check(self, spec: Any) -> None:
        super().check(spec)
        shape = spec.views[self.view].shape
        maps = transfer.count_maps(self.tower, shape)
        if self.levels > maps:
            raise errors.UserError(
                f"config.method.levels is {self.levels}; the backbone has {maps} maps."
            )
        if self.target not in spec.targets:
            raise errors.unknown("config.method.target", self.target, spec.targets)
        size = tuple(spec.views[self.view].shape[:2])
        shape = tuple(spec.targets[self.target].shape)
        truth = spec.targets[self.target]
        if truth.ignore not in (None, self.ignore) or truth.high > self.classes - 1:
            raise errors.UserError(
                f"The data set's {self.target!r} holds classes up to {truth.high:g} and "
                f"{truth.ignore} for unknown; config.method.classes is {self.classes}, "
                f".ignore {self.ignore}."
            )
        if shape != size:
            raise errors.UserError(
                f"config.method.target={self.target}: records hold an array of shape "
                f"{shape} there, not a class for each of the {size} pixels."
            )

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        x = batch["views"][self.view]
        tower = self.tower.init(rng_lib.named(rng, classify.BACKBONE), x)
        maps = jax.eval_shape(
            lambda v: self.tower.features(v, jnp.asarray(x), train=False)[0].maps, tower
        )
        maps = [jnp.zeros(m.shape, m.dtype) for m in maps]
        key = rng_lib.named(rng, classify.HEAD)
        head = transfer.init_head(key, self.head, maps, x.shape[1:3])
        return transfer.components(backbone=tower, head=head)

    def _scores(
        self, variables: method.Variables, maps: Any, x: jax.Array
    ) -> jax.Array:
        return self.head.apply(
            transfer.component(variables, classify.HEAD), maps, x.shape[1:3]
        )

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        x = batch["views"][self.view]
        features, moved = self.read(variables, batch, rng)
        scores = self._scores(variables, features.maps, x).reshape(-1, self.classes)
        wanted = batch["targets"][self.target].astype(jnp.int32).reshape(-1)
        wanted = jnp.where(wanted == self.ignore, -1, wanted)
        loss = classification.cross_entropy(scores, wanted)
        accuracy = classification.accuracy(scores, wanted)
        metrics = {"cross_entropy": loss, "pixel_accuracy": accuracy}
        return loss, method.Aux(metrics, transfer.components(backbone=moved))

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `logits` `[B, H, W, K]` and `features/<view>` `[B, D]`."""
        x = batch["views"][self.view]
        features, _ = self.read(variables, batch)
        scores = self._scores(variables, features.maps, x)
        return {"logits": scores, f"features/{self.view}": features.pooled}

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """A file `{encoder, classifier}`, and those of the backbone alone."""
        head = torch_table.Table(heads.fcn_leaves(self.levels))
        return transfer.torch_tables(self.backbone, head)

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return transfer.standard_names(tensors, linear=False)
