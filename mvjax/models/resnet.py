"""ResNets in torchvision's layout ("v1.5": the 3x3 convolution carries the stride).

He et al., 2016 (arXiv 1512.03385); ResNeXt (1611.05431) and wide ResNets (1605.07146) by
the same fields as torchvision's. The stem may be the small one that MV-MR takes for small
images: a 3x3 convolution of stride 1 in place of the 7x7 one; the max pooling stays.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar, NamedTuple

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

# Blocks of each stage, and whether a block is a bottleneck of three convolutions.
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
EXPANSION = 4  # Of a bottleneck's last convolution.


class Kernel(NamedTuple):
    """One convolution without bias."""

    side: int
    width: int
    stride: int = 1
    groups: int = 1

    def layer(self, name: str, dtype: Any) -> conv.Conv2D:
        """The layer; its margin keeps the size at stride 1."""
        margin = (self.side // 2, self.side // 2)
        return conv.Conv2D(
            self.width,
            kernel_size=(self.side, self.side),
            strides=(self.stride, self.stride),
            padding=(margin, margin),
            groups=self.groups,
            use_bias=False,
            dtype=dtype,
            name=name,
        )


class Residual(NamedTuple):
    """What a residual block consists of."""

    kernels: tuple[Kernel, ...]
    shortcut: Kernel | None  # None: the identity.


class Plan(NamedTuple):
    """What a ResNet consists of."""

    stem: Kernel
    pool: bool  # Max pooling behind the stem.
    stages: tuple[tuple[Residual, ...], ...]

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.stages[-1][-1].kernels[-1].width


def stage(
    blocks: int, kernels: tuple[Kernel, ...], *, before: int
) -> tuple[Residual, ...]:
    """A stage whose first block has the strides; shortcuts where they are needed.

    Args:
      blocks: Their number.
      kernels: Of the first block.
      before: Width of what comes in.
    """
    stride = max(kernel.stride for kernel in kernels)
    changes = stride > 1 or before != kernels[-1].width
    shortcut = Kernel(1, kernels[-1].width, stride) if changes else None
    plain = tuple(kernel._replace(stride=1) for kernel in kernels)
    return (Residual(kernels, shortcut), *[Residual(plain, None)] * (blocks - 1))


class Block(nn.Module):
    """Convolutions with batch norms, added to a shortcut, ReLU behind the sum."""

    plan: Residual
    groups: int = 1  # Interleaved groups of rows, see `norm.BatchNorm`.
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H', W', width]`."""
        kernels, shortcut = self.plan
        h = x
        for i, kernel in enumerate(kernels, 1):
            h = kernel.layer(f"conv{i}", self.dtype)(h)
            activation = {"activation": nn.relu} if i < len(kernels) else {}
            h = self._norm(f"bn{i}", **activation)(h, train=train)
        if shortcut is not None:
            x = shortcut.layer("downsample_conv", self.dtype)(x)
            x = self._norm("downsample_bn")(x, train=train)
        return nn.relu(x + h)

    def _norm(self, name: str, **settings: Any) -> norm.BatchNorm:
        return norm.BatchNorm(
            groups=self.groups, dtype=self.dtype, name=name, **settings
        )


class Net(nn.Module):
    """Stem, stages of blocks, mean over space."""

    plan: Plan
    groups: int = 1  # Interleaved groups of rows, see `norm.BatchNorm`.
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        """Maps `[B, H, W, C]` to features: the maps are those of the stages."""
        h = self.plan.stem.layer("conv1", self.dtype)(x)
        h = norm.BatchNorm(
            groups=self.groups, activation=nn.relu, dtype=self.dtype, name="bn1"
        )(h, train=train)
        if self.plan.pool:
            h = pooling.max_pool(h, size=3, stride=2, padding=1)
        stem, maps = h, []
        for i, blocks in enumerate(self.plan.stages, 1):
            for j, plan in enumerate(blocks):
                block = Block(plan, self.groups, self.dtype, name=f"layer{i}_{j}")
                h = block(h, train=train)
            h = self.refine(i, h)
            maps.append(h)
        return backbone.Features(pooling.global_mean(h), tuple(maps), stem=stem)

    def refine(self, number: int, h: jax.Array) -> jax.Array:
        """What is made of the map `[B, H, W, C]` of stage `number`, counted from 1."""
        del number  # Networks that put something behind a stage say so.
        return h


