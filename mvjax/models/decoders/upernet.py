"""UPerNet (Xiao et al., 2018, arXiv 1807.10221): a pyramid of pools, then one of maps.

As in the released code of CMX: all convolutions before batch norms have biases, and nothing
is dropped.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import backbone
from mvjax.core import limits
from mvjax.models.layers import conv_norm
from mvjax.models.layers import initializers
from mvjax.models.layers import pooling
from mvjax.models.layers import scores
from mvjax.ops import images


class Net(nn.Module):
    """Sees the coarsest map at several scales, and adds it to each finer one in turn."""

    classes: int
    width: int
    bins: tuple[int, ...]
    eval_epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps `[B, h, w, C]`, fine to coarse, to scores `[B, *size, K]`, float32."""
        *fine, last = maps

        def block(side: int, name: str):
            layer = conv_norm.ConvNorm(
                self.width,
                side,
                eval_epsilon=self.eval_epsilon,
                dtype=self.dtype,
                name=name,
            )
            return functools.partial(layer, train=train)

        pools = [
            block(1, f"pool{i}")(pooling.adaptive_mean(last, (side, side)))
            for i, side in enumerate(self.bins)
        ]
        pools = [images.resize_bilinear(x, last.shape[1:3]) for x in pools]
        top = block(3, "bottleneck")(jnp.concatenate([last, *pools], axis=-1))
        levels = [block(1, f"lateral{i}")(x) for i, x in enumerate(fine)] + [top]
        for i in reversed(range(len(fine))):
            levels[i] += images.resize_bilinear(levels[i + 1], levels[i].shape[1:3])
        levels = [block(3, f"fpn{i}")(x) for i, x in enumerate(levels[:-1])] + [top]
        levels = [images.resize_bilinear(x, maps[0].shape[1:3]) for x in levels]
        x = block(3, "fuse")(jnp.concatenate(levels, axis=-1))
        return scores.enlarged(x, self.classes, size, self.dtype)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """UPerNet.

    Attributes:
      width: Channels of all layers before the scores.
      bins: Sides of what the coarsest map is averaged to.
      eval_epsilon: Of the batch norms in evaluation, 1e-5 in CMX's published one.
    """

    width: limits.Size = 512
    bins: limits.some(limits.Pixels) = (1, 2, 3, 6)
    eval_epsilon: limits.Positive = 1e-3

    def net(self, classes: int, *, dtype: Any = jnp.float32) -> Net:
        """The network, see `core/decoder.py`."""
        return Net(classes, self.width, self.bins, self.eval_epsilon, dtype)

    def torch_leaves(self, maps: int) -> list[torch_map.Leaf]:
        """Table of CMX's `UPerHead`."""
        names = {f"pool{i}": (f"psp_modules.{i}", 1) for i in range(len(self.bins))}
        names["bottleneck"] = ("bottleneck", 0)
        for i in range(maps - 1):
            names[f"lateral{i}"] = (f"lateral_convs.{i}", 0)
            names[f"fpn{i}"] = (f"fpn_convs.{i}", 0)
        names["fuse"] = ("fpn_bottleneck", 0)
        leaves = []
        for flax, (torch, first) in names.items():
            torch = (f"{torch}.{first}", f"{torch}.{first + 1}")
            leaves += conv_norm.torch_leaves(flax, *torch)
        return leaves + torch_map.conv2d("scores", "conv_seg")

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: normal kernels by fan-in, PyTorch's biases."""
        return {"*/kernel": initializers.kaiming_normal}

    def check(self, maps: int) -> None:
        """Reads any number of maps."""
