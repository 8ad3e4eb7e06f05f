"""Several views of a scene agree; from them come its tags and a mask of its squares."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone as core_backbone
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.models import transfer
from mvjax.ops import images as image_ops
from toy import glances


@dataclasses.dataclass(frozen=True)
class Method(method.Method):
    """Takes `rgb` of one draw or of several, `[B, H, W, 3]` or `[B, K, H, W, 3]`.

    Components: `tower`, `tags`, `mask`.
    """

    backbone: core_backbone.Backbone = glances.Backbone()
    tag_count: limits.Size = 3
    beside: bool = False  # Whether tags are learned from a stream of their own.

    @property
    def tower(self) -> transfer.Tower:
        return transfer.Tower(self.backbone)

    @property
    def heads(self) -> dict[str, nn.Module]:
        return {"tags": nn.Dense(self.tag_count), "mask": nn.Dense(self.tag_count + 1)}

    def check(self, spec):
        super().check(spec)
        if spec.views["rgb"].shape[-1] != 3:
            raise errors.UserError("scenery wants three channels.")
        if spec.targets["tags"].shape != (self.tag_count,):
            raise errors.UserError(f"scenery wants {self.tag_count} tags.")
        self.backbone.check(3, spec.views["rgb"].shape[-3:-1])

    def init(self, rng, batch):
        parts = {"tower": self.tower.init(rng, batch["views"]["rgb"])}
        h = jnp.zeros((1, self.backbone.width))
        for name, head in self.heads.items():
            parts[name] = transfer.init_head(rng_lib.named(rng, name), head, h)
        return transfer.components(**parts)

    def look(self, variables, rgb):
        """What the tower gives for images `[N, H, W, 3]`, and the logits of their tags."""
        tower = transfer.component(variables, "tower")
        features, _ = self.tower.features(tower, rgb, train=False)
        return features, self.score(variables, "tags", features.pooled)

    def score(self, variables, name, h):
        """Logits of a head."""
        return self.heads[name].apply(transfer.component(variables, name), h)

    def loss(self, variables, batch, rng):
        del rng
        rgb, mask = batch["views"]["rgb"], batch["targets"]["mask"]
        rows, draws = rgb.shape[:2]
        features, logits = self.look(variables, rgb.reshape(-1, *rgb.shape[2:]))
        maps = self.score(variables, "mask", features.maps[0])
        pooled = features.pooled.reshape(rows, draws, -1)
        agreement = jnp.mean(jnp.var(pooled, axis=1))
        tags = jnp.repeat(batch["targets"]["tags"], draws, axis=0)
        if self.beside:
            found = batch["beside"]["probe"]
            _, logits = self.look(variables, found["views"]["rgb"])
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
        features, logits = self.look(variables, batch["views"]["rgb"])
        return {
            "shared": features.pooled,
            "features/rgb": jnp.mean(features.tokens, axis=1),
            "logits": jax.nn.sigmoid(logits),
        }

    def torch_tables(self):
        """A file `{encoder, probe}`, and that of the backbone alone."""
        towers = self.backbone.torch_tables(3)
        probe = torch_map.linear("tags", "tags") + torch_map.pointwise("mask", "mask")
        whole = torch_table.join(
            towers["glances"].nest(flax="tower", part="encoder"),
            torch_table.Table(probe).nest(part="probe"),
        )
        return {"scenery": whole, "glances": towers["glances"].nest(flax="tower")}
