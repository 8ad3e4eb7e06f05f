"""EDIM: exclusive codes beside frozen shared ones, made independent of them.

Sanchez, Serrurier and Ortner, ECCV 2020, stage 2. The pair [S, E_v] must hold what the
maps of both encoders of view v hold (as in `sdim.py`), while E_v stays independent of S:

* `gan` (published): a discriminator for each view tells joint from mismatched pairs of
  codes, and the encoder fools it (`adversarial`: "non_saturating" as released, or
  "minimax");
* `club`: the CLUB upper bound on I(E; S), with an estimator of its own;
* `hsic`: the Hilbert-Schmidt independence criterion, without any network.

The published step has three sub-steps: encoders and critics, discriminators,
classifiers, all on the codes from before the step. Each optimiser is element-wise and no
sub-step reads what another has changed, so one gradient of the sum, with the published
detachments, is the same step. `switched` pairs the map of x with the shared code of y, as
released; the paper's figure pairs each view's own codes.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import adversarial
from mvjax.losses import club
from mvjax.losses import hsic
from mvjax.methods import sdim
from mvjax.models import dim
from mvjax.models import mi_estimators

INDEPENDENCE = ("gan", "club", "hsic")
ADVERSARIAL = ("non_saturating", "minimax")


@dataclasses.dataclass(frozen=True)
class Method(sdim.Base):
    """Stage 2; `predict` gives `shared/<view>`, `shared` and `private/<view>`."""

    exclusive_dim: limits.Size = 8
    independence: limits.one_of(*INDEPENDENCE) = "gan"
    adversarial: limits.one_of(*ADVERSARIAL) = "non_saturating"
    disentangling_loss_coeff: limits.Weight = 0.1
    estimator_hidden: limits.Size = 100  # Width of the CLUB estimator.

    def parts(self) -> dict[str, nn.Module]:
        parts = {}
        for view in self.views:
            parts[f"shared_{view}"] = self.encoder(view, self.shared_dim)
            parts[f"private_{view}"] = self.encoder(view, self.exclusive_dim)
            if self.independence == "gan":
                dtype = jnp.dtype(self.dtype)
                parts[f"discriminator_{view}"] = dim.Discriminator(dtype=dtype)
            elif self.independence == "club":
                parts[f"estimator_{view}"] = mi_estimators.GaussianEstimator(
                    self.shared_dim, self.estimator_hidden
                )
        return parts | self.critics() | self.probe_parts()

    @property
    def updates(self) -> tuple[method.Update, ...]:
        trained = [name for name in self.parts() if not name.startswith("shared_")]
        return (method.Update("main", self.loss, tuple(trained)),)

    def trace(self, run: Any, views: sdim.Arrays) -> None:
        for view in self.views:
            shared, common = run(f"shared_{view}", views[view], train=False)
            private, own = run(f"private_{view}", views[view], train=False)
            pair = jnp.concatenate([shared, private], axis=1)
            for scope in ("local", "global"):
                run(f"{scope}_{view}", jnp.concatenate([common, own], axis=-1), pair)
            if self.independence == "gan":
                run(f"discriminator_{view}", pair)
            elif self.independence == "club":
                run(f"estimator_{view}", private)
        for name, *_ in self.probes:
            run(f"probe_{name}", private, train=False)

    def loss(self, variables, batch, rng):
        variables = self.alive(variables)
        views = self.inputs(batch)
        shared, common, _ = self.encode(variables, views, "shared", train=False)
        shared, common = jax.lax.stop_gradient((shared, common))  # These are fixed.
        private, own, stats = self.encode(variables, views, "private", train=True)
        maps = {v: jnp.concatenate([common[v], own[v]], axis=-1) for v in self.views}
        pairs = {
            (v, u): jnp.concatenate([shared[u], private[v]], axis=1)
            for v in self.views
            for u in self.partners(v)
        }
        terms, bounds, averages = self.mutual_information(variables, maps, pairs, rng)
        penalty, rival, metrics = self._independence(variables, shared, private, rng)
        terms["gan_loss_g" if self.independence == "gan" else "independence"] = penalty
        encoder_loss = sum(terms.values())
        classifiers, probes, moved = self.probe_losses(variables, batch, private)
        metrics |= terms | bounds | probes
        metrics |= {"encoder_loss": encoder_loss, "classif_loss": classifiers}
        total = encoder_loss + rival + classifiers
        return total, method.Aux(metrics, {"batch_stats": stats | moved} | averages)

    def _independence(
        self,
        variables: method.Variables,
        shared: sdim.Arrays,
        private: sdim.Arrays,
        rng: jax.Array,
    ) -> tuple[jax.Array, jax.Array, sdim.Arrays]:
        """The encoders' penalty, the loss of the network beside it, and metrics.

        Both are weighted and summed over views; several partners of a view are averaged.
        """
        measure = {"gan": self._gan, "club": self._club, "hsic": self._hsic}
        penalty, rival, metrics = jnp.zeros(()), jnp.zeros(()), {}
        for view in self.views:
            for other in self.partners(view):
                key = jax.random.fold_in(
                    rng_lib.named(rng, f"club {view}"), self.views.index(other)
                )
                mine, beside, found = measure[self.independence](
                    variables, view, shared[other], private[view], key
                )
                share = self.disentangling_loss_coeff / len(self.partners(view))
                penalty, rival = penalty + share * mine, rival + share * beside
                metrics |= found
        if self.independence == "gan":
            metrics["gan_loss_d"] = rival
        return penalty, rival, metrics

    def _gan(self, variables, view, shared, private, rng):
        del rng
        name = f"discriminator_{view}"
        fixed = {"params": jax.lax.stop_gradient(variables["params"])}
        pair = jnp.concatenate([shared, private], axis=1)
        fake, _ = self.apply(fixed, name, pair)
        generator = adversarial.generator
        if self.adversarial == "minimax":
            generator = adversarial.minimax_generator
        mismatched = jnp.concatenate([jnp.roll(shared, -1, axis=0), private], axis=1)
        codes = jax.lax.stop_gradient(jnp.concatenate([mismatched, pair]))
        real, joint = jnp.split(self.apply(variables, name, codes)[0], 2)
        right = jnp.mean(real > 0) + jnp.mean(joint <= 0)
        metrics = {
            f"discriminator_accuracy/{view}": right / 2
        }  # 0.5 means independent.
        return generator(fake), adversarial.discriminator(real, joint), metrics

    def _club(self, variables, view, shared, private, rng):
        name = f"estimator_{view}"
        fixed = {"params": jax.lax.stop_gradient(variables["params"])}
        estimate, _ = self.apply(fixed, name, private)
        order = jax.random.permutation(rng, shared.shape[0])
        bound = club.sampled_upper_bound(*estimate, shared, order)
        detached, _ = self.apply(variables, name, jax.lax.stop_gradient(private))
        likelihood = club.log_likelihood(*detached, shared)
        return bound, -likelihood, {f"club/{view}": bound}

    def _hsic(self, variables, view, shared, private, rng):
        del variables, rng
        value = hsic.biased(private, shared)
        return value, jnp.zeros(()), {f"hsic/{view}": value}

    def predict(self, variables, batch):
        views = self.inputs(batch)
        shared, _, _ = self.encode(variables, views, "shared", train=False)
        private, _, _ = self.encode(variables, views, "private", train=False)
        result = {f"shared/{view}": code for view, code in shared.items()}
        result |= {f"private/{view}": code for view, code in private.items()}
        return result | {"shared": sum(shared.values()) / len(shared)}

    def torch_tables(self) -> dict[str, list[torch_map.Leaf]]:
        shared = self.encoder_tables("shared")
        private = self.encoder_tables("private")
        if not shared:
            return {}
        tables = shared | private
        if self.independence != "gan":
            return tables
        whole = self.common_leaves(map_channels=2)
        for view in self.views:
            whole += sdim.prefixed(shared[f"shared_{view}"], f"sh_enc_{view}")
            whole += sdim.prefixed(private[f"private_{view}"], f"ex_enc_{view}")
            name = f"discriminator_{view}"
            whole += torch_map.nest(dim.discriminator_leaves(), flax=name, torch=name)
        return {"edim": whole, **tables}

    def torch_notes(self) -> dict[str, str]:
        return self.whole_note("edim")
