"""Encoders of several modalities whose embeddings a loss compares, as DeCUR has them.

One backbone for each view, with the view's own channels, and a projector that all views
share or one for each. A training record holds random draws of each view, `[K, H, W, C]`.
The draws of a view pass its backbone as groups of the batch norms, and all views' draws
the shared projector: statistics move as in separate passes, one view after another.

Here are the networks and their weights' names; an objective adds what it minimises, see
`methods/decur.py`, `barlow_twins.py`, `simclr.py`, `clip.py` and `vicreg.py`.
"""

from collections.abc import Sequence
import dataclasses
import itertools
import re
from typing import Any, ClassVar
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone as backbone_lib
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.models import projector as projector_lib
from mvjax.models import resnet
from mvjax.models import transfer
from mvjax.models.layers import initializers
from mvjax.models.layers import norm

PROJECTOR, NORM = "projector", "bn"  # Components; a projector of a view has its name.
MODULE = "module"  # What distributed training has put before the published keys.
_COPY = re.compile(r"(|.*[.:])projector(?!1\.)\d+\.(.*)")  # Of the first projector.
_COUNTER = "num_batches_tracked"


def backbone_name(view: str) -> str:
    """The component that is the backbone of a view."""
    return f"backbone_{view}"


def scale_gradient(loss: jax.Array, factor: float) -> jax.Array:
    """The same value with `factor` times its gradient."""
    if factor == 1:
        return loss
    scaled = factor * loss
    return scaled + jax.lax.stop_gradient(loss - scaled)


