"""ResNets for images of 32 pixels, as CIFAR's (He et al., 2016, section 4.2).

Depth 6n + 2 with n basic blocks in each of three stages. MV-MR's `resnet8x4` is the
default: depth 8 and four times the original widths, a 1x1 shortcut with a norm in front of
every stage.
"""

from collections.abc import Mapping
import dataclasses
from typing import Annotated, Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import limits
from mvjax.models import resnet
from mvjax.models.layers import initializers


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A ResNet of three stages without max pooling.

    Attributes:
      blocks: n; the depth is 6n + 2.
      widths: Of the stem and of the stages.
      default_stem: Whether the first convolution has PyTorch's default start, not the
        He-normal one of the others: MV-MR's `small_kernel=True`, which changes nothing
        else here.
    """

    AVERAGES: ClassVar[bool] = True

    blocks: limits.Layers = 1
    widths: Annotated[tuple[limits.Size, ...], limits.Entries(least=2)] = (
        32,
        64,
        128,
        256,
    )
    default_stem: bool = False

    def plan(self) -> resnet.Plan:
        """What the network consists of."""
        stages = []
        for i, width in enumerate(self.widths[1:]):
            first = resnet.Kernel(3, width, 2 if i else 1)
            kernels = (first, resnet.Kernel(3, width))
            stages.append(resnet.stage(self.blocks, kernels, before=self.widths[i]))
        return resnet.Plan(resnet.Kernel(3, self.widths[0]), False, tuple(stages))

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.widths[-1]

    def net(
        self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1
    ) -> nn.Module:
        """The network, see `core/backbone.py`."""
        del channels  # Flax finds out.
        return resnet.Net(self.plan(), groups, dtype)

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """Tables by kind of file, without the classifier."""
        del channels
        leaves = resnet.torch_leaves(self.plan())
        return {"published": torch_table.Table(leaves, ("fc.*",))}

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks nothing: images of any size can be read."""

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser."""
        del channels
        rules = {"*/kernel": initializers.kaiming_normal_fan_out}
        if self.default_stem:
            return {"params/conv1/kernel": initializers.torch_kernel} | rules
        return rules
