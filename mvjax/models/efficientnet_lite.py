"""EfficientNet-Lite 0 to 4: EfficientNets without squeeze-and-excitation, with ReLU6.

Tan and Le, 2019 (arXiv 1905.11946), as changed for small devices: the stem and the head
have the same width in each size, the first and the last stage the same depth. Convolutions
are padded as TensorFlow's `SAME`, by the size of the image; efficientnet-lite-pytorch 0.1.0
pads for 224 pixels (size 0) whatever comes in, which is the same for that size only. The
published weights read images as (x - 0.498) / 0.502.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import limits
from mvjax.models.layers import conv
from mvjax.models.layers import initializers
from mvjax.models.layers import norm
from mvjax.models.layers import pooling

STEM, HEAD = 32, 1280  # Widths.


class Scale(NamedTuple):
    """What one size has against EfficientNet-Lite0."""

    wider: float  # Factor of the widths.
    deeper: float  # Factor of the numbers of blocks.
    pixels: int  # Side of the images that its published weights were taught with.


SCALES = (
    Scale(1.0, 1.0, 224),
    Scale(1.0, 1.1, 240),
    Scale(1.1, 1.2, 260),
    Scale(1.2, 1.4, 280),
    Scale(1.4, 1.8, 300),
)


class Stage(NamedTuple):
    """Equal blocks, the first of which has the stride."""

    kernel: int
    stride: int
    expand: int  # Factor between the width of a block's input and its inner one.
    width: int
    blocks: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


def scale_stages(size: int) -> tuple[Stage, ...]:
    """The stages of EfficientNet-Lite `size`, in 0..4."""
    wider, deeper, _ = SCALES[size]
    found = []
    for i, stage in enumerate(STAGES):
        width = max(8, int(stage.width * wider + 4) // 8 * 8)
        width += 8 * (width < 0.9 * stage.width * wider)
        fixed = i in (0, len(STAGES) - 1)
        blocks = stage.blocks if fixed else math.ceil(stage.blocks * deeper)
        found.append(stage._replace(width=width, blocks=blocks))
    return tuple(found)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros in front and behind, so that ceil(side / stride) are left."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class _Layers(nn.Module):
    """What blocks and the whole net share."""

    groups: int = 1  # Interleaved groups of rows, see `norm.BatchNorm`.
    dtype: Any = jnp.float32

    def _convolve(
        self,
        x: jax.Array,
        name: str,
        width: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
    ) -> jax.Array:
        layer = conv.Conv2D(
            width,
            (kernel, kernel),
            strides=(stride, stride),
            padding=tuple(_same(side, kernel, stride) for side in x.shape[1:3]),
            groups=width if depthwise else 1,
            use_bias=False,
            dtype=self.dtype,
            name=name,
        )
        return layer(x)

    def _normalise(
        self, x: jax.Array, name: str, *, train: bool, activate: bool = True
    ) -> jax.Array:
        layer = norm.BatchNorm(
            epsilon=1e-3,
            momentum=0.99,
            groups=self.groups,
            dtype=self.dtype,
            name=name,
            **(dict(activation=nn.relu6) if activate else {}),
        )
        return layer(x, train=train)


class Block(_Layers):
    """Inverted residual: wider, one kernel a channel, narrower again."""

    kernel: int = 3
    stride: int = 1
    expand: int = 6
    width: int = 16

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H', W', width]`."""
        h, inner = x, x.shape[-1] * self.expand
        if self.expand > 1:
            h = self._convolve(h, "expand_conv", inner)
            h = self._normalise(h, "bn0", train=train)
        spread = dict(kernel=self.kernel, stride=self.stride, depthwise=True)
        h = self._convolve(h, "depthwise_conv", inner, **spread)
        h = self._normalise(h, "bn1", train=train)
        h = self._convolve(h, "project_conv", self.width)
        h = self._normalise(h, "bn2", train=train, activate=False)
        return x + h if x.shape == h.shape else h


class Net(_Layers):
    """Stem, stages of blocks, a 1x1 convolution, mean over space."""

    stages: tuple[Stage, ...] = STAGES

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        """Maps `[B, H, W, C]` to features: the maps are those of the stages."""
        h = self._convolve(x, "conv_stem", STEM, kernel=3, stride=2)
        h = self._normalise(h, "bn0", train=train)
        stem, maps, number = h, [], 0
        for stage in self.stages:
            for i in range(stage.blocks):
                block = Block(
                    groups=self.groups,
                    dtype=self.dtype,
                    kernel=stage.kernel,
                    stride=1 if i else stage.stride,
                    expand=stage.expand,
                    width=stage.width,
                    name=f"block{number}",
                )
                h, number = block(h, train=train), number + 1
            maps.append(h)
        h = self._convolve(h, "conv_head", HEAD)
        h = self._normalise(h, "bn1", train=train)
        return backbone.Features(pooling.global_mean(h), tuple(maps), stem=stem)


def torch_leaves(stages: tuple[Stage, ...]) -> list[torch_map.Leaf]:
    """Table of the published state dicts without `_fc`."""
    leaves = []

    def add(mine: str, theirs: str, *layers: tuple[str, str]) -> None:
        for convolution, normalisation in layers:
            leaves.extend(
                torch_map.conv2d(
                    f"{mine}{convolution}", f"{theirs}_{convolution}", bias=False
                )
            )
            leaves.extend(
                torch_map.batch_norm(
                    f"{mine}{normalisation}", f"{theirs}_{normalisation}"
                )
            )

    add("", "", ("conv_stem", "bn0"), ("conv_head", "bn1"))
    number = 0
    for stage in stages:
        for _ in range(stage.blocks):
            places = f"block{number}/", f"_blocks.{number}."
            if stage.expand > 1:
                add(*places, ("expand_conv", "bn0"))
            add(*places, ("depthwise_conv", "bn1"), ("project_conv", "bn2"))
            number += 1
    return leaves


@dataclasses.dataclass(frozen=True)
class Backbone:
    """An EfficientNet-Lite.

    Attributes:
      size: Which one.
    """

    size: limits.one_of(*range(len(SCALES))) = 0

    @property
    def width(self) -> int:
        """Length of the features."""
        return HEAD

    def net(
        self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1
    ) -> nn.Module:
        """The network, see `core/backbone.py`."""
        del channels  # Flax finds out.
        stages = scale_stages(self.size)
        return Net(groups=groups, dtype=dtype, stages=stages)

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """The table of the published files, without the classifier."""
        del channels
        leaves = torch_leaves(scale_stages(self.size))
        return {"published": torch_table.Table(leaves, ("_fc.*",))}

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks nothing: images of any size can be read."""

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: He-normal by fan-out, as the publication has it."""
        del channels
        return {"*/kernel": initializers.kaiming_normal_fan_out}
