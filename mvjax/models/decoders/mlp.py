"""The decoder of SegFormer and CMX: all maps through linear layers, side by side, mixed.

Xie et al., 2021 (arXiv 2105.15203), with the bias that CMX's released code adds to the
layer that mixes. A linear layer of each map, enlarging it and the mixing layer follow one
another without anything between. So they may change places, and two layers are one whose
kernel is the product of theirs: a tenth of the operations.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import backbone
from mvjax.core import limits
from mvjax.models.layers import conv_norm
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.models.layers import scores
from mvjax.ops import images


class Affine(nn.Module):
    """Kernel `[in, features]` and bias `[features]` of a linear layer, as they are."""

    features: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """The two, for inputs of so many channels."""
        init = initializers.torch_uniform(channels)
        kernel = self.param("kernel", init, (channels, self.features))
        return kernel, self.param("bias", init, (self.features,))


class Net(nn.Module):
    """Components `level0` (of the finest map), ..., `mix`, `norm` and `scores`."""

    classes: int
    width: int
    dropout: float
    eval_epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps `[B, h, w, C]` from fine to coarse to scores `[B, *size, K]`, float32."""
        mixing, shift = Affine(self.width, name="mix")(len(maps) * self.width)
        # The released code puts the coarsest map first.
        pieces = jnp.split(mixing, len(maps))[::-1]
        total = jnp.zeros((), self.dtype)
        for i, (x, piece) in enumerate(zip(maps, pieces)):
            kernel, bias = Affine(self.width, name=f"level{i}")(x.shape[-1])
            y = linear.product(
                x.astype(self.dtype), (kernel @ piece).astype(self.dtype)
            )
            total = total + images.resize_bilinear(y, maps[0].shape[1:3])
            shift = shift + bias @ piece
        x = norm.BatchNorm(
            conv_norm.EPSILON,
            eval_epsilon=self.eval_epsilon,
            activation=nn.relu,
            dtype=self.dtype,
            name="norm",
        )(total + shift.astype(self.dtype), train=train)
        seed = dropout.seed(self, train=train, rate=self.dropout)
        x = dropout.Dropout(self.dropout, channels=True, name="dropout")(x, seed)
        return scores.enlarged(x, self.classes, size, self.dtype)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Linear layers of all maps, mixed at the size of the finest.

    Attributes:
      width: Of all layers.
      dropout: Share of the channels that a sample loses before the scores.
      eval_epsilon: Of the batch norm in evaluation, 1e-5 in CMX's published one.
    """

    width: limits.Size = 512
    dropout: limits.Rate = 0.1
    eval_epsilon: limits.Positive = 1e-3

    def net(self, classes: int, *, dtype: Any = jnp.float32) -> Net:
        """The network, see `core/decoder.py`."""
        fields = dataclasses.asdict(self)
        return Net(classes, **fields, dtype=dtype)

    def check(self, maps: int) -> None:
        """Nothing to check: any number of maps will do."""

    def torch_leaves(self, maps: int) -> list[torch_map.Leaf]:
        """Table of CMX's `DecoderHead`."""
        leaves = []
        for i in range(maps):
            leaves += torch_map.linear(f"level{i}", f"linear_c{i + 1}.proj")
        return [
            *leaves,
            *torch_map.pointwise("mix", "linear_fuse.0"),
            *torch_map.batch_norm("norm", "linear_fuse.1"),
            *torch_map.conv2d("scores", "linear_pred"),
        ]

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: those of CMX for convolutions."""
        return {
            "*/mix/kernel": initializers.kaiming_normal,
            "*/scores/kernel": initializers.kaiming_normal,
        }
