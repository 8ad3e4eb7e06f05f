"""A convolution with a batch norm and ReLU behind it, which decoders are made of."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import conv
from mvjax.models.layers import norm

EPSILON = 1e-3  # Of the batch norms of decoders, in training.


class ConvNorm(nn.Module):
    """A convolution of stride 1 that keeps the size, a batch norm, ReLU.

    Components `conv` and `norm`.
    """

    features: int
    side: int = 1  # Of the kernel, odd.
    dilation: int = 1  # Pixels from tap to tap.
    use_bias: bool = True
    eval_epsilon: float = EPSILON  # Of the norm in evaluation.
    dtype: Any = jnp.float32  # Compute type; parameters are float32.

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, features]`."""
        margin = self.side // 2 * self.dilation
        x = conv.Conv2D(
            self.features,
            kernel_size=(self.side, self.side),
            padding=((margin, margin), (margin, margin)),
            dilation=self.dilation,
            use_bias=self.use_bias,
            dtype=self.dtype,
            name="conv",
        )(x)
        return norm.BatchNorm(
            EPSILON,
            eval_epsilon=self.eval_epsilon,
            activation=nn.relu,
            dtype=self.dtype,
            name="norm",
        )(x, train=train)


def torch_leaves(
    flax: str, convolution: str, normal: str, *, bias: bool = True
) -> list[torch_map.Leaf]:
    """Table of a `ConvNorm`.

    Args:
      flax: Its path.
      convolution: What the convolution is called in PyTorch.
      normal: What the batch norm is called.
      bias: Whether the convolution has one.
    """
    leaves = torch_map.conv2d(f"{flax}/conv", convolution, bias=bias)
    return leaves + torch_map.batch_norm(f"{flax}/norm", normal)
