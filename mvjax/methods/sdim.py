"""SDIM: shared codes of two or more views by cross mutual information.

Sanchez, Serrurier and Ortner, "Learning Disentangled Representations via Mutual
Information Estimation", ECCV 2020, stage 1. Each view's map must be recognisable from the
codes of the *other* views (`switched`), as a whole (global critic) and at each position
(local critic), and the codes must agree (L1):

    global_coeff * sum_v I(M_v; S_u) + local_coeff * ... + shared_coeff * |S_u - S_v|

Diagnostic classifiers read detached codes. By default they minimise the cross entropy;
as released they take the softmax twice and normalise the logits.
"""

import dataclasses
import itertools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import classification
from mvjax.losses import mutual_information
from mvjax.methods.checks import dim as dim_checks
from mvjax.models import dim
from mvjax.models.layers import initializers
from mvjax.ops import images as image_ops

BOUNDS = ("jsd", "dv", "nwj", "infonce", "smile")
CLASSIFIER_LOSSES = ("softmax", "double_softmax")
Arrays = dict[str, jax.Array]
# Keys of the config and tables of weights by the names that the published code gave them.
SETTINGS = {
    "Local mutual weight": "method.local_mutual_loss_coeff",
    "Global mutual weight": "method.global_mutual_loss_coeff",
    "L1 weight": "method.shared_loss_coeff",
    "Discriminator weight": "method.disentangling_loss_coeff",
}
ARTIFACTS = {
    "shared_x": "sh_encoder_x",
    "shared_y": "sh_encoder_y",
    "private_x": "ex_encoder",
    "private_y": "ex_encoder_y",
}


def prefixed(leaves: list[torch_map.Leaf], prefix: str) -> list[torch_map.Leaf]:
    """A table whose PyTorch names lie below `prefix`."""
    return [
        leaf._replace(torch_names=tuple(f"{prefix}.{n}" for n in leaf.torch_names))
        for leaf in leaves
    ]


def as_tables(
    tables: dict[str, list[torch_map.Leaf]],
) -> dict[str, torch_table.Table]:
    """The kinds of published file, each with the leaves that it holds."""
    return {name: torch_table.Table(leaves) for name, leaves in tables.items()}


