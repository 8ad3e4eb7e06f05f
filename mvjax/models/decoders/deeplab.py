"""DeepLabV3+ (Chen et al., 2018, arXiv 1802.02611): dilated views of the coarsest map.

As in the released code of CMX: one convolution behind the finest map, which is 3x3, and one
behind both maps. Enlarging the coarsest one keeps corners, enlarging the scores areas.
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
from mvjax.core import errors
from mvjax.core import limits
from mvjax.models.layers import conv_norm
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import pooling
from mvjax.models.layers import scores
from mvjax.ops import interpolation


class Net(nn.Module):
    """Reads the finest and the coarsest map."""

    classes: int
    width: int
    low_width: int
    rates: tuple[int, ...]
    pyramid_dropout: float
    dropout: float
    eval_epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps `[B, h, w, C]`, fine to coarse, to scores `[B, *size, K]`, float32."""
        fine, last = maps[0], maps[-1]
        seed = dropout.seed(
            self, train=train, rate=max(self.pyramid_dropout, self.dropout)
        )

        def block(width: int, side: int, name: str, **settings: Any):
            settings |= dict(eval_epsilon=self.eval_epsilon, dtype=self.dtype)
            layer = conv_norm.ConvNorm(width, side, name=name, **settings)
            return functools.partial(layer, train=train)

        views = [block(self.width, 1, "point", use_bias=False)(last)]
        for i, rate in enumerate(self.rates):
            settings = dict(dilation=rate, use_bias=False)
            views.append(block(self.width, 3, f"dilated{i}", **settings)(last))
        whole = pooling.global_mean(last)[:, None, None].astype(last.dtype)
        whole = block(self.width, 1, "whole", use_bias=False)(whole)
        views.append(jnp.broadcast_to(whole, views[0].shape))
        x = jnp.concatenate(views, axis=-1)
        x = block(self.width, 1, "project", use_bias=False)(x)
        x = dropout.Dropout(self.pyramid_dropout, name="drop_pyramid")(x, seed)
        x = interpolation.resize(x, fine.shape[1:3])
        low = block(self.low_width, 3, "low")(fine)
        x = block(self.width, 3, "fuse")(jnp.concatenate([x, low], axis=-1))
        x = dropout.Dropout(self.dropout, name="drop")(x, seed)
        return scores.enlarged(x, self.classes, size, self.dtype)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """DeepLabV3+.

    Attributes:
      width: Channels of all layers but that of the finest map.
      low_width: Channels of that layer.
      rates: Dilations of the 3x3 convolutions of the coarsest map.
      pyramid_dropout: Rate of what is dropped before the maps meet.
      dropout: Rate of what is dropped before the scores.
      eval_epsilon: Of the batch norms in evaluation, 1e-5 in CMX's published one.
    """

    width: limits.Size = 256
    low_width: limits.Size = 48
    rates: limits.some(limits.Pixels) = (12, 24, 36)
    pyramid_dropout: limits.Rate = 0.5
    dropout: limits.Rate = 0.1
    eval_epsilon: limits.Positive = 1e-3

    def net(self, classes: int, *, dtype: Any = jnp.float32) -> Net:
        """The network, see `core/decoder.py`."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Net(classes, dtype=dtype, **fields)

    def torch_leaves(self, maps: int) -> list[torch_map.Leaf]:
        """Table of CMX's `DeepLabV3Plus`, or of one with other numbers of rates."""
        del maps
        count = len(self.rates)
        pooled = f"aspp.b{count + 1}.gap"
        names = {"point": ("aspp.b0.0", "aspp.b0.1")}
        for i in range(count):
            torch = f"aspp.b{i + 1}.block"
            names[f"dilated{i}"] = (f"{torch}.0", f"{torch}.1")
        names["whole"] = (f"{pooled}.1", f"{pooled}.2")
        names["project"] = ("aspp.project.0", "aspp.project.1")
        leaves = []
        for flax, torch in names.items():
            leaves += conv_norm.torch_leaves(flax, *torch, bias=False)
        leaves += conv_norm.torch_leaves("low", "low_level.0", "low_level.1")
        leaves += conv_norm.torch_leaves("fuse", "block.0", "block.1")
        return leaves + torch_map.conv2d("scores", "block.4")

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: normal kernels by fan-in, PyTorch's biases."""
        return {"*/kernel": initializers.kaiming_normal}

    def check(self, maps: int) -> None:
        """Checks that there are a fine and a coarse map."""
        if maps < 2:
            raise errors.UserError(
                f"DeepLabV3+ reads a fine and a coarse map; the backbone has {maps}."
            )
