"""MRDD, stage 1: a view-consistent code by masked cross-view prediction.

Ke et al., "Rethinking Multi-view Representation Learning via Distilled Disentangling",
CVPR 2024, section 3.2. One encoder reads masked images of all views; the joint code must
redraw every unmasked view. The loss is `alpha * sum of squared errors + KL`.

As released: alpha is 0.5 (its config field is ignored there), errors are summed over the
batch, so the loss grows with it; the discrete code's KL has no weight. Other than
released: the discrete code works for more than one view, masking never changes the
target, and sums run over the global batch of all devices.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.losses import variational
from mvjax.methods.checks import mrdd as mrdd_checks
from mvjax.models import mrdd
from mvjax.models.layers import initializers
from mvjax.ops import images as image_ops
from mvjax.ops import masking
from mvjax.ops import sampling


def stack_views(batch: method.Batch, views: tuple[str, ...]) -> jax.Array:
    """Views as one float array `[B, V, S, S, C]`; absent ones are black."""
    present = batch.get("present", {})
    arrays = []
    for name in views:
        x = image_ops.to_float(batch["views"][name])
        if name in present:
            x = x * present[name].astype(x.dtype)[:, None, None, None]
        arrays.append(x)
    return jnp.stack(arrays, axis=1)


def view_errors(
    batch: method.Batch, views: tuple[str, ...], recons: list[jax.Array]
) -> list[jax.Array]:
    """Summed squared error of each sample and view, V times `[B]`; absent views cost 0."""
    present = batch.get("present", {})
    result = []
    for name, recon in zip(views, recons, strict=True):
        target = image_ops.to_float(batch["views"][name])
        error = variational.squared_errors(target, recon)
        result.append(error * present[name] if name in present else error)
    return result


@dataclasses.dataclass(frozen=True)
class Base(method.Method):
    """What shapes the network of stage 1, and with it the teacher of stage 2."""

    views: limits.Names = ("image", "edge")
    image_size: limits.Size = 32
    channels: limits.Size = 1
    hidden: limits.Size = 16
    c_dim: limits.Size = 10
    latent_channels: limits.Size = 8
    ch_mult: limits.some(limits.Size) = (1, 2, 4)
    num_res_blocks: limits.Layers = 3
    norm: limits.one_of("batch", "group") = "batch"
    # 0: the code is Gaussian; K: it has c_dim discrete variables of K categories.
    categories: limits.Classes = 0
    temperature: limits.Positive = 0.5  # Temperature of the discrete code at the start.
    dtype: limits.Dtype = "float32"

    def loss(self, variables, batch, rng):
        noise = self.noise(rng, batch["index"].shape[0])
        return self.loss_given(variables, batch, noise)

    def noise(self, rng: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """Draws the random numbers of a training step."""
        raise NotImplementedError

    def loss_given(
        self,
        variables: method.Variables,
        batch: method.Batch,
        noise: dict[str, jax.Array],
    ) -> tuple[jax.Array, method.Aux]:
        """Returns `loss` for the random numbers of `noise`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Method(Base):
    """Masked cross-view prediction; `predict` gives `shared` and `recon/<view>`."""

    kl_weight: limits.Weight = 1.0
    alpha: limits.Weight = 0.5  # Weight of the reconstruction.
    # "mean_pixels" is the mean over batch and pixels, "sum" their sum.
    reconstruction: limits.one_of("sum", "mean_pixels") = "sum"
    mask_ratio: limits.Share = 0.7
    mask_patch: limits.Size = 2

    def net(self) -> mrdd.ConsistencyNet:
        """The network that the fields describe."""
        return mrdd.ConsistencyNet(
            views=len(self.views),
            image_size=self.image_size,
            channels=self.channels,
            hidden=self.hidden,
            c_dim=self.c_dim,
            latent_channels=self.latent_channels,
            ch_mult=tuple(self.ch_mult),
            num_res_blocks=self.num_res_blocks,
            categories=self.categories,
            norm=self.norm,
            dtype=jnp.dtype(self.dtype),
        )

    @property
    def code_width(self) -> int:
        """Width of the consistent code."""
        return self.c_dim * max(self.categories, 1)

    def check(self, spec: Any) -> None:
        super().check(spec)
        mrdd_checks.check_images(self, spec, levels=len(self.ch_mult))
        if self.image_size % self.mask_patch:
            raise errors.UserError(
                f"config.method.mask_patch {self.mask_patch} does not divide the image "
                f"size {self.image_size}."
            )
        mrdd_checks.check_widths(self)

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        images = stack_views(batch, self.views)
        shapes = jax.eval_shape(
            lambda: self.net().init(jax.random.key(0), images, train=False)
        )
        variables = initializers.torch_default(rng, shapes)
        if self.categories:
            temperature = jnp.float32(self.temperature)
            variables["annealing"] = {"code": {"temperature": temperature}}
        return variables

    def noise(self, rng: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """Draws what a training step needs: patch order `mask` and code noise `code`."""
        patches = (self.image_size // self.mask_patch) ** 2
        shape = (batch_size, len(self.views), patches)
        code_key = rng_lib.named(rng, "code")
        if self.categories:
            code_shape = (batch_size, self.c_dim, self.categories)
            code = jax.random.uniform(code_key, code_shape)
        else:
            code = jax.random.normal(code_key, (batch_size, self.c_dim))
        return {
            "mask": jax.random.uniform(rng_lib.named(rng, "mask"), shape),
            "code": code,
        }

    def mask(self, images: jax.Array, uniform: jax.Array) -> jax.Array:
        """Masks `[B, V, S, S, C]` with one patch order for each view `[B, V, N]`."""
        flat = images.reshape(-1, *images.shape[2:])
        masked = masking.mask_patches(
            flat,
            uniform.reshape(flat.shape[0], -1),
            patch=self.mask_patch,
            ratio=self.mask_ratio,
        )
        return masked.reshape(images.shape)

    def loss_given(self, variables, batch, noise):
        net = self.net()
        images = stack_views(batch, self.views)
        masked = self.mask(images, noise["mask"])
        distribution, state = net.apply(
            variables, masked, train=True, method="encode", mutable=["batch_stats"]
        )
        kl, code, annealing = self._code(variables, batch, distribution, noise["code"])
        recons, state = net.apply(
            {"params": variables["params"], **state},
            code,
            train=True,
            method="decode",
            mutable=["batch_stats"],
        )
        errors_ = view_errors(batch, self.views, recons)
        sums = [jnp.sum(e) * batch.get("parts", 1) for e in errors_]
        scale = 1.0
        if self.reconstruction == "mean_pixels":
            scale = 1.0 / (batch.get("parts", 1) * images[:, 0].size)
        loss = self.alpha * scale * sum(sums) + kl
        metrics = {f"recon/{n}": s for n, s in zip(self.views, sums, strict=True)}
        metrics |= {"recon": sum(sums), "kl": kl}
        return loss, method.Aux(metrics, {**state, **annealing})

    def _code(
        self, variables: Any, batch: Any, distribution: jax.Array, noise: jax.Array
    ) -> tuple[jax.Array, jax.Array, dict]:
        """KL term, sampled code `[B, D]` and the new temperature's collection."""
        if not self.categories:
            mean, logvar = distribution[:, 0], distribution[:, 1]
            kl = self.kl_weight * variational.gaussian_kl(mean, logvar)
            return kl, sampling.gaussian(mean, logvar, noise), {}
        old = variables["annealing"]["code"]["temperature"]
        temperature = sampling.anneal_temperature(old, batch["epoch"])
        code = sampling.gumbel_softmax(distribution, noise, temperature)
        annealing = {"annealing": {"code": {"temperature": temperature}}}
        return variational.categorical_kl(distribution), code, annealing

    def code(self, variables: method.Variables, images: jax.Array) -> jax.Array:
        """Code of unmasked images `[B, V, S, S, C]` in evaluation mode, `[B, D]`.

        The mean of the Gaussian code; the class probabilities of the discrete one (the
        released code has no such branch).
        """
        distribution = self.net().apply(variables, images, train=False, method="encode")
        if self.categories:
            return jax.nn.softmax(distribution).reshape(distribution.shape[0], -1)
        return distribution[:, 0]

    def decode(
        self, variables: method.Variables, code: jax.Array
    ) -> dict[str, jax.Array]:
        """Images `recon/<view>` `[B, S, S, C]` of codes `[B, D]`, evaluation mode."""
        recons = self.net().apply(variables, code, train=False, method="decode")
        return {f"recon/{n}": r for n, r in zip(self.views, recons, strict=True)}

    def predict(self, variables, batch):
        code = self.code(variables, stack_views(batch, self.views))
        return {"shared": code, **self.decode(variables, code)}

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return {
            "encoder": ("norm",),
            "decoders_*": ("norm",),
            "fc_z": ("views", "c_dim", "categories"),
            "to_decoder_input": ("c_dim", "categories"),
        }

    def torch_tables(self) -> dict[str, list[torch_map.Leaf]]:
        return {"consistency": mrdd.consistency_leaves(self.net())}