@dataclasses.dataclass(frozen=True)
class Base(method.Method):
    """What both stages share: encoders, critics, diagnostic classifiers."""

    views: limits.Names = ("x", "y")
    image_shapes: limits.some(limits.some(limits.Size)) = ((28, 28, 3), (28, 28, 3))
    # Each view has a key of `dim.ENCODERS`.
    encoders: limits.some(limits.one_of(*dim.ENCODERS)) = ("conv", "conv")
    filters: limits.Size = 64
    shared_dim: limits.Size = 64
    critic_hidden: limits.Size = 512
    switched: bool = True  # With False each map meets the code of its own view.
    bound: limits.one_of(*BOUNDS) = "jsd"  # A bound of `losses.mutual_information`.
    negatives: limits.one_of(*dim.NEGATIVES) = "roll"
    local_mutual_loss_coeff: limits.Weight = 1.0
    global_mutual_loss_coeff: limits.Weight = 0.5
    # A diagnostic classifier has a name, a factor (or "label"), a view and classes.
    probes: tuple[tuple[limits.Text, limits.Text, limits.Text, limits.Size], ...] = ()
    classifier_loss: limits.one_of(*CLASSIFIER_LOSSES) = "softmax"
    probe_norm_logits: bool = False
    freeze_dead_biases: bool = True  # A batch norm behind these cancels them.
    dtype: limits.Dtype = "float32"

    @classmethod
    def renew(cls, method: Any, data: Any) -> None:
        dim_checks.renew(method, data)

    def parts(self) -> dict[str, nn.Module]:
        """The network of each component."""
        raise NotImplementedError

    def encoder(self, view: str, code: int) -> nn.Module:
        """A fresh encoder of a view."""
        kind = dim.ENCODERS[self.encoders[self.views.index(view)]]
        return kind(code, self.filters, dtype=jnp.dtype(self.dtype))

    def critics(self) -> dict[str, nn.Module]:
        """Local and global critic of each view."""
        return {
            f"{scope}_{view}": dim.Critic(
                scope == "local", self.critic_hidden, jnp.dtype(self.dtype)
            )
            for scope in ("local", "global")
            for view in self.views
        }

    def probe_parts(self) -> dict[str, nn.Module]:
        """The diagnostic classifiers."""
        return {
            f"probe_{name}": dim.Probe(
                classes,
                norm_logits=self.probe_norm_logits,
                dtype=jnp.dtype(self.dtype),
            )
            for name, _, _, classes in self.probes
        }

    def check(self, spec: Any) -> None:
        super().check(spec)
        dim_checks.check(self, spec)

    def ready_views(self, spec: Any) -> tuple[str, ...]:
        return self.views

    def inputs(self, batch: method.Batch) -> Arrays:
        """Views as float arrays in [0, 1]."""
        views = batch["views"]
        return {name: image_ops.to_float(views[name]) for name in self.views}

    def factors(self, batch: method.Batch) -> Arrays:
        """Classes `[B]` by factor, and of `label`."""
        return {**batch.get("factors", {}), "label": batch["label"]}

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        # The modules run on placeholders to find shapes; the numbers come from NumPy.
        shapes = jax.eval_shape(lambda: self._trace(self.inputs(batch)))
        variables = initializers.torch_default(rng, shapes)
        if self.bound == "dv":  # MINE keeps moving averages of exp T'.
            averages = {name: {"average": jnp.zeros(())} for name in self.critics()}
            variables["moving"] = averages
        return variables

    def _trace(self, views: Arrays) -> dict:
        """Variables of all components, by running each once."""
        parts, key = self.parts(), jax.random.key(0)
        collected: dict[str, dict] = {}

        def run(name: str, *args: Any, **kwargs: Any) -> Any:
            result, made = parts[name].init_with_output(key, *args, **kwargs)
            for collection, leaves in made.items():
                collected.setdefault(collection, {})[name] = leaves
            return result

        self.trace(run, views)
        return collected

    def trace(self, run: Any, views: Arrays) -> None:
        """Runs `run(component, *inputs)` for every component."""
        raise NotImplementedError

    def apply(
        self, variables: method.Variables, name: str, *args: Any, **kwargs: Any
    ) -> tuple[Any, dict]:
        """Runs a component; returns its result and its moved statistics, if any."""
        mine = {k: v[name] for k, v in variables.items() if name in v}
        part = self.parts()[name]
        if not kwargs.get("train"):
            return part.apply(mine, *args, **kwargs), {}
        result, state = part.apply(mine, *args, mutable=["batch_stats"], **kwargs)
        return result, {name: state["batch_stats"]} if state else {}

    def encode(
        self, variables: method.Variables, views: Arrays, prefix: str, *, train: bool
    ) -> tuple[Arrays, Arrays, dict]:
        """Codes `[B, D]` and maps `[B, h, w, M]` by view, and moved statistics."""
        codes, maps, stats = {}, {}, {}
        for view, x in views.items():
            (codes[view], maps[view]), moved = self.apply(
                variables, f"{prefix}_{view}", x, train=train
            )
            stats |= moved
        return codes, maps, stats

    def partners(self, view: str) -> tuple[str, ...]:
        """Views whose shared codes meet the map of `view`."""
        if not self.switched:
            return (view,)
        return tuple(other for other in self.views if other != view)

    def mutual_information(
        self,
        variables: method.Variables,
        maps: Arrays,
        codes: dict[tuple[str, str], jax.Array],
        rng: jax.Array,
    ) -> tuple[Arrays, Arrays, dict]:
        """Weighted losses of both scopes, bounds in nats, collections that moved.

        Args:
          variables: All components.
          maps: `[B, h, w, M]` by view.
          codes: `[B, D]` by (view of the map, view of the shared code).
          rng: Draws the permutation, if negatives are drawn.
        """
        batch = next(iter(maps.values())).shape[0]
        order = jax.random.permutation(rng_lib.named(rng, "negatives"), batch)
        # In a random cycle no sample meets itself.
        following = jnp.zeros_like(order).at[order].set(jnp.roll(order, -1))
        losses, bounds = {}, {}
        averages = dict(variables.get("moving", {}))
        for scope in ("global", "local"):
            total = 0.0
            for view in self.views:
                name = f"{scope}_{view}"
                for other in self.partners(view):
                    (joint, marginal), _ = self.apply(
                        variables,
                        name,
                        maps[view],
                        codes[view, other],
                        negatives=self.negatives,
                        permutation=following,
                    )
                    if self.negatives == "all_pairs":
                        marginal = mutual_information.off_diagonal(marginal)
                    share = 1 / len(self.partners(view))
                    average = None
                    if name in averages:
                        average = mutual_information.update_average(
                            averages[name]["average"], marginal
                        )
                        averages[name] = {"average": average}
                    loss = mutual_information.loss(
                        self.bound, joint, marginal, average=average
                    )
                    total = total + share * loss
                    estimate = mutual_information.estimate(self.bound, joint, marginal)
                    key = f"information_{scope}/{view}"
                    bounds[key] = bounds.get(key, 0.0) + share * estimate
            weight = getattr(self, f"{scope}_mutual_loss_coeff")
            losses[f"{scope}_mutual_loss"] = weight * total
        return losses, bounds, {"moving": averages} if averages else {}

    def probe_losses(
        self, variables: method.Variables, batch: method.Batch, codes: Arrays
    ) -> tuple[jax.Array, Arrays, dict]:
        """Summed loss of the classifiers on detached codes, their metrics, statistics."""
        total, metrics, stats = jnp.zeros(()), {}, {}
        factors = self.factors(batch)
        for name, factor, view, _ in self.probes:
            code = jax.lax.stop_gradient(codes[view])
            logits, moved = self.apply(variables, f"probe_{name}", code, train=True)
            labels = factors[factor]
            criterion = classification.cross_entropy
            if self.classifier_loss == "double_softmax":
                criterion = classification.double_softmax
            loss = criterion(logits, labels)
            total = total + loss
            metrics[f"{name}_classif_loss"] = loss
            metrics[f"{name}_accuracy"] = classification.accuracy(logits, labels)
            stats |= moved
        return total, metrics, stats

    def alive(self, variables: method.Variables) -> method.Variables:
        """Variables whose dead biases get no gradient, if the config wants that."""
        if not self.freeze_dead_biases:
            return variables
        return dim.stop_dead_biases(variables, self.parts())

    def map_shape(self, view: str) -> tuple[int, int, int]:
        """Shape of the map that the encoder of a view gives."""
        i = self.views.index(view)
        if self.encoders[i] == "mlp":
            return (1, 1, 4 * self.filters)
        return dim.conv_map_shape(self.image_shapes[i], self.filters)

    def common_leaves(self, map_channels: int = 1) -> list[torch_map.Leaf]:
        """Table of critics and classifiers; maps have `map_channels` times M channels."""
        leaves = []
        for view in self.views:
            height, width, channels = self.map_shape(view)
            shape = (height, width, channels * map_channels)
            for scope, table in (
                ("local", dim.local_leaves()),
                ("global", dim.global_leaves(shape)),
            ):
                leaves += torch_map.nest(
                    table, flax=f"{scope}_{view}", torch=f"{scope}_stat_{view}"
                )
        for name, *_ in self.probes:
            table = dim.probe_leaves(self.probe_norm_logits)
            leaves += torch_map.nest(
                table, flax=f"probe_{name}", torch=f"{name}_classifier"
            )
        return leaves

    def published_settings(self) -> dict[str, str]:
        return SETTINGS

    def artifact_names(self) -> dict[str, str]:
        return ARTIFACTS

    def whole_note(self, table: str) -> dict[str, str]:
        """What `torch_notes` says of the table of the whole network."""
        if self.probe_norm_logits or not self.probes:
            return {}
        return {
            table: "the published classifiers also have bn3; what loads strictly into "
            "the published class needs config.method.probe_norm_logits=True, as the "
            "config argument variant=released sets it."
        }

    def encoder_tables(self, prefix: str) -> dict[str, list[torch_map.Leaf]]:
        """Tables of the single encoders, by component; empty if one has no table."""
        if set(self.encoders) != {"conv"}:
            return {}
        names = [f"{prefix}_{view}" for view in self.views]
        return {
            name: torch_map.nest(
                dim.encoder_leaves(self.map_shape(view)), flax=name, torch=""
            )
            for name, view in zip(names, self.views, strict=True)
        }


