"""A 3x3 convolution and scores of single pixels, from the map of one stage.

The plain head of CMX's code, and the auxiliary one beside its larger heads. That code hands
the plain one all maps, which it cannot read; here it gets the last.
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
from mvjax.models.layers import conv_norm
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import scores

# Scores of the released auxiliary head, whatever the classes are.
RELEASED_SCORES = 40


class Net(nn.Module):
    """Reads one map."""

    classes: int
    stage: int
    width: int
    dropout: float
    eval_epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps `[B, h, w, C]`, fine to coarse, to scores `[B, *size, K]`, float32."""
        x = maps[self.stage - 1]  # That of 0 is the last.
        width = self.width or max(x.shape[-1] // 4, 1)
        x = conv_norm.ConvNorm(
            width,
            side=3,
            eval_epsilon=self.eval_epsilon,
            dtype=self.dtype,
            name="inner",
        )(x, train=train)
        seed = dropout.seed(self, train=train, rate=self.dropout)
        x = dropout.Dropout(self.dropout, name="drop")(x, seed)
        return scores.enlarged(x, self.classes, size, self.dtype)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A convolution behind one map.

    Attributes:
      stage: Whose map is read, 1 for the finest one; 0: the coarsest one.
      width: Channels between the convolutions; 0: a quarter of the map's.
      dropout: Rate of what is dropped before the scores; the released code drops nothing.
      released: Whether this is CMX's auxiliary head as it was released: with as many
        channels as there are classes, and 40 scores.
      eval_epsilon: Of the batch norm in evaluation, 1e-5 in CMX's published one.
    """

    stage: limits.Natural = 0
    width: limits.Classes = 0
    dropout: limits.Rate = 0.0
    released: bool = False
    eval_epsilon: limits.Positive = 1e-3

    def net(self, classes: int, *, dtype: Any = jnp.float32) -> Net:
        """The network, see `core/decoder.py`.

        Raises:
          UserError: There are more classes than the `released` head has scores.
        """
        width, count = self.width, classes
        if self.released:
            width, count = classes, RELEASED_SCORES
        if classes > count:
            raise errors.UserError(
                f"The head conv with released=True has {RELEASED_SCORES} scores, too few "
                f"for {classes} classes."
            )
        return Net(count, self.stage, width, self.dropout, self.eval_epsilon, dtype)

    def torch_leaves(self, maps: int) -> list[torch_map.Leaf]:
        """Table of CMX's `FCNHead`."""
        del maps
        leaves = conv_norm.torch_leaves("inner", "conv.0", "conv.1")
        return leaves + torch_map.conv2d("scores", "classifier")

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: normal kernels by fan-in, PyTorch's biases."""
        return {"*/kernel": initializers.kaiming_normal}

    def check(self, maps: int) -> None:
        """Checks that the stage is there, and that `released` leaves the width to it."""
        if self.stage > maps:
            raise errors.UserError(
                f"The head conv reads the map of stage {self.stage}; the backbone has "
                f"{maps}."
            )
        if self.released and self.width:
            raise errors.UserError(
                f"The head conv has width={self.width}, but released=True sets its own."
            )
