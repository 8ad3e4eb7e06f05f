"""MV-MR: two views of an image agree and depend on hand-crafted representations.

Kinakh, Drozdova and Voloshynovskiy, "MV-MR: Multi-Views and Multi-Representations for
Self-Supervised Learning and Knowledge Distillation", Entropy 2024, 26(6), 466 (arXiv
2303.12130). With the embeddings `z` of an augmented image and `z'` of the plain one, both
with gradients, and fixed representations r of the plain one:

    mean (z - z')^2 + hinge(std z) + hinge(std z') + (1 - dCor(z, z'))
        + sum over r of (1 - dCor(r, z))

The released code ADDS `dCor(r, z)` instead, so it minimises the dependence that the paper
maximises: `rep_objective="official"`, which `variant=released` sets. All terms are of the
global batch; `parallel=pmap` gives the released ones, of each device's own rows.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import backbone as backbone_lib
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import classification
from mvjax.losses import contrastive
from mvjax.losses import distance_correlation
from mvjax.losses import pairwise
from mvjax.losses import vicreg
from mvjax.models import heads
from mvjax.models import projector
from mvjax.models import resnet
from mvjax.models import transfer
from mvjax.models.layers import initializers
from mvjax.ops import representations as representations_lib

BACKBONE, PROJECTOR, PROBE = "backbone", "projector", "probe"  # The components.
SCALE = representations_lib.SCALE  # Of embeddings in a distance correlation, too.
# What Lightning keeps beside the student: filters that are made anew, and a teacher.
NO_WEIGHTS = ("_scatnet.*", "_hog.*", "clip.*")


@dataclasses.dataclass(frozen=True)
class Weights:
    """Of the terms of the loss."""

    mse: limits.Weight = 1.0
    std: limits.Weight = 1.0
    dc_zz: limits.Weight = 1.0
    dc: limits.Weight = 1.0  # Of each representation, or of the teacher's features.


@dataclasses.dataclass(frozen=True)
class Base(method.Method):
    """An encoder of two views, and a linear probe that learns beside it.

    The records hold the plain image in `view` and the augmented one in `augmented`, both
    `[H, W, C]`; evaluation needs the plain one only. The probe reads detached features of
    plain images: of the batch, or of the stream `config.data.beside.<labelled>`.
    """

    backbone: backbone_lib.Backbone = resnet.Backbone()
    widths: tuple[limits.Size, ...] = (
        8192,
        8192,
        8192,
    )  # Of the projector; () is none.
    view: limits.Text = "image"
    augmented: limits.Text = "augmented"
    mean: tuple[float, ...] = ()  # Of each channel, taken off images in [0, 1].
    std: tuple[limits.Positive, ...] = ()
    normalize_z: bool = False  # Embeddings of length one.
    std_margin: limits.Positive = 1.0  # Deviations beyond it cost nothing.
    weights: Weights = Weights()
    classes: limits.Classes = 0  # Of the probe; 0: there is no probe.
    labelled: str = ""  # The stream that the probe learns from; "": the batch itself.
    # The norms of the encoder that the probe reads: by their running statistics, or, as
    # in the released code, by those of the batch while the running ones move.
    probe_norm: limits.one_of("eval", "drift") = "eval"
    dtype: limits.Dtype = "float32"

    @property
    def tower(self) -> transfer.Tower:
        """The backbone as it reads the views."""
        return transfer.Tower(self.backbone, self.mean, self.std, self.dtype)

    @property
    def head(self) -> heads.Classifier:
        """The probe."""
        return heads.Classifier((), self.classes)

    def check(self, spec: Any) -> None:
        super().check(spec)
        transfer.check_views(self, (self.view,), spec)
        if self.augmented in spec.views:
            shapes = [spec.views[name].shape for name in (self.view, self.augmented)]
            if shapes[0] != shapes[1]:
                raise errors.UserError(
                    f"The views {self.view!r} and {self.augmented!r} have the shapes "
                    f"{shapes[0]} and {shapes[1]}; the encoder reads them in one batch."
                )
        if self.classes and not self.labelled and spec.classes != self.classes:
            raise errors.UserError(
                f"config.method.classes is {self.classes}; the data set has "
                f"{spec.classes or 'no'} classes. 0 trains without a probe."
            )

    def ready_views(self, spec: Any) -> tuple[str, ...]:
        return (self.view,)

    @property
    def updates(self) -> tuple[method.Update, ...]:
        main = method.Update("main", self.loss, (BACKBONE, PROJECTOR))
        if not self.classes:
            return (main,)
        return main, method.Update(PROBE, self.probe_loss, (PROBE,))

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        tower = self.tower.init(rng_lib.named(rng, BACKBONE), batch["views"][self.view])
        parts, h = {BACKBONE: tower}, jnp.zeros((2, self.backbone.width))
        if self.widths:
            key = rng_lib.named(rng, PROJECTOR)
            parts[PROJECTOR] = _init(key, self._projector(), h, train=False)
        if self.classes:
            parts[PROBE] = _init(rng_lib.named(rng, PROBE), self.head, h)
        return transfer.components(**parts)

    def _projector(self, groups: int = 1) -> projector.Projector:
        dtype = jnp.dtype(self.dtype)
        return projector.Projector(self.widths, groups=groups, dtype=dtype)

    def embed(
        self,
        variables: method.Variables,
        x: jax.Array,
        *,
        train: bool,
        rng: jax.Array | None = None,
        groups: int = 1,
    ) -> tuple[jax.Array, jax.Array, method.Variables]:
        """Features and embeddings of images, and the statistics that have moved.

        Args:
          variables: Of the whole method.
          x: `[B, H, W, C]`, as stored.
          train: Whether batch norms normalise by the batch, and paths are dropped.
          rng: Key of what is dropped; training needs it.
          groups: Rows `b * groups + g` are group g of the batch norms.

        Returns:
          `[B, C]` and `[B, D]`, float32, and variables by component.
        """
        mine = transfer.component(variables, BACKBONE)
        features, moved = self.tower.features(
            mine, x, train=train, rng=rng, groups=groups
        )
        h, stats = features.pooled, {}
        if not self.widths:
            return h, h, transfer.components(backbone=moved)
        net = self._projector(groups)
        mine = transfer.component(variables, PROJECTOR)
        if train:
            z, stats = net.apply(mine, h, train=True, mutable=["batch_stats"])
        else:
            z = net.apply(mine, h, train=False)
        moved = transfer.components(backbone=moved, projector=stats)
        return h, z.astype(jnp.promote_types(z.dtype, jnp.float32)), moved

    def pair(self, batch: method.Batch) -> tuple[jax.Array, jax.Array]:
        """The augmented and the plain image of each record, `[B, H, W, C]` each."""
        views = batch["views"]
        if self.augmented not in views:
            raise errors.UserError(
                f"Training needs the view {self.augmented!r} (config.method.augmented) "
                f"beside {tuple(views)}: set config.data.train_policy.name=pair, or give "
                "it in the data."
            )
        if len(views[self.view]) < 2:
            raise errors.UserError(
                "config.data.batch_size must leave 2 images for each loss, as distances "
                "are of pairs of images."
            )
        return views[self.augmented], views[self.view]

    def loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        augmented, plain = self.pair(batch)
        # Each view is a group of the batch norms, whose statistics move by the augmented
        # one first: two passes in one.
        both = jnp.stack([augmented, plain], axis=1).reshape(-1, *plain.shape[1:])
        _, z, moved = self.embed(variables, both, train=True, rng=rng, groups=2)
        loss, metrics = self.terms(z[::2], z[1::2], self.truths(variables, batch, rng))
        return loss, method.Aux(metrics, moved)

    def truths(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> dict[str, jax.Array]:
        """What the embeddings shall depend on, rows `[B, P]` by name, scaled."""
        raise NotImplementedError

    def terms(
        self, z: jax.Array, z_orig: jax.Array, truths: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of embeddings, `[]`, and its terms.

        Args:
          z: Of the augmented images, `[B, D]`.
          z_orig: Of the plain ones.
          truths: See there.

        Returns:
          The loss, `[]`; `mse`, `std`, `dc_zz` as they enter it, `dc/<name>`, the plain
          distance correlation, and `clamped`, the share of the pairs of different
          samples whose distance in a correlation is at the floor.
        """
        if self.normalize_z:
            z, z_orig = contrastive.unit(z), contrastive.unit(z_orig)
        scaled, margin = z / SCALE, dict(margin=self.std_margin, stabiliser=0)
        correlation = distance_correlation.correlation
        metrics = {
            "mse": vicreg.invariance(z_orig, z),
            "std": vicreg.variance(z, **margin) + vicreg.variance(z_orig, **margin),
            "dc_zz": 1 - correlation(z_orig / SCALE, scaled),
        }
        loss = sum(getattr(self.weights, k) * value for k, value in metrics.items())
        for name, rows in truths.items():
            found = correlation(jax.lax.stop_gradient(rows), scaled)
            loss += self.weights.dc * self.dependence_cost(found)
            metrics[f"dc/{name}"] = found
        return loss, metrics | {"clamped": _clamped(scaled)}

    def dependence_cost(self, correlation: jax.Array) -> jax.Array:
        """What a distance correlation with a truth costs."""
        return 1 - correlation

    def probe_loss(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array
    ) -> tuple[jax.Array, method.Aux]:
        """Cross entropy of the probe on plain images; unknown labels do not count."""
        seen = batch["beside"][self.labelled] if self.labelled else batch
        x, labels = seen["views"][self.view], seen["label"]
        features, moved = self.tower.features(
            transfer.component(variables, BACKBONE),
            x,
            train=self.probe_norm == "drift",
            rng=rng,
        )
        h = jax.lax.stop_gradient(features.pooled)
        scores = self.head.apply(transfer.component(variables, PROBE), h)
        loss = classification.cross_entropy(scores, labels)
        metrics = {
            f"{PROBE}/{name}": classification.accuracy(scores, labels, k=k)
            for name, k in (("accuracy", 1), ("top5", 5))
            if k < self.classes or k == 1
        }
        return loss, method.Aux(metrics, transfer.components(backbone=moved))

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `shared` `[B, C]`, `embedding` `[B, D]`, and `logits` of the probe."""
        h, z, _ = self.embed(variables, batch["views"][self.view], train=False)
        outputs = {"shared": h, "embedding": z}
        if self.classes:
            mine = transfer.component(variables, PROBE)
            outputs["logits"] = self.head.apply(mine, h)
        return outputs

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return {BACKBONE: ("backbone", "mean", "std")}

    def torch_tables(self) -> dict[str, torch_table.Table]:
        """The file `{encoder, online_finetuner}`, Lightning's, and the backbone's own."""
        towers = self.backbone.torch_tables(transfer.CHANNELS)
        first = next(iter(towers.values()))
        parts = [first.nest(flax=BACKBONE, torch=BACKBONE)]
        if self.widths:
            table = torch_table.Table(projector.torch_leaves(self._projector()))
            parts.append(table.nest(flax=PROJECTOR, torch=PROJECTOR))
        encoder = torch_table.join(*parts)
        probe = torch_table.Table([])
        if self.classes:
            leaves = heads.classifier_leaves(())
            probe = torch_table.Table(leaves).nest(flax=PROBE)
        script = torch_table.join(
            encoder.nest(part="encoder"),
            probe.nest(part="online_finetuner"),
            ignore=() if self.classes else ("online_finetuner:*",),
        )
        lightning = torch_table.join(
            encoder.nest(torch="_encoder"),
            probe.nest(torch="online_finetuner"),
            ignore=(*NO_WEIGHTS, *(() if self.classes else ("online_finetuner.*",))),
        )
        lightning = dataclasses.replace(lightning, inside="state_dict")
        return {"script": script, "lightning": lightning} | {
            name: table.nest(flax=BACKBONE) for name, table in towers.items()
        }


def _init(key: jax.Array, net: nn.Module, *inputs: Any, **modes: Any) -> Any:
    """Fresh variables with PyTorch's defaults."""
    shapes = jax.eval_shape(lambda: net.init(key, *inputs, **modes))
    return initializers.torch_default(key, shapes)