def torch_leaves(plan: Plan) -> list[torch_map.Leaf]:
    """Table of torchvision's state dict without `fc`."""
    leaves = torch_map.conv2d("conv1", "conv1", bias=False)
    leaves += torch_map.batch_norm("bn1", "bn1")
    for i, blocks in enumerate(plan.stages, 1):
        for j, block in enumerate(blocks):
            mine, theirs = f"layer{i}_{j}", f"layer{i}.{j}"
            for k in range(1, len(block.kernels) + 1):
                leaves += torch_map.conv2d(
                    f"{mine}/conv{k}", f"{theirs}.conv{k}", bias=False
                )
                leaves += torch_map.batch_norm(f"{mine}/bn{k}", f"{theirs}.bn{k}")
            if block.shortcut is not None:
                leaves += torch_map.conv2d(
                    f"{mine}/downsample_conv", f"{theirs}.downsample.0", bias=False
                )
                leaves += torch_map.batch_norm(
                    f"{mine}/downsample_bn", f"{theirs}.downsample.1"
                )
    return leaves


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A ResNet, ResNeXt or wide ResNet.

    Its convolutions start He-normal by fan-out, as torchvision's; the first one has
    PyTorch's default where DeCUR and MV-MR put it in later: with a small stem, or with
    other channels than three.

    Attributes:
      depth: Layers, as in "ResNet-50".
      stem: "standard", or "small" for images of about 32 pixels.
      cardinality: Groups of the 3x3 convolution of a bottleneck; ResNeXt's 32.
      group_width: Channels of such a group in the first stage; ResNeXt-50's 4, a wide
        ResNet's 128.
      widen: Factor of all widths (that of the stem is never below 64), MRDD's option.
      zero_init_residual: Whether the last norm of each block starts at 0, so that the
        block starts as its shortcut.
    """

    AVERAGES: ClassVar[bool] = True

    depth: limits.one_of(*DEPTHS) = 50
    stem: limits.one_of("standard", "small") = "standard"
    cardinality: limits.Size = 1
    group_width: limits.Size = 64
    widen: limits.Positive = 1.0
    zero_init_residual: bool = True

    def plan(self) -> Plan:
        """What the network consists of."""
        counts, bottleneck = DEPTHS[self.depth]
        stem = max(int(64 * self.widen), 64)
        before, stages = stem, []
        for i, count in enumerate(counts):
            base, stride = int(64 * self.widen) << i, 2 if i else 1
            if bottleneck:
                width = int(base * self.group_width / 64) * self.cardinality
                kernels = (
                    Kernel(1, width),
                    Kernel(3, width, stride, self.cardinality),
                    Kernel(1, EXPANSION * base),
                )
            else:
                kernels = (Kernel(3, base, stride), Kernel(3, base))
            stages.append(stage(count, kernels, before=before))
            before = kernels[-1].width
        small = self.stem == "small"
        return Plan(
            Kernel(3, stem) if small else Kernel(7, stem, 2), True, tuple(stages)
        )

    @property
    def width(self) -> int:
        """Length of the features: 2048 for 50 layers and more, 512 below."""
        return self.plan().width

    def net(
        self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1
    ) -> nn.Module:
        """The network, see `core/backbone.py`."""
        del channels  # Flax finds out.
        return Net(self.plan(), groups, dtype)

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """Tables by kind of file, without the classifier; timm's keys are the same."""
        del channels
        return {"torchvision": torch_table.Table(torch_leaves(self.plan()), ("fc.*",))}

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks nothing: images of any size can be read."""

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser."""
        rules = {}
        if self.stem == "small" or channels != 3:
            rules["params/conv1/kernel"] = initializers.torch_kernel
        rules["*/kernel"] = initializers.kaiming_normal_fan_out
        if self.zero_init_residual:
            last = len(self.plan().stages[0][0].kernels)
            rules[f"params/layer*/bn{last}/scale"] = initializers.zeros
        return rules
