"""A class for each pixel: backbones whose maps are read by a decoder.

A fully convolutional head by default (Long, Shelhamer and Darrell, 2015, arXiv 1411.4038);
`models/decoders/` has others. Several views have a backbone each. Their maps are read side
by side, as in DeCUR's transfer to GeoNRW, or the views rectify each other behind each stage
and are fused: CMX (arXiv 2203.04838), DeCUR's transfer to RGB and depth.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import decoder
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import classification
from mvjax.losses import pixels
from mvjax.methods import classify
from mvjax.models import cross_modal_fusion
from mvjax.models import fused_pair
from mvjax.models import transfer
from mvjax.models.decoders import fcn

AUXILIARY = "auxiliary"  # A component, as those of `classify`.
# What the heads are called in CMX's files.
_RELEASED = {classify.HEAD: "decode_head", AUXILIARY: "aux_head"}
# Fields of the head, which were the method's own in older versions.
_FORMER = ("levels", "widths", "align_corners")


@dataclasses.dataclass(frozen=True)
class Method(classify.Base):
    """Mean loss of the known pixels; `predict` gives `logits` `[B, H, W, K]`.

    Components besides those of the backbones and `head`: `fusion` of CMX, and
    `auxiliary`, if there is one.
    """

    target: limits.Text = "mask"  # Classes `[H, W]` of the data set.
    classes: limits.Size = 2
    ignore: int = 255  # Class of pixels that count nowhere.
    # How the maps of several views come together: "cmx" is for two views whose backbones
    # can be run by stages.
    fusion: limits.one_of("side_by_side", "cmx") = "side_by_side"
    head: decoder.Decoder = fcn.Decoder()
    auxiliary: decoder.Decoder | None = None  # A second head, of the loss alone.
    auxiliary_weight: limits.Weight = 0.4  # Of its loss.
    objective: pixels.Objective = pixels.Objective()  # Of both heads.

    @classmethod
    def renew(cls, method: Any, data: Any) -> None:
        former = {name: method[name] for name in _FORMER if name in method}
        if former and not method.get("head"):
            method["head"] = {"name": "fcn", **former}
        for name in former:
            del method[name]

    @property
    def decoders(self) -> dict[str, decoder.Decoder]:
        """The heads by component."""
        heads = {classify.HEAD: self.head, AUXILIARY: self.auxiliary}
        return {name: head for name, head in heads.items() if head is not None}

    def _pair(self, views: Any) -> fused_pair.Net:
        """The fused backbones of both views, which have these shapes."""
        beside = getattr(self.backbone, "beside", lambda: self.backbone)
        return fused_pair.Net(
            (self.backbone, beside()),
            tuple(self.components.values()),
            tuple(views[view].shape[-1] for view in self.components),
            jnp.dtype(self.dtype),
        )

    @property
    def _heads(self) -> tuple[int, ...]:
        """Heads of the stages of a staged backbone, see core/backbone.py; (): of another."""
        net = self.backbone.net(transfer.CHANNELS, dtype=jnp.dtype(self.dtype))
        return tuple(net.heads) if hasattr(net, "stage") else ()

    def check(self, spec: Any) -> None:
        super().check(spec)
        self._check_backbones(spec)
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

    def _check_backbones(self, spec: Any) -> None:
        """Raises `UserError` where the fusion or a head does not fit the backbones."""
        if self.fusion == "cmx":
            if len(self.components) != 2:
                raise errors.UserError(
                    "config.method.fusion=cmx fuses two views; .view and .also name "
                    f"{len(self.components)}."
                )
            if not self._heads:
                raise errors.UserError(
                    "config.method.fusion=cmx wants a backbone that can be run by stages, "
                    "such as mit or swin; that of config.method.backbone cannot."
                )
            maps = len(self._heads)
        else:
            shapes = {tuple(spec.views[view].shape) for view in self.components}
            maps = min(transfer.count_maps(self.backbone, shape) for shape in shapes)
        for head in self.decoders.values():
            head.check(maps)

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        parts = self.init_towers(rng, batch)

        def read(held: dict[str, Any]) -> list[tuple[jax.Array, ...]]:
            features, _ = self.read(transfer.components(**held), batch)
            return [found.maps for found in features.values()]

        by_view = jax.eval_shape(read, parts)
        by_view = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), by_view)
        if self.fusion == "cmx":
            maps = by_view[0]  # Fused ones have the same shapes.
            parts[fused_pair.FUSION] = transfer.init_head(
                rng_lib.named(rng, fused_pair.FUSION),
                cross_modal_fusion.Fusion(self._heads, jnp.dtype(self.dtype)),
                *by_view,
                rules=cross_modal_fusion.initial(),
                train=False,
            )
        else:
            maps = _side_by_side(by_view)
        for name, head in self.decoders.items():
            parts[name] = transfer.init_head(
                rng_lib.named(rng, name),
                head.net(self.classes, dtype=jnp.dtype(self.dtype)),
                maps,
                self._size(batch),
                rules=head.initial(),
                train=False,
            )
        return transfer.components(**parts)

    def _size(self, batch: method.Batch) -> tuple[int, int]:
        return batch["views"][self.view].shape[1:3]

    def _images(self, batch: method.Batch) -> list[jax.Array]:
        """The views as the backbones read them."""
        views = batch["views"]
        towers = self.towers(views)
        return [towers[view].read(views[view]) for view in self.components]

    def _trains(self, component: str, rng: Any) -> bool:
        """Whether a component normalises by the batch and drops things in this step."""
        return rng is not None and self.norms_by_batch(component)

    def maps(
        self, variables: method.Variables, batch: method.Batch, rng: Any = None
    ) -> tuple[Sequence[jax.Array], dict[str, jax.Array], method.Variables]:
        """What the heads read, pooled features by view, and statistics that have moved.

        Args:
          variables: Of the backbones, and of the fusion.
          batch: Holds the views.
          rng: Key of a training step; None: `predict`.

        Returns:
          Maps `[B, h, w, C]` from fine to coarse, features `[B, D]`, the statistics.
        """
        if self.fusion == "side_by_side":
            features, moved = self.read(variables, batch, rng)
            maps = _side_by_side([found.maps for found in features.values()])
            return maps, transfer.pooled(features), moved
        net = self._pair(batch["views"])
        train = {
            name: self._trains(name, rng) for name in (*net.names, fused_pair.FUSION)
        }
        fused, moved = transfer.apply(
            net,
            {kind: _only(held, train) for kind, held in variables.items()},
            self._images(batch),
            [batch.get("present", {}).get(view) for view in self.components],
            train=train,
            rng=rng if any(train.values()) else None,
        )
        return fused.maps, dict(zip(self.components, fused.pooled)), moved

    def _scores(
        self,
        component: str,
        variables: method.Variables,
        maps: Sequence[jax.Array],
        batch: method.Batch,
        rng: Any = None,
    ) -> tuple[jax.Array, method.Variables]:
        """Scores `[B, H, W, K]` of a head, and its statistics that have moved."""
        train = self._trains(component, rng)
        scores, moved = transfer.apply(
            self.decoders[component].net(self.classes, dtype=jnp.dtype(self.dtype)),
            transfer.component(variables, component),
            maps,
            self._size(batch),
            train=train,
            rng=rng_lib.named(rng, component) if train else None,
        )
        return scores, transfer.components(**{component: moved})

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        maps, _, moved = self.maps(variables, batch, rng)
        wanted = batch["targets"][self.target].astype(jnp.int32).reshape(-1)
        wanted = jnp.where(wanted == self.ignore, -1, wanted)
        loss, metrics = jnp.zeros(()), {}
        for component in self.decoders:
            scores, own = self._scores(component, variables, maps, batch, rng)
            moved = transfer.join(moved, own)
            scores = scores.reshape(-1, scores.shape[-1])
            cost = self.objective(scores, wanted)
            if component == AUXILIARY:
                loss = loss + self.auxiliary_weight * cost
                metrics["auxiliary"] = cost
            else:
                loss = loss + cost
                metrics[self.objective.kind] = cost
                metrics["pixel_accuracy"] = classification.accuracy(scores, wanted)
        return loss, method.Aux(metrics, moved)

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `logits` `[B, H, W, K]` and `features/<view>` `[B, D]`."""
        maps, pooled, _ = self.maps(variables, batch)
        scores, _ = self._scores(classify.HEAD, variables, maps, batch)
        named = {f"features/{view}": rows for view, rows in pooled.items()}
        return {"logits": scores} | named

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """Files of CMX or of DeCUR's transfer, and those of backbones alone."""
        names = self.components
        if self.fusion == "cmx":
            return self._pair_tables() | transfer.tables_by_view(self.backbone, names)
        maps = transfer.count_maps(self.backbone)
        head = torch_table.Table(self.head.torch_leaves(maps))
        joint = transfer.joint_table(self.backbone, tuple(names.values()), "backbone_")
        if self.auxiliary:  # DeCUR's files have none.
            second = torch_table.Table(self.auxiliary.torch_leaves(maps))
            named = second.nest(flax=AUXILIARY, torch=_RELEASED[AUXILIARY])
            joint = torch_table.join(joint, named)
        whole = {"decur": transfer.published(joint, head)}
        if self.also:
            return whole | transfer.tables_by_view(self.backbone, names)
        if self.auxiliary:  # Nor has any other kind of file.
            return whole | transfer.torch_tables(self.backbone, head)
        return transfer.torch_tables(self.backbone, head) | whole

    def _pair_tables(self) -> dict[str, torch_table.Table]:
        """CMX's own files, where the backbone has tables of two."""
        if not hasattr(self.backbone, "pair_tables"):  # See core/backbone.py.
            return {}
        names = tuple(self.components.values())
        tables = [fused_pair.table(self.backbone, names, len(self._heads))]
        for component, head in self.decoders.items():
            table = torch_table.Table(head.torch_leaves(len(self._heads)))
            tables.append(table.nest(flax=component, torch=_RELEASED[component]))
        ignore = () if self.auxiliary else (f"{_RELEASED[AUXILIARY]}.*",)
        whole = torch_table.join(*tables, ignore=ignore)
        return {"cmx": dataclasses.replace(whole, inside="model")}

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return transfer.standard_names(tensors, linear=False)


def _only(held: dict[str, Any], names: Any) -> dict[str, Any]:
    """The components of these names."""
    return {name: held[name] for name in names if name in held}


def _side_by_side(views: Sequence[Sequence[jax.Array]]) -> list[jax.Array]:
    """Maps of all views, `[B, h, w, C]` from fine to coarse."""
    return [jnp.concatenate(maps, axis=-1) for maps in zip(*views, strict=True)]
