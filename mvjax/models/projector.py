"""The MLP between a backbone and a loss: linear layers with batch norm and ReLU between."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import linear
from mvjax.models.layers import norm


class Projector(nn.Module):
    """Linear layers, behind each but the last one a batch norm and ReLU.

    Attributes:
      widths: Of the layers; without any the features pass as they are.
      bias: Whether the linear layers have one: not in Barlow Twins, DeCUR and MV-MR.
      last_norm: Whether a batch norm follows the last layer, as for SimCLR in DeCUR.
      groups: Interleaved groups of rows of the batch norms, see `layers/norm.py`.
    """

    widths: tuple[int, ...]
    bias: bool = False
    last_norm: bool = False
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: jax.Array, *, train: bool) -> jax.Array:
        """Maps features `[B, C]` to embeddings `[B, D]`."""
        for i, width in enumerate(self.widths):
            h = linear.Linear(
                width, use_bias=self.bias, dtype=self.dtype, name=f"linear{i}"
            )(h)
            last = i == len(self.widths) - 1
            if last and not self.last_norm:
                break
            activation = {} if last else {"activation": nn.relu}
            h = norm.BatchNorm(
                groups=self.groups, dtype=self.dtype, name=f"norm{i}", **activation
            )(h, train=train)
        return h


def torch_leaves(projector: Projector) -> list[torch_map.Leaf]:
    """Table of the `torch.nn.Sequential` of linear, norm and ReLU in turn."""
    leaves = []
    for i in range(len(projector.widths)):
        leaves += torch_map.linear(f"linear{i}", f"{3 * i}", bias=projector.bias)
        if i < len(projector.widths) - 1 or projector.last_norm:
            leaves += torch_map.batch_norm(f"norm{i}", f"{3 * i + 1}")
    return leaves
