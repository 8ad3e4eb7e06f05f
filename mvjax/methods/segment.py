"""A class for each pixel: a backbone whose maps are read by a fully convolutional head.

Long, Shelhamer and Darrell, 2015 (arXiv 1411.4038); see `models/heads.py`.
Several views have a backbone each; their maps are read side by side, as in DeCUR's transfer
to GeoNRW, whose head has `widths=(128, 256, 512)` and `align_corners=True`.
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
    # Of a layer before the scores of each level, from fine to coarse; (): there is none.
    widths: tuple[limits.Size, ...] = ()
    align_corners: bool = False  # Whether enlarging keeps corners or areas.

    @property
    def head(self) -> heads.FCN:
        """What stands behind the backbones."""
        return heads.FCN(
            self.levels,
            self.classes,
            self.widths,
            self.align_corners,
            jnp.dtype(self.dtype),
        )

    def check(self, spec: Any) -> None:
        super().check(spec)
        if len(self.widths) not in (0, self.levels):
            raise errors.UserError(
                f"config.method.widths has {len(self.widths)} entries, .levels is "
                f"{self.levels}."
            )
        for view, tower in self.towers(spec.views).items():
            maps = transfer.count_maps(tower, spec.views[view].shape)
            if self.levels > maps:
                raise errors.UserError(
                    f"config.method.levels is {self.levels}; the backbone has {maps} maps."
                )
        if self.target not in spec.targets:
            raise errors.unknown("config.method.target", self.target, spec.targets)
        shape = tuple(spec.targets[self.target].shape)
        truth = spec.targets[self.target]
        if truth.ignore not in (None, self.ignore) or truth.high > self.classes - 1:
            raise errors.UserError(
                f"The data set's {self.target!r} holds classes up to {truth.high:g} and "
                f"{truth.ignore} for unknown; config.method.classes is {self.classes}, "
                f".ignore {self.ignore}."
            )
        for view in self.components:
            size = tuple(spec.views[view].shape[:2])
            if shape != size:
                raise errors.UserError(
                    f"config.method.target={self.target}: records hold an array of shape "
                    f"{shape} there, not a class for each of the {size} pixels of the "
                    f"view {view!r}."
                )

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        towers = self.init_towers(rng, batch)
        maps = jax.eval_shape(
            lambda held: _side_by_side(
                self.read(transfer.components(**held), batch)[0]
            ),
            towers,
        )
        maps = [jnp.zeros(m.shape, m.dtype) for m in maps]
        key = rng_lib.named(rng, classify.HEAD)
        head = transfer.init_head(key, self.head, maps, self._size(batch))
        return transfer.components(**towers, head=head)

    def _size(self, batch: method.Batch) -> tuple[int, int]:
        return batch["views"][self.view].shape[1:3]

    def _scores(
        self,
        variables: method.Variables,
        features: dict[str, backbone_lib.Features],
        batch: method.Batch,
    ) -> jax.Array:
        return self.head.apply(
            transfer.component(variables, classify.HEAD),
            _side_by_side(features),
            self._size(batch),
        )

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        features, moved = self.read(variables, batch, rng)
        scores = self._scores(variables, features, batch).reshape(-1, self.classes)
        wanted = batch["targets"][self.target].astype(jnp.int32).reshape(-1)
        wanted = jnp.where(wanted == self.ignore, -1, wanted)
        loss = classification.cross_entropy(scores, wanted)
        accuracy = classification.accuracy(scores, wanted)
        metrics = {"cross_entropy": loss, "pixel_accuracy": accuracy}
        return loss, method.Aux(metrics, moved)

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `logits` `[B, H, W, K]` and `features/<view>` `[B, D]`."""
        features, _ = self.read(variables, batch)
        scores = self._scores(variables, features, batch)
        return {"logits": scores} | transfer.named(features)

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """Files of DeCUR's transfer, and those of backbones alone."""
        head = torch_table.Table(heads.fcn_leaves(self.levels, self.widths))
        names = self.components
        joint = transfer.joint_table(self.backbone, tuple(names.values()), "backbone_")
        whole = {"decur": transfer.published(joint, head)}
        if self.also:
            return whole | transfer.tables_by_view(self.backbone, names)
        return transfer.torch_tables(self.backbone, head) | whole

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return transfer.standard_names(tensors, linear=False)


def _side_by_side(features: dict[str, backbone_lib.Features]) -> list[jax.Array]:
    """Maps of all views, `[B, h, w, C]` from fine to coarse."""
    levels = zip(*(found.maps for found in features.values()), strict=True)
    return [jnp.concatenate(maps, axis=-1) for maps in levels]