@dataclasses.dataclass(frozen=True)
class Towers(method.Method):
    """An objective of embeddings of several views.

    Components: `backbone_<view>`, `projector` or `projector_<view>`, and, of objectives
    that standardise embeddings, the statistics `bn`.
    """

    views: limits.some(limits.Text, distinct=True) = ("sar", "optical")
    backbone: backbone_lib.Backbone = resnet.Backbone()  # One for each view.
    widths: tuple[limits.Size, ...] = (8192, 8192, 8192)  # Of the projector.
    shared_projector: bool = True
    # "official": all views pass the parts that the backbone calls `SHAREABLE` of the first
    # one, as the released code has the residual attention; those of the others stay idle.
    rda_share: limits.one_of("separate", "official") = "separate"
    # Of each view, a mean and a deviation of each channel, taken off images in [0, 1].
    means: tuple[tuple[float, ...], ...] = ()
    stds: tuple[tuple[limits.Positive, ...], ...] = ()
    dtype: limits.Dtype = "float32"

    draws: ClassVar[int] = 1  # Of each view that enter the loss.
    standardised: ClassVar[bool] = False  # Whether there is the norm `bn`.
    projector_bias: ClassVar[bool] = False
    projector_norm: ClassVar[bool] = False  # Whether it ends with a batch norm.

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the views that are compared, in order."""
        return tuple(itertools.combinations(range(len(self.views)), 2))

    @property
    def shareable(self) -> tuple[str, ...]:
        """Parts of a backbone that the views may have in common."""
        return tuple(getattr(self.backbone, "SHAREABLE", ()))

    def tower(self, view: str) -> transfer.Tower:
        """The backbone as it reads a view."""
        i = self.views.index(view)
        mean, std = (x[i] if x else () for x in (self.means, self.stds))
        return transfer.Tower(self.backbone, mean, std, self.dtype)

    def projector(self, groups: int = 1) -> projector_lib.Projector:
        """The network behind a backbone."""
        return projector_lib.Projector(
            self.widths,
            bias=self.projector_bias,
            last_norm=self.projector_norm,
            groups=groups,
            dtype=jnp.dtype(self.dtype),
        )

    def projector_name(self, view: str) -> str:
        """The component that is the projector of a view."""
        return PROJECTOR if self.shared_projector else f"{PROJECTOR}_{view}"

    @property
    def projectors(self) -> tuple[str, ...]:
        """The components that are projectors."""
        return tuple(dict.fromkeys(map(self.projector_name, self.views)))

    def check(self, spec: Any) -> None:
        super().check(spec)
        if len(self.views) < 2:
            raise errors.UserError(
                f"config.method.views is {self.views}; the loss compares two and more."
            )
        for name in ("means", "stds"):
            if len(getattr(self, name)) not in (0, len(self.views)):
                raise errors.UserError(
                    f"config.method.{name} has {len(getattr(self, name))} entries for "
                    f"{len(self.views)} views."
                )
        for view in self.views:
            if view not in spec.views:
                raise errors.unknown("config.method.views", view, spec.views)
            # Training has draws in front of an image's axes.
            shape = tuple(spec.views[view].shape)
            tower = self.tower(view)
            transfer.check_images(
                self.backbone,
                view,
                shape[1:] if len(shape) == 4 else shape,
                mean=tower.mean,
                std=tower.std,
                fields=("means", "stds"),
            )
        if self.rda_share == "official" and not self.shareable:
            raise errors.UserError(
                "config.method.rda_share=official needs a backbone with residual "
                "attention, such as backbone.name=resnet_rda."
            )

    def ready_views(self, spec: Any) -> tuple[str, ...]:
        return self.views

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        parts = {}
        for view in self.views:
            key = rng_lib.named(rng, backbone_name(view))
            x = batch["views"][view]
            parts[backbone_name(view)] = self.tower(view).init(key, x)
        nets: dict[str, Any] = dict.fromkeys(self.projectors, self.projector())
        width = self.backbone.width
        if self.standardised:
            nets[NORM], width = norm.BatchNorm(affine=False), self.widths[-1]
        for name, net in nets.items():
            rows = jnp.zeros((2, width if name == NORM else self.backbone.width))
            shapes = jax.eval_shape(
                lambda net=net, rows=rows: net.init(
                    jax.random.key(0), rows, train=False
                )
            )
            key = rng_lib.named(rng, name)
            parts[name] = initializers.torch_default(key, shapes)
        return transfer.components(**parts)

    def embed(
        self,
        variables: method.Variables,
        views: Sequence[jax.Array],
        *,
        train: bool,
        rng: jax.Array | None = None,
    ) -> tuple[list[jax.Array], list[jax.Array], method.Variables]:
        """Features and embeddings, and the statistics that have moved.

        Args:
          variables: Of the whole method.
          views: Draws of each view, `[B, K, H, W, C]`, as stored.
          train: Whether batch norms normalise by the batch, and paths are dropped.
          rng: Key of what is dropped; training needs it.

        Returns:
          `[B, K, D]` and `[B, K, P]` of each view, float32 or wider, and variables by
          component.
        """
        count, draws = views[0].shape[:2]
        features, moved = [], {}
        for view, x in zip(self.views, views, strict=True):
            name = backbone_name(view)
            found, moved[name] = self.tower(view).features(
                self._own(variables, view),
                x.reshape(-1, *x.shape[2:]),
                train=train,
                rng=None if rng is None else rng_lib.named(rng, name),
                groups=draws,
            )
            features.append(found.pooled.reshape(count, draws, -1))
        if self.shared_projector:
            z, moved[PROJECTOR] = self._project(
                variables, PROJECTOR, jnp.concatenate(features, axis=1), train=train
            )
            return (
                features,
                jnp.split(z, len(views), axis=1),
                transfer.components(**moved),
            )
        embeddings = []
        for view, h in zip(self.views, features):
            name = self.projector_name(view)
            z, moved[name] = self._project(variables, name, h, train=train)
            embeddings.append(z)
        return features, embeddings, transfer.components(**moved)

    def _own(self, variables: method.Variables, view: str) -> method.Variables:
        """The variables with which a view's backbone computes."""
        mine = transfer.component(variables, backbone_name(view))
        if self.rda_share == "separate":
            return mine
        first = transfer.component(variables, backbone_name(self.views[0]))
        return {
            kind: held | {k: first[kind][k] for k in self.shareable if k in held}
            for kind, held in mine.items()
        }

    def _project(
        self, variables: method.Variables, name: str, h: jax.Array, *, train: bool
    ) -> tuple[jax.Array, method.Variables]:
        """Embeddings `[B, G, P]` of features `[B, G, D]`, each group for itself."""
        rows = h.reshape(-1, h.shape[-1])
        net, mine = self.projector(h.shape[1]), transfer.component(variables, name)
        if train:
            z, moved = net.apply(mine, rows, train=True, mutable=["batch_stats"])
        else:
            z, moved = net.apply(mine, rows, train=False), {}
        z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
        return z.reshape(*h.shape[:2], -1), moved

    def standardise(
        self, variables: method.Variables, rows: Sequence[jax.Array]
    ) -> tuple[list[jax.Array], method.Variables]:
        """Embeddings `[B, P]`, each by its own batch's mean and deviation.

        Returns:
          The same shapes, and the statistics of `bn` after all of them in their order.
        """
        stacked = jnp.stack(rows, axis=1)
        net = norm.BatchNorm(groups=len(rows), affine=False, dtype=stacked.dtype)
        found, moved = net.apply(
            transfer.component(variables, NORM),
            stacked.reshape(-1, stacked.shape[-1]),
            train=True,
            mutable=["batch_stats"],
        )
        found = jnp.moveaxis(found.reshape(stacked.shape), 1, 0)
        return list(found), transfer.components(**{NORM: moved})

    def drawn(self, batch: method.Batch) -> list[jax.Array]:
        """The draws of each view that enter the loss, `[B, draws, H, W, C]`, B > 1."""
        found = []
        for view in self.views:
            if view in batch.get("present", {}):
                raise errors.UserError(
                    f"Samples of the data may lack the view {view!r}, but the loss compares "
                    "all views of each sample: leave out those that lack one."
                )
            x = batch["views"][view]
            x = x[:, None] if x.ndim == 4 else x
            if x.shape[1] < self.draws:
                raise errors.UserError(
                    f"The loss compares {self.draws} random draws of the view {view!r}; "
                    "set config.data.train_policy.draws, or give [K, H, W, C] in the data."
                )
            found.append(x[:, : self.draws])
        if len(found[0]) < 2:
            raise errors.UserError(
                "config.data.batch_size must leave 2 samples for each loss, which compares "
                "those of a batch."
            )
        return found

    def objective(
        self, variables: method.Variables, z: list[jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array], method.Variables]:
        """The loss of embeddings.

        Args:
          variables: Of the whole method.
          z: `[B, draws, P]` of each view, float32 or wider.

        Returns:
          The loss, `[]`, its terms by name, and statistics that have moved.
        """
        raise NotImplementedError

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        _, z, moved = self.embed(variables, self.drawn(batch), train=True, rng=rng)
        loss, metrics, more = self.objective(variables, z)
        return loss, method.Aux(metrics, transfer.join(moved, more))

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `features/<view>`, `embedding/<view>` and `shared`.

        `shared` is all features side by side, `[B, D]` each, as a late fusion has them.
        What a sample lacks a view for is 0.
        """
        views = [batch["views"][view][:, None] for view in self.views]
        features, z, _ = self.embed(variables, views, train=False)
        outputs = {}
        for kind, arrays in (("features", features), ("embedding", z)):
            for view, array in zip(self.views, arrays):
                here = batch.get("present", {}).get(view, True)
                here = jnp.broadcast_to(jnp.asarray(here), array.shape[:1])
                outputs[f"{kind}/{view}"] = jnp.where(here[:, None], array[:, 0], 0)
        parts = [outputs[f"features/{view}"] for view in self.views]
        return outputs | {"shared": jnp.concatenate(parts, axis=-1)}

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return {"backbone_*": ("backbone", "means", "stds", "rda_share")}

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """Whole networks as published, and one backbone alone, by view.

        `joint` is a bare state dict whose keys begin with `module`, `checkpoint` the same
        under `model`, `plain` one without `module`. A shared projector stands there once
        for each view. `<view>` is a backbone as its own publishers name it, see
        `transfer.tables_by_view`.
        """
        components = {view: backbone_name(view) for view in self.views}
        names = tuple(components.values())
        parts = [transfer.joint_table(self.backbone, names, "backbone_")]
        leaves = projector_lib.torch_leaves(self.projector())
        for name in self.projectors:
            numbers = [
                i
                for i, view in enumerate(self.views, 1)
                if self.projector_name(view) == name
            ]
            tied = [
                leaf._replace(
                    torch_names=tuple(
                        f"{PROJECTOR}{i}.{key}"
                        for i in numbers
                        for key in leaf.torch_names
                    )
                )
                for leaf in leaves
            ]
            parts.append(torch_table.Table(torch_map.nest(tied, flax=name)))
        if self.standardised:
            statistics = torch_map.batch_norm("", NORM)
            held = [x for x in statistics if x.path.startswith("batch_stats/")]
            parts.append(torch_table.Table(torch_map.nest(held, flax=NORM)))
        plain = torch_table.join(*parts)
        joint = plain.nest(torch=MODULE)
        tables = {
            "joint": joint,
            "checkpoint": dataclasses.replace(joint, inside="model"),
            "plain": plain,
        }
        alone = transfer.tables_by_view(self.backbone, components)
        return tables | {k: table for k, table in alone.items() if k not in tables}

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Has all copies of a shared projector be the first one, with a warning."""
        if not self.shared_projector:
            return tensors
        named, other = dict(tensors), []
        for key, array in tensors.items():
            match = _COPY.fullmatch(key)
            first = tensors.get(f"{match[1]}{PROJECTOR}1.{match[2]}") if match else None
            if first is None or key.endswith(_COUNTER) or np.array_equal(first, array):
                continue
            named[key] = first
            other.append(key)
        if other:
            warnings.warn(
                f"{errors.listed(other)} differ from those of {PROJECTOR}1, which is taken: "
                "config.method.shared_projector is True.",
                stacklevel=2,
            )
        return named
