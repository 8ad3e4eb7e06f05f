"""ResNets with residual deformable attention behind their last two stages, as DeCUR's.

Wang et al., ECCV 2024 (arXiv 2309.05300). What the attention gives is added to the map;
the refined third map is what the fourth stage reads.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import limits
from mvjax.models import rda
from mvjax.models import resnet


@dataclasses.dataclass(frozen=True)
class Third(rda.Settings):
    """The attention behind stage 3; the defaults are DeCUR's."""

    heads: limits.Size = 8
    groups: limits.Size = 4
    stride: limits.Size = 2
    kernel: limits.Size = 5
    sides: tuple[limits.Size, limits.Size] = (14, 14)


class Net(resnet.Net):
    """A ResNet with components `da_l3` and `da_l4` beside its own."""

    attention: Mapping[int, rda.Settings] = dataclasses.field(default_factory=dict)

    def refine(self, number: int, h: jax.Array) -> jax.Array:
        """Adds what an attention reads in the map of stage `number`."""
        if number not in self.attention:
            return h
        attend = rda.Attention(self.attention[number], self.dtype, name=f"da_l{number}")
        return h + attend(h).mixed


def attention_leaves(
    attention: Mapping[int, rda.Settings], prefix: str
) -> list[torch_map.Leaf]:
    """Table of the attentions, which are `<prefix>_l3` and `<prefix>_l4` in PyTorch."""
    return [
        leaf
        for number, settings in attention.items()
        for leaf in torch_map.nest(
            rda.torch_leaves(settings),
            flax=f"da_l{number}",
            torch=f"{prefix}_l{number}",
        )
    ]


@dataclasses.dataclass(frozen=True)
class Backbone(resnet.Backbone):
    """A ResNet with attention; see `models/resnet.py` for the other settings.

    Attributes:
      l3: The attention behind stage 3.
      l4: That behind stage 4.
    """

    l3: Third = Third()
    l4: rda.Settings = rda.Settings()

    # The components that several backbones may have in common.
    SHAREABLE: ClassVar[tuple[str, ...]] = ("da_l3", "da_l4")

    @property
    def attention(self) -> dict[int, rda.Settings]:
        """The attentions by the stage that they stand behind."""
        return {3: self.l3, 4: self.l4}

    def net(
        self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1
    ) -> nn.Module:
        """The network, see `core/backbone.py`."""
        del channels  # Flax finds out.
        return Net(self.plan(), groups, dtype, self.attention)

    def beside_table(self, trunk: str, attention: str) -> torch_table.Table:
        """Table of files that hold the ResNet and the attentions side by side.

        Args:
          trunk: What the keys of the ResNet begin with, such as `"backbone_1"`.
          attention: What those of the attentions begin with, such as `"da1"`.
        """
        leaves = torch_map.nest(resnet.torch_leaves(self.plan()), torch=trunk)
        leaves += attention_leaves(self.attention, attention)
        return torch_table.Table(leaves, (f"{trunk}.fc.*" if trunk else "fc.*",))

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """Tables by kind of file: as first (SAR, RGB) and as second modality.

        And a ResNet of torchvision, which has no attentions: they stay `fresh`.
        """
        del channels
        tables = {name: self.beside_table("backbone", name) for name in ("da1", "da2")}
        return tables | {"torchvision": self.beside_table("", "da1")}

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks that attentions have something to choose from in the maps."""
        super().check(channels, size)
        plan = self.plan()
        for number, settings in self.attention.items():
            halvings = plan.stem.stride // 2 + plan.pool + number - 1
            sides = tuple(-(-side // 2**halvings) for side in size)
            width = plan.stages[number - 1][-1].kernels[-1].width
            where = f"backbone.l{number} (images of {size[0]} x {size[1]})"
            settings.check(where, width, sides)

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser."""
        rules = {
            f"params/da_l*/{pattern.removeprefix('*/')}": rule
            for pattern, rule in rda.RULES.items()
        }
        return rules | dict(super().initial(channels))
