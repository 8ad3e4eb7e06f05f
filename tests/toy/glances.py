"""A backbone from outside mvjax: two convolutions, the second of half the size."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import errors
from mvjax.core import limits
from mvjax.models.layers import initializers


class Net(nn.Module):
    """Layers: `near`, `far`."""

    width: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        del train  # Nothing is normalised or dropped.
        options = dict(padding=((1, 1), (1, 1)), dtype=self.dtype)
        near = nn.relu(nn.Conv(self.width, (3, 3), name="near", **options)(x))
        far = nn.Conv(self.width, (3, 3), strides=(2, 2), name="far", **options)
        coarse = nn.relu(far(near))
        tokens = coarse.reshape(len(x), -1, self.width)
        pooled = jnp.max(tokens, axis=1).astype(jnp.float32)
        return backbone.Features(pooled, (near, coarse), tokens)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """Maps of the image's size and of half of it; the tokens are the coarse one's."""

    width: limits.Size = 8

    def net(
        self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1
    ) -> nn.Module:
        del channels, groups  # Flax finds out, and there are no norms.
        return Net(self.width, dtype)

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        del channels
        leaves = torch_map.conv2d("near", "near") + torch_map.conv2d("far", "far.conv")
        return {"glances": torch_table.Table(leaves, ("fc.*",), inside="weights")}

    def check(self, channels: int, size: tuple[int, int]) -> None:
        del channels
        if min(size) < 4:
            raise errors.UserError(f"glances need images of 4 pixels, not {size}.")

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        del channels
        return {"params/far/bias": initializers.zeros}
