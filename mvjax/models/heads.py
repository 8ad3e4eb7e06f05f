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
    place of learned one.
    """

    levels: int  # How many of the coarsest maps are read.
    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], size: tuple[int, int]) -> jax.Array:
        """Maps features `[B, h, w, C]` by stage to scores `[B, *size, K]`, float32."""
        total = jnp.zeros(())
        for i, features in enumerate(maps[-self.levels :]):
            scores = conv.Conv2D(
                self.classes,
                kernel_size=(1, 1),
                padding=((0, 0), (0, 0)),
                dtype=self.dtype,
                name=f"scores{i}",
            )(features)
            wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
            total = total + images.resize_bilinear(wide, size)
        return total


def fcn_leaves(levels: int) -> list[torch_map.Leaf]:
    """Table of the convolutions `scores0`, `scores1`, ... from fine to coarse."""
    return [
        leaf
        for i in range(levels)
        for leaf in torch_map.conv2d(f"scores{i}", f"scores{i}")
    ]
