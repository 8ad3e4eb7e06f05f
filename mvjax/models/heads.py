"""Heads of tasks: what stands behind a backbone to tell classes."""

from collections.abc import Sequence
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import conv
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.ops import images
from mvjax.ops import interpolation

# Of the layers that give the scores: as in the linear probes of DeCUR.
RULES = {
    "*/scores*/kernel": initializers.probe_normal,
    "*/scores*/bias": initializers.zeros,
}


class Classifier(nn.Module):
    """A linear layer, or an MLP with ReLU; the scores are float32."""

    hidden: tuple[int, ...]  # Widths before the scores.
    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """Maps features `[B, D]` to scores `[B, K]`."""
        for i, width in enumerate(self.hidden):
            h = nn.relu(linear.Linear(width, dtype=self.dtype, name=f"linear{i}")(h))
        scores = linear.Linear(self.classes, dtype=self.dtype, name="scores")(h)
        return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))


def classifier_leaves(hidden: Sequence[int]) -> list[torch_map.Leaf]:
    """Table of a `torch.nn.Linear`, or of a `Sequential` of them with ReLU between."""
    if not hidden:
        return torch_map.linear("scores", "")
    leaves = []
    for i in range(len(hidden)):
        leaves += torch_map.linear(f"linear{i}", f"{2 * i}")
    return leaves + torch_map.linear("scores", f"{2 * len(hidden)}")


class FCN(nn.Module):
    """Fully convolutional scores: those of several stages, enlarged and summed.

    Long, Shelhamer and Darrell, 2015 (arXiv 1411.4038), with bilinear enlargement in
    place of learned one. Where DeCUR's head enlarges between its two layers, this one does
    behind them: layers of single pixels and enlarging may change places, and there are a
    dozen classes for hundreds of channels.
    """

    levels: int  # How many of the coarsest maps are read.
    classes: int
    widths: tuple[int, ...] = ()  # Of a layer before the scores of each level, if any.
    align_corners: bool = False  # Whether enlarging keeps corners, not areas.
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], size: tuple[int, int]) -> jax.Array:
        """Maps features `[B, h, w, C]` by stage to scores `[B, *size, K]`, float32."""
        enlarge = interpolation.resize if self.align_corners else images.resize_bilinear
        total = jnp.zeros(())
        for i, features in enumerate(maps[-self.levels :]):
            if self.widths:
                features = self._layer(self.widths[i], f"inner{i}")(features)
            scores = self._layer(self.classes, f"scores{i}")(features)
            wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
            total = total + enlarge(wide, tuple(size))
        return total

    def _layer(self, width: int, name: str) -> conv.Conv2D:
        """A linear layer of each pixel."""
        return conv.Conv2D(
            width,
            kernel_size=(1, 1),
            padding=((0, 0), (0, 0)),
            dtype=self.dtype,
            name=name,
        )


def fcn_leaves(levels: int, widths: Sequence[int] = ()) -> list[torch_map.Leaf]:
    """Table of the convolutions `scores0`, `scores1`, ... from fine to coarse.

    With `widths` it is that of DeCUR's `uc0`, `cls0`, ....
    """
    leaves = []
    for i in range(levels):
        if widths:
            leaves += torch_map.conv2d(f"inner{i}", f"uc{i}")
        leaves += torch_map.conv2d(f"scores{i}", f"cls{i}" if widths else f"scores{i}")
    return leaves
