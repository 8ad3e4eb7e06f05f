"""A tiny backbone that can be run by stages, without attention or norms."""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.models.layers import conv

WIDTHS = (4, 6)


class Net(nn.Module):
    """Two convolutions of stride 2; what leaves a stage is twice the map."""

    heads: tuple[int, ...] = (1, 2)

    def setup(self) -> None:
        self.convs = [
            conv.Conv2D(width, strides=(2, 2), name=f"conv{i}")
            for i, width in enumerate(WIDTHS)
        ]

    def stage(self, x: jax.Array, i: int, *, train: bool) -> jax.Array:
        """Stage i of `core/backbone.Staged`."""
        del train
        return nn.tanh(self.convs[i](x))

    def leave(self, x: jax.Array, i: int) -> jax.Array:
        """A map that differs from what goes on."""
        del i
        return 2 * x

    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        """Maps images `[B, H, W, C]` to features."""
        maps = []
        for i in range(len(WIDTHS)):
            x = self.stage(x, i, train=train)
            maps.append(self.leave(x, i))
        return backbone.Features(jnp.mean(maps[-1], axis=(1, 2)), tuple(maps))


@dataclasses.dataclass(frozen=True)
class Backbone:
    """See `Net`."""

    width: int = WIDTHS[-1]

    def net(self, channels: int, *, dtype: Any, groups: int = 1) -> Net:
        """The network."""
        del channels, dtype, groups  # There is nothing to choose.
        return Net()

    def torch_tables(self, channels: int) -> dict[str, Any]:
        """A file of one."""
        return {"toy": torch_table.Table(self._leaves(""))}

    def pair_tables(self, channels: int) -> tuple[torch_table.Table, ...]:
        """Files of two."""
        del channels
        return tuple(torch_table.Table(self._leaves(x)) for x in ("", "_x"))

    def _leaves(self, ending: str) -> list[torch_map.Leaf]:
        leaves = []
        for i in range(len(WIDTHS)):
            leaves += torch_map.conv2d(f"conv{i}", f"conv{ending}.{i}")
        return leaves

    def initial(self, channels: int) -> dict[str, Any]:
        """Nothing but the defaults."""
        return {}

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Reads everything."""