@dataclasses.dataclass(frozen=True)
class Method(Base):
    """Stage 1; `predict` gives `shared/<view>` and their mean `shared`."""

    shared_loss_coeff: limits.Weight = 0.1

    def parts(self) -> dict[str, nn.Module]:
        encoders = {
            f"shared_{view}": self.encoder(view, self.shared_dim) for view in self.views
        }
        return encoders | self.critics() | self.probe_parts()

    def trace(self, run: Any, views: Arrays) -> None:
        for view in self.views:
            code, maps = run(f"shared_{view}", views[view], train=False)
            for scope in ("local", "global"):
                run(f"{scope}_{view}", maps, code)
        for name, *_ in self.probes:
            run(f"probe_{name}", code, train=False)

    def loss(self, variables, batch, rng):
        variables = self.alive(variables)
        codes, maps, stats = self.encode(
            variables, self.inputs(batch), "shared", train=True
        )
        pairs = {(v, u): codes[u] for v in self.views for u in self.partners(v)}
        terms, bounds, averages = self.mutual_information(variables, maps, pairs, rng)
        distances = [
            jnp.mean(jnp.abs(codes[u] - codes[v]))
            for u, v in itertools.combinations(self.views, 2)
        ]
        agreement = sum(distances) / (len(self.views) - 1)
        terms["shared_loss"] = self.shared_loss_coeff * agreement
        encoder_loss = sum(terms.values())
        classifiers, metrics, moved = self.probe_losses(variables, batch, codes)
        metrics |= terms | bounds | {"encoder_loss": encoder_loss}
        state = {"batch_stats": stats | moved} | averages
        return encoder_loss + classifiers, method.Aux(metrics, state)

    def predict(self, variables, batch):
        codes, _, _ = self.encode(variables, self.inputs(batch), "shared", train=False)
        result = {f"shared/{view}": code for view, code in codes.items()}
        return result | {"shared": sum(codes.values()) / len(codes)}

    def torch_tables(self) -> dict[str, torch_table.Table]:
        encoders = self.encoder_tables("shared")
        if not encoders:
            return {}
        whole = self.common_leaves()
        for view in self.views:
            whole += prefixed(encoders[f"shared_{view}"], f"sh_enc_{view}")
        return as_tables({"sdim": whole, **encoders})

    def torch_notes(self) -> dict[str, str]:
        return self.whole_note("sdim")
