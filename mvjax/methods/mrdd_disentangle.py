"""MRDD, stage 2: view-specific codes by distilled disentangling.

The stage-1 network is a frozen teacher that gives the consistent code c. Each view gets
its own VAE, whose decoder sees [v, c], and its own estimator q(c | v).

Objectives (`objective`):

* `club`, the paper's: encoder and decoder minimise reconstruction + KL + lam * the CLUB
  upper bound on I(v; c) with the estimator held fixed; the estimator maximises its
  likelihood on detached codes. c is the teacher's mean, in evaluation mode.
* `full`: reconstruction + KL + lam * the estimator's negative log-likelihood, jointly;
  the part that the released code has switched off.
* `released`: only lam * the negative log-likelihood, minimised by encoder and estimator
  together, with the teacher in training mode (its code is sampled, its statistics move)
  and the decoders never trained. This draws c *into* v, the contrary of the paper.
"""

import dataclasses
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import club
from mvjax.losses import variational
from mvjax.methods import mrdd_consistency
from mvjax.methods.checks import mrdd as mrdd_checks
from mvjax.models import mi_estimators
from mvjax.models import mrdd
from mvjax.models.layers import initializers
from mvjax.ops import sampling

OBJECTIVES = ("club", "full", "released")


class _Codes(NamedTuple):
    """View-specific codes of a batch and what goes with them."""

    specific: jax.Array  # [V, B, v_dim], sampled; the estimator's input.
    decoded: jax.Array  # [V, B, v_dim], sampled; the decoders' input.
    kl: jax.Array  # [V], weighted.
    stats: dict[str, Any]  # Moved batch statistics by component.