def _clamped(z: jax.Array) -> jax.Array:
    """Share of pairs of different rows `[B, D]` that are as near as the floor."""
    squared = pairwise.gram_squared_distances(jax.lax.stop_gradient(z))
    pairs = len(z) * (len(z) - 1)
    near = jnp.sum(squared <= distance_correlation.FLOOR) - len(z)
    return near / max(pairs, 1)


@dataclasses.dataclass(frozen=True)
class Method(Base):
    """Self-supervision: the embeddings depend on representations of the plain image."""

    rep_objective: limits.one_of("maximize", "official") = "maximize"
    # Names of `ops/representations.py`.
    representations: tuple[limits.one_of(*representations_lib.NAMES), ...] = (
        representations_lib.RELEASED
    )
    settings: representations_lib.Settings = representations_lib.Settings()
    # Whether those that are the same in each epoch are computed once and kept.
    keep_representations: bool = False

    def dependence_cost(self, correlation: jax.Array) -> jax.Array:
        return correlation if self.rep_objective == "official" else 1 - correlation

    def check(self, spec: Any) -> None:
        super().check(spec)
        shape = tuple(spec.views[self.view].shape)
        representations_lib.widths(self.representations, shape, self.settings)

    def truths(self, variables, batch, rng):
        del variables
        held = batch.get("constant", {})
        x = self.tower.read(batch["views"][self.view])
        return {
            name: held[name]
            if name in held
            else self._represent(name, x, rng_lib.named(rng, name))
            for name in self.representations
        }

    def _represent(
        self, name: str, x: jax.Array, key: jax.Array | None = None
    ) -> jax.Array:
        """A representation of normalised images, `[B, P]`."""
        made = representations_lib.Representation(name, self.settings)
        return made(x, key, mean=self.mean or (0.0,), std=self.std or (1.0,))

    def constants(self, variables, batch, *, frozen):
        del variables, frozen
        if not self.keep_representations or self.view not in batch["views"]:
            return {}
        x = self.tower.read(batch["views"][self.view])
        steady = filter(representations_lib.is_deterministic, self.representations)
        return {name: self._represent(name, x) for name in steady}

    def published_settings(self) -> dict[str, str]:
        return {
            "normalize_z": "method.normalize_z",
            "std_margin": "method.std_margin",
            "encoder.out_dim": "method.widths",
            "dataset.n_classes": "method.classes",
        }
