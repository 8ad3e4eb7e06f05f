"""Fully convolutional scores: those of several stages, enlarged and summed.

Long, Shelhamer and Darrell, 2015 (arXiv 1411.4038), with bilinear enlargement in place of
learned one. DeCUR's transfer to GeoNRW has `widths=(128, 256, 512)`, `align_corners=True`.
Where it enlarges between its two layers, this one does behind them: layers of single pixels
and enlarging may change places, and there are a dozen classes for hundreds of channels.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import backbone
from mvjax.core import errors
from mvjax.core import limits
from mvjax.models import heads
from mvjax.models.layers import conv
from mvjax.ops import images
from mvjax.ops import interpolation


class Net(nn.Module):
    """Components `inner0`, ..., if there are widths, and `scores0`, ..., fine to coarse."""

    levels: int
    classes: int
    widths: tuple[int, ...] = ()
    align_corners: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps `[B, h, w, C]` from fine to coarse to scores `[B, *size, K]`, float32."""
        del train  # Nothing is dropped, and there is no norm.
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


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Scores of the coarsest maps, summed.

    Attributes:
      levels: How many of the coarsest maps are read.
      widths: Of a layer before the scores of each level, from fine to coarse; (): there
        is none.
      align_corners: Whether enlarging keeps corners, not areas.
    """

    levels: limits.Layers = 3
    widths: tuple[limits.Size, ...] = ()
    align_corners: bool = False

    def net(self, classes: int, *, dtype: Any = jnp.float32) -> Net:
        """The network, see `core/decoder.py`."""
        return Net(self.levels, classes, self.widths, self.align_corners, dtype)

    def check(self, maps: int) -> None:
        """Checks that there are so many levels, and a width for each of them."""
        if len(self.widths) not in (0, self.levels):
            raise errors.UserError(
                f"The head fcn has {len(self.widths)} widths, its levels are "
                f"{self.levels}."
            )
        if self.levels > maps:
            raise errors.UserError(
                f"The head fcn has levels={self.levels}; the backbone has {maps} maps."
            )

    def torch_leaves(self, maps: int) -> list[torch_map.Leaf]:
        """Table of the convolutions `scores0`, `scores1`, ... from fine to coarse.

        With `widths` it is that of DeCUR's `uc0`, `cls0`, ....
        """
        del maps
        leaves = []
        for i in range(self.levels):
            scores = f"scores{i}"
            if self.widths:
                leaves += torch_map.conv2d(f"inner{i}", f"uc{i}")
                scores = f"cls{i}"
            leaves += torch_map.conv2d(f"scores{i}", scores)
        return leaves

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: small scores, PyTorch's default for what is inside."""
        return heads.RULES
