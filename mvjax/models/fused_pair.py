"""Two staged backbones that a fusion joins behind each stage, as CMX's encoders.

Rectified maps of either view go on to its next stage, and a mixture of both to a decoder.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.models import cross_modal_fusion
from mvjax.models import transfer
from mvjax.models.layers import pooling

FUSION = "fusion"  # The component beside the backbones.


class Fused(NamedTuple):
    """What two views become.

    Attributes:
      maps: Of both, of each stage, from fine to coarse, `[B, h, w, C]`.
      pooled: Of each view, the mean of its last map, `[B, D]`, float32.
    """

    maps: tuple[jax.Array, ...]
    pooled: tuple[jax.Array, jax.Array]


class Net(nn.Module):
    """The backbones as components of the names given, and `fusion`.

    Maps of a view that a sample lacks are 0 behind each stage and each rectification, so
    that nothing depends on what stands in its place.
    """

    backbones: tuple[backbone.Backbone, backbone.Backbone]
    names: tuple[str, str]
    channels: tuple[int, int]  # Of the images.
    dtype: Any = jnp.float32

    def setup(self) -> None:
        for network, name, channels in zip(self.backbones, self.names, self.channels):
            setattr(self, name, network.net(channels, dtype=self.dtype))
        heads = getattr(self, self.names[0]).heads
        self.fusion = cross_modal_fusion.Fusion(heads, self.dtype)

    def __call__(
        self,
        images: Sequence[jax.Array],
        present: Sequence[jax.Array | None] = (None, None),
        *,
        train: Mapping[str, bool],
    ) -> Fused:
        """Maps images of two views to maps of both.

        Args:
          images: `[B, H, W, channels]` of each view.
          present: Which rows have the view, `[B]` bool; None: all.
          train: By component, whether its norms normalise by the batch and things are
            dropped, which needs the key "dropout".
        """
        nets = [getattr(self, name) for name in self.names]
        x, fused = list(images), []
        for i in range(len(nets[0].heads)):
            x = [
                transfer.mask(net.stage(x_view, i, train=train[name]), here)
                for net, name, x_view, here in zip(nets, self.names, x, present)
            ]
            x = list(map(transfer.mask, self.fusion.rectify(*x, i), present))
            maps = [net.leave(x_view, i) for net, x_view in zip(nets, x)]
            fused.append(self.fusion.fuse(*maps, i, train=train[FUSION]))
        first, second = map(pooling.global_mean, maps)
        return Fused(tuple(fused), (first, second))


def table(
    network: backbone.Backbone, names: Sequence[str], stages: int
) -> torch_table.Table:
    """The table of the encoders in CMX's files, `backbone.*`.

    Args:
      network: The first backbone, which has `pair_tables`, see `core/backbone.py`.
      names: Of both as components.
      stages: Of either.
    """
    fusion = torch_table.Table(cross_modal_fusion.torch_leaves(stages))
    tables = (*network.pair_tables(transfer.CHANNELS), fusion)
    parts = zip(tables, (*names, FUSION), strict=True)
    whole = torch_table.join(*(part.nest(flax=name) for part, name in parts))
    return whole.nest(torch="backbone")
