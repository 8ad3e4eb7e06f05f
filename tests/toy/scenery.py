"""Several views of a scene agree; from them come its tags and a mask of its squares."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.ops import images as image_ops


class Net(nn.Module):
    """Components: `tower`, `tags`, `mask`."""

    width: int
    tag_count: int

    def setup(self):
        self.tower = nn.Conv(self.width, (3, 3))
        self.tags = nn.Dense(self.tag_count)
        self.mask = nn.Dense(self.tag_count + 1)

    def __call__(self, rgb):
        maps = nn.relu(self.tower(image_ops.to_float(rgb)))  # [N, H, W, D]
        pooled = jnp.max(maps, axis=(1, 2))
        return pooled, self.tags(pooled), self.mask(maps)


@dataclasses.dataclass(frozen=True)
class Method(method.Method):
    """Takes `rgb` of one draw or of several, `[B, H, W, 3]` or `[B, K, H, W, 3]`."""

    width: limits.Size = 8
    tag_count: limits.Size = 3
    beside: bool = False  # Whether tags are learned from a stream of their own.

    @property
    def net(self):
        return Net(self.width, self.tag_count)

    def check(self, spec):
        super().check(spec)
        if spec.views["rgb"].shape[-1] != 3:
            raise errors.UserError("scenery wants three channels.")
        if spec.targets["tags"].shape != (self.tag_count,):
            raise errors.UserError(f"scenery wants {self.tag_count} tags.")

    def init(self, rng, batch):
        return self.net.init(rng, batch["views"]["rgb"])

    def loss(self, variables, batch, rng):
        del rng
        rgb, mask = batch["views"]["rgb"], batch["targets"]["mask"]
        rows, draws = rgb.shape[:2]
        pooled, logits, maps = self.net.apply(
            variables, rgb.reshape(-1, *rgb.shape[2:])
        )
        pooled = pooled.reshape(rows, draws, -1)
        agreement = jnp.mean(jnp.var(pooled, axis=1))
        tags = jnp.repeat(batch["targets"]["tags"], draws, axis=0)
        if self.beside:
            found = batch["beside"]["probe"]
            _, logits, _ = self.net.apply(variables, found["views"]["rgb"])
            tags = found["targets"]["tags"]
        tagging = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, tags))
        mask = mask.reshape(-1, *mask.shape[2:])
        known = mask != 255
        errors_ = optax.softmax_cross_entropy_with_integer_labels(
            maps, jnp.where(known, mask, 0).astype(jnp.int32)
        )
        painting = jnp.sum(errors_ * known) / jnp.maximum(jnp.sum(known), 1)
        metrics = {"agreement": agreement, "tagging": tagging, "painting": painting}
        metrics["brightness"] = jnp.mean(image_ops.to_float(rgb))
        return agreement + tagging + painting, method.Aux(metrics, {})

    def predict(self, variables, batch):
        pooled, logits, _ = self.net.apply(variables, batch["views"]["rgb"])
        return {"shared": pooled, "logits": jax.nn.sigmoid(logits)}
