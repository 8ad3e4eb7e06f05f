"""The decoder of SegFormer and CMX: all maps through linear layers, side by side, mixed.

Xie et al., 2021 (arXiv 2105.15203), with the bias that CMX's released code adds to the
layer that mixes. A linear layer of each map, enlarging it and the mixing layer follow one
another without anything between. So they may change places, and two layers are one whose
kernel is the product of theirs: a tenth of the operations.
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
from mvjax.core import limits
from mvjax.models.layers import alone
from mvjax.models.layers import conv_norm
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.models.layers import scores
from mvjax.ops import images


class Affine(nn.Module):
    """Kernel `[in, features]` and bias `[features]` of a linear layer, as they are."""

    features: int

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """The two, for inputs of so many channels."""
        init = initializers.torch_uniform(channels)
        kernel = self.param("kernel", init, (channels, self.features))
        return kernel, self.param("bias", init, (self.features,))


class Net(nn.Module):
    """Components `level0` (of the finest map), ..., `mix`, `norm` and `scores`."""

    classes: int
    width: int
    dropout: float
    eval_epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[jax.Array], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Maps `[B, h, w, C]` from fine to coarse to scores `[B, *size, K]`, float32."""
        mixing, shift = Affine(self.width, name="mix")(len(maps) * self.width)
        # The released code puts the coarsest map first.
        pieces = jnp.split(mixing, len(maps))[::-1]
        products = []
        for i, (x, piece) in enumerate(zip(maps, pieces)):
            kernel, bias = Affine(self.width, name=f"level{i}")(x.shape[-1])
            kernel = (kernel @ piece).astype(self.dtype)
            products.append(linear.product(x.astype(self.dtype), kernel))
            shift = shift + bias @ piece
        total = _add_enlarged(tuple(y.shape for y in products), products, shift[0])
        x = norm.BatchNorm(
            conv_norm.EPSILON,
            eval_epsilon=self.eval_epsilon,
            activation=nn.relu,
            dtype=self.dtype,
            name="norm",
        )(total + shift.astype(self.dtype), train=train)
        seed = dropout.seed(self, train=train, rate=self.dropout)
        x = dropout.Dropout(self.dropout, channels=True, name="dropout")(x, seed)
        return scores.enlarged(x, self.classes, size, self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _add_enlarged(
    shapes: tuple[tuple[int, ...], ...], maps: list[jax.Array], probe: jax.Array
) -> jax.Array:
    """Sum of all maps at the size of the first.

    XLA's CPU compiler would compute the gradient of the sum anew for each of them.

    Args:
      shapes: Those of the maps, `[B, h, w, D]`.
      maps: Float, all of one type.
      probe: A number, see `alone.run`.
    """
    del probe
    size = shapes[0][1:3]
    return maps[0] + sum(images.resize_bilinear(y, size) for y in maps[1:])


def _forward(
    shapes: tuple[tuple[int, ...], ...], maps: list[jax.Array], probe: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return _add_enlarged(shapes, maps, probe), probe


def _backward(
    shapes: tuple[tuple[int, ...], ...], probe: jax.Array, dy: jax.Array
) -> tuple[list[jax.Array], jax.Array]:
    resize = functools.partial(images.resize_bilinear, size=shapes[0][1:3])

    def pull_back(dy: jax.Array) -> list[jax.Array]:
        starts = [jnp.zeros(shape, dy.dtype) for shape in shapes[1:]]
        return [jax.vjp(resize, start)[1](dy)[0] for start in starts]

    rest = alone.run(pull_back, dy, probe=probe) if len(shapes) > 1 else []
    return [dy, *rest], jnp.zeros_like(probe)


_add_enlarged.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Linear layers of all maps, mixed at the size of the finest.

    Attributes:
      width: Of all layers.
      dropout: Share of the channels that a sample loses before the scores.
      eval_epsilon: Of the batch norm in evaluation, 1e-5 in CMX's published one.
    """

    width: limits.Size = 512
    dropout: limits.Rate = 0.1
    eval_epsilon: limits.Positive = 1e-3

    def net(self, classes: int, *, dtype: Any = jnp.float32) -> Net:
        """The network, see `core/decoder.py`."""
        fields = dataclasses.asdict(self)
        return Net(classes, **fields, dtype=dtype)

    def check(self, maps: int) -> None:
        """Nothing to check: any number of maps will do."""

    def torch_leaves(self, maps: int) -> list[torch_map.Leaf]:
        """Table of CMX's `DecoderHead`."""
        leaves = []
        for i in range(maps):
            leaves += torch_map.linear(f"level{i}", f"linear_c{i + 1}.proj")
        return [
            *leaves,
            *torch_map.pointwise("mix", "linear_fuse.0"),
            *torch_map.batch_norm("norm", "linear_fuse.1"),
            *torch_map.conv2d("scores", "linear_pred"),
        ]

    def initial(self) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: those of CMX for convolutions."""
        return {
            "*/mix/kernel": initializers.kaiming_normal,
            "*/scores/kernel": initializers.kaiming_normal,
        }