class Net(nn.Module):
    """Components: `teacher`, and `encoders_i`, `decoders_i`, `estimators_i` per view."""

    teacher: mrdd.ConsistencyNet
    encoders: tuple[mrdd.SpecificEncoder, ...]
    decoders: tuple[mrdd.SpecificDecoder, ...]
    estimators: tuple[mi_estimators.GaussianEstimator, ...]

    def __call__(self, images: jax.Array, code: jax.Array) -> None:
        """Runs every part once, to make the parameters."""
        self.teacher(images, train=False)
        for i in range(len(self.encoders)):
            v = self.encoders[i](images[:, i], train=False)[:, 0]
            self.decoders[i](jnp.concatenate([v, code], axis=1), train=False)
            self.estimators[i](v)

    def distributions(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
        """View-specific codes' mean and log variance, V times `[B, 2, v_dim]`."""
        return [e(images[:, i], train=train) for i, e in enumerate(self.encoders)]

    def decode(self, codes: list[jax.Array], *, train: bool) -> list[jax.Array]:
        """Images of V codes `[B, v_dim + c]`, view-specific part first."""
        return [d(z, train=train) for d, z in zip(self.decoders, codes, strict=True)]

    def estimate(self, codes: list[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
        """Mean and log variance of c given each of V codes `[B, v_dim]`."""
        return [e(v) for e, v in zip(self.estimators, codes, strict=True)]


@dataclasses.dataclass(frozen=True)
class Method(mrdd_consistency.Base):
    """Distilled disentangling; fields of stage 1 that shape the teacher must agree.

    `predict` gives `shared`, `private/<view>` and `recon/<view>` (from [v, c]).
    """

    v_dim: limits.Size = 10
    specific_hidden: limits.Size = 16
    specific_latent_channels: limits.Size = 8
    specific_ch_mult: limits.some(limits.Size) = (1, 2, 4)
    specific_num_res_blocks: limits.Layers = 3
    specific_kl_weight: limits.Weight = 0.5
    estimator_hidden: limits.Size = 100
    lam: limits.Weight = 1.0
    objective: limits.one_of(*OBJECTIVES) = "club"
    # The estimators get so many updates for each one of encoders and decoders ("club").
    estimator_steps: limits.Layers = 1
    # With "train" c is sampled and the teacher's statistics move.
    teacher_mode: limits.one_of("eval", "train") = "eval"
    # What `predict` gives as v; the released code samples it.
    specific_code: limits.one_of("mean", "sample") = "mean"

    def teacher(self) -> mrdd_consistency.Method:
        """Stage 1 as the teacher's fields describe it."""
        names = {f.name for f in dataclasses.fields(mrdd_consistency.Method)}
        shared = {k: v for k, v in vars(self).items() if k in names}
        return mrdd_consistency.Method(**shared)

    def net(self) -> Net:
        """The network that the fields describe."""
        fields = dict(
            hidden=self.specific_hidden,
            latent_channels=self.specific_latent_channels,
            ch_mult=tuple(self.specific_ch_mult),
            num_res_blocks=self.specific_num_res_blocks,
            norm=self.norm,
            dtype=jnp.dtype(self.dtype),
        )
        views = range(len(self.views))
        code_width = self.teacher().code_width
        return Net(
            teacher=self.teacher().net(),
            encoders=tuple(
                mrdd.SpecificEncoder(v_dim=self.v_dim, **fields) for _ in views
            ),
            decoders=tuple(
                mrdd.SpecificDecoder(
                    image_size=self.image_size, channels=self.channels, **fields
                )
                for _ in views
            ),
            estimators=tuple(
                mi_estimators.GaussianEstimator(code_width, self.estimator_hidden)
                for _ in views
            ),
        )

    def check(self, spec: Any) -> None:
        super().check(spec)
        levels = max(len(self.ch_mult), len(self.specific_ch_mult))
        mrdd_checks.check_images(self, spec, levels=levels)
        mrdd_checks.check_widths(self)
        if self.estimator_steps > 1 and self.objective != "club":
            raise errors.UserError(
                "config.method.estimator_steps > 1 needs config.method.objective=club: "
                f"{self.objective!r} trains the estimators jointly with the encoders."
            )

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        images = mrdd_consistency.stack_views(batch, self.views)
        code = jnp.zeros((images.shape[0], self.teacher().code_width))
        shapes = jax.eval_shape(
            lambda: self.net().init(jax.random.key(0), images, code)
        )
        return initializers.torch_default(rng, shapes)

    @property
    def updates(self) -> tuple[method.Update, ...]:
        if self.objective == "released":
            # Decoders get no gradient there, and no weight decay either.
            trained = ("encoders_*", "estimators_*")
            return (method.Update("main", self.loss, trained),)
        trained = ("encoders_*", "decoders_*", "estimators_*")
        if self.estimator_steps == 1:
            return (method.Update("main", self.loss, trained),)
        estimator = method.Update("estimator", self.estimator_loss, ("estimators_*",))
        rest = method.Update("main", self.encoder_loss, trained[:2])
        return (estimator,) * self.estimator_steps + (rest,)

    def noise(self, rng: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """Draws what a training step needs.

        Returns:
          `teacher`: noise of c; `specific` and `decoded`, `[V, B, v_dim]`: noise of the
          codes that the estimator and the decoder see (`club` uses the first for both);
          `permutation` `[V, B]`: negatives of CLUB.
        """
        views = len(self.views)
        teacher = self.teacher().noise(rng_lib.named(rng, "teacher"), batch_size)
        shape = (views, batch_size, self.v_dim)
        keys = jax.random.split(rng_lib.named(rng, "permutation"), views)
        return {
            "teacher": teacher["code"],
            "specific": jax.random.normal(rng_lib.named(rng, "specific"), shape),
            "decoded": jax.random.normal(rng_lib.named(rng, "decoded"), shape),
            "permutation": jax.vmap(lambda k: jax.random.permutation(k, batch_size))(
                keys
            ),
        }

    def loss_given(self, variables, batch, noise):
        code, stats = self._teacher_code(variables, batch, noise["teacher"])
        codes = self._encode(variables, batch, noise)
        stats |= codes.stats
        if self.objective == "released":
            nll = self._nll(variables, codes.specific, code)
            return self._finish({"nll": nll}, stats)
        recon, moved = self._reconstruct(variables, batch, codes.decoded, code)
        stats |= moved
        terms = {"recon": recon, "kl": codes.kl}
        if self.objective == "full":
            terms["nll"] = self._nll(variables, codes.specific, code)
            return self._finish(terms, stats)
        terms["club"] = self._club(
            variables, codes.specific, code, noise["permutation"]
        )
        detached = jax.lax.stop_gradient(codes.specific)
        terms["nll"] = self._nll(variables, detached, code)
        return self._finish(terms, stats)

    def encoder_loss(self, variables, batch, rng):
        """The part of `club` that encoders and decoders minimise."""
        noise = self.noise(rng, batch["index"].shape[0])
        code, stats = self._teacher_code(variables, batch, noise["teacher"])
        codes = self._encode(variables, batch, noise)
        recon, moved = self._reconstruct(variables, batch, codes.decoded, code)
        bound = self._club(variables, codes.specific, code, noise["permutation"])
        terms = {"recon": recon, "kl": codes.kl, "club": bound}
        return self._finish(terms, stats | codes.stats | moved)

    def estimator_loss(self, variables, batch, rng):
        """The estimators' part of `club`; statistics stay as they are."""
        noise = self.noise(rng, batch["index"].shape[0])
        code, _ = self._teacher_code(variables, batch, noise["teacher"])
        v = jax.lax.stop_gradient(self._encode(variables, batch, noise).specific)
        return self._finish({"nll": self._nll(variables, v, code)}, {})

    def _teacher_code(
        self, variables: Any, batch: Any, noise: jax.Array
    ) -> tuple[jax.Array, dict]:
        """Consistent code `[B, C]` without gradient, and statistics that moved."""
        teacher = self.teacher()
        images = mrdd_consistency.stack_views(batch, self.views)
        mine = {k: v["teacher"] for k, v in variables.items() if "teacher" in v}
        if self.teacher_mode == "eval":
            return jax.lax.stop_gradient(teacher.code(mine, images)), {}
        distribution, state = teacher.net().apply(
            mine, images, train=True, method="encode", mutable=["batch_stats"]
        )
        if self.categories:
            code = sampling.gumbel_softmax(distribution, noise, self.temperature)
        else:
            code = sampling.gaussian(distribution[:, 0], distribution[:, 1], noise)
        # The decoders of stage 1 do not run, so only what ran has moved.
        moved = mine.get("batch_stats", {}) | state.get("batch_stats", {})
        return jax.lax.stop_gradient(code), {"teacher": moved}

    def _apply(
        self, variables: Any, *args: Any, method: str, components: str
    ) -> tuple[Any, dict]:
        """Runs a part of the network in training mode; its statistics by component."""
        result, state = self.net().apply(
            variables, *args, train=True, method=method, mutable=["batch_stats"]
        )
        stats = state.get("batch_stats", {})  # Group norm has none.
        return result, {k: v for k, v in stats.items() if k.startswith(components)}

    def _encode(self, variables: Any, batch: Any, noise: Any) -> _Codes:
        images = mrdd_consistency.stack_views(batch, self.views)
        distributions, stats = self._apply(
            variables, images, method="distributions", components="encoders_"
        )
        mean, logvar = jnp.stack(distributions, axis=1).transpose(2, 1, 0, 3)
        kl = jnp.stack(
            [variational.gaussian_kl(m, s) for m, s in zip(mean, logvar, strict=True)]
        )
        specific = decoded = sampling.gaussian(mean, logvar, noise["specific"])
        if self.objective == "full":
            decoded = sampling.gaussian(mean, logvar, noise["decoded"])
        return _Codes(specific, decoded, self.specific_kl_weight * kl, stats)

    def _reconstruct(
        self, variables: Any, batch: Any, specific: jax.Array, code: jax.Array
    ) -> tuple[jax.Array, dict]:
        """Summed squared errors of the views drawn from [v, c], `[V]`; statistics."""
        codes = [jnp.concatenate([v, code], axis=1) for v in specific]
        recons, stats = self._apply(
            variables, codes, method="decode", components="decoders_"
        )
        sums = [
            jnp.sum(e) * batch.get("parts", 1)
            for e in mrdd_consistency.view_errors(batch, self.views, recons)
        ]
        return jnp.stack(sums), stats

    def _estimate(self, variables: Any, v: jax.Array) -> list:
        return self.net().apply(variables, list(v), method="estimate")

    def _nll(self, variables: Any, v: jax.Array, code: jax.Array) -> jax.Array:
        """`lam` times the estimators' negative log-likelihood, `[V]`."""
        return self.lam * jnp.stack(
            [-club.log_likelihood(*q, code) for q in self._estimate(variables, v)]
        )

    def _club(
        self, variables: Any, v: jax.Array, code: jax.Array, permutation: jax.Array
    ) -> jax.Array:
        """`lam` times the bounds on I(v; c) with the estimators held fixed, `[V]`."""
        fixed = {"params": jax.lax.stop_gradient(variables["params"])}
        estimates = self._estimate(fixed, v)
        return self.lam * jnp.stack(
            [
                club.sampled_upper_bound(*q, code, p)
                for q, p in zip(estimates, permutation, strict=True)
            ]
        )

    def _finish(
        self, terms: dict[str, jax.Array], stats: dict
    ) -> tuple[jax.Array, method.Aux]:
        """Sums the terms `[V]` and names them for the log."""
        metrics = {k: jnp.sum(v) for k, v in terms.items()}
        for i, name in enumerate(self.views):
            parts = {f"{k}/{name}": v[i] for k, v in terms.items()}
            metrics |= parts | {f"total/{name}": sum(parts.values())}
        state = {"batch_stats": stats} if stats else {}
        return sum(jnp.sum(t) for t in terms.values()), method.Aux(metrics, state)

    def predict(self, variables, batch):
        images = mrdd_consistency.stack_views(batch, self.views)
        mine = {k: v["teacher"] for k, v in variables.items() if "teacher" in v}
        shared = self.teacher().code(mine, images)
        net = self.net()
        distributions = net.apply(
            variables, images, train=False, method="distributions"
        )
        codes = [
            self._specific_code(i, d, batch["index"])
            for i, d in enumerate(distributions)
        ]
        result = {"shared": shared}
        result |= {f"private/{n}": v for n, v in zip(self.views, codes, strict=True)}
        return result | self.generate(variables, codes, shared)

    def _specific_code(
        self, view: int, distribution: jax.Array, index: jax.Array
    ) -> jax.Array:
        mean, logvar = distribution[:, 0], distribution[:, 1]
        if self.specific_code == "mean":
            return mean
        # The sample's index is the key, so that the code does not change between calls.
        root = jax.random.fold_in(jax.random.key(0), view)
        keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(index)
        noise = jax.vmap(lambda k: jax.random.normal(k, (self.v_dim,)))(keys)
        return sampling.gaussian(mean, logvar, noise)

    def generate(
        self, variables: method.Variables, specific: list[jax.Array], code: jax.Array
    ) -> dict[str, jax.Array]:
        """Images `recon/<view>` of V view-specific codes and one consistent code."""
        codes = [jnp.concatenate([v, code], axis=1) for v in specific]
        recons = self.net().apply(variables, codes, train=False, method="decode")
        return {f"recon/{n}": r for n, r in zip(self.views, recons, strict=True)}

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        teacher = sum(self.teacher().weight_fields().values(), ())
        return {
            "teacher": tuple(dict.fromkeys(teacher)),
            "encoders_*": ("norm",),
            "decoders_*": ("norm", "c_dim", "categories"),
            "estimators_*": ("c_dim", "categories"),
        }

    def torch_tables(self) -> dict[str, list[torch_map.Leaf]]:
        net = self.net()
        teacher = mrdd.consistency_leaves(net.teacher)
        full = torch_map.nest(teacher, flax="teacher", torch="consis_enc")
        for i in range(len(self.views)):
            encoder = mrdd.specific_encoder_leaves(net.encoders[i], self.image_size)
            decoder = mrdd.specific_decoder_leaves(net.decoders[i])
            estimator = mi_estimators.gaussian_leaves()
            full += torch_map.nest(encoder, flax=f"encoders_{i}", torch=f"venc_{i + 1}")
            full += torch_map.nest(decoder, flax=f"decoders_{i}", torch=f"venc_{i + 1}")
            full += torch_map.nest(
                estimator, flax=f"estimators_{i}", torch=f"mi_est_{i + 1}"
            )
        return {"mrdd": full, "consistency": torch_map.nest(teacher, flax="teacher")}
