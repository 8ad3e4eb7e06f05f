"""Mix Transformer encoders, MiT-B0 to B5 (SegFormer, Xie et al., 2021, arXiv 2105.15203).

Four stages of pre-norm blocks behind overlapping patch embeddings; keys and values of a
stage are made of a smaller map, and a depthwise convolution in the MLP stands for positions.
As in the code that DeCUR and CMX use: the norms of patch embeddings and of the reduced maps
have another epsilon than those of blocks and stages, and all blocks of the second stage
share the drop rate of their first.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import errors
from mvjax.core import limits
from mvjax.models.layers import activations
from mvjax.models.layers import attention
from mvjax.models.layers import conv
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.models.layers import repeated

DEPTHS = {
    "b0": (2, 2, 2, 2),
    "b1": (2, 2, 2, 2),
    "b2": (3, 4, 6, 3),
    "b3": (3, 4, 18, 3),
    "b4": (3, 8, 27, 3),
    "b5": (3, 6, 40, 3),
}
WIDTHS = {"b0": (32, 64, 160, 256)}
WIDE = (64, 128, 320, 512)  # Of all others.
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)  # Of the sides of the map of keys and values.
EMBEDDINGS = ((7, 4), (3, 2), (3, 2), (3, 2))  # Kernel and stride.
MLP_RATIO = 4
LEAST_SIDE = 29  # Of an image whose first map is reduced to a pixel.
_BLOCK_EPSILON = 1e-6
_EMBEDDING_EPSILON = 1e-5


def _conv(features: int, side: int, stride: int, dtype: Any, name: str, **settings):
    margin = settings.pop("margin", side // 2)
    return conv.Conv2D(
        features,
        kernel_size=(side, side),
        strides=(stride, stride),
        padding=((margin, margin), (margin, margin)),
        dtype=dtype,
        name=name,
        **settings,
    )


class Attention(nn.Module):
    """Attention of a map to itself, or to its reduced form."""

    heads: int
    reduction: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to tokens `[B, H W, C]`."""
        b, _, _, channels = x.shape
        memory = x
        if self.reduction > 1:
            memory = _conv(
                channels, self.reduction, self.reduction, self.dtype, "sr", margin=0
            )(memory)
            memory = norm.layer_norm(_EMBEDDING_EPSILON, self.dtype, "norm")(memory)
        attend = attention.Attention(self.heads, dtype=self.dtype, name="attention")
        memory = memory.reshape(b, -1, channels)
        return attend(x.reshape(b, -1, channels), memory=memory)


class Block(nn.Module):
    """Attention, then an MLP with a depthwise convolution inside, each residual."""

    heads: int
    reduction: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, seed: jax.Array | None = None, rate: jax.Array | float = 0
    ) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, C]`; seed and rate are of `DropPath`."""
        channels = x.shape[-1]
        h = norm.layer_norm(_BLOCK_EPSILON, self.dtype, "norm1")(x)
        h = Attention(self.heads, self.reduction, self.dtype, name="attn")(h)
        h = attention.DropPath(name="drop_attn")(h.reshape(x.shape), seed, rate)
        x = x + h
        h = norm.layer_norm(_BLOCK_EPSILON, self.dtype, "norm2")(x)
        hidden = channels * MLP_RATIO
        h = linear.Linear(hidden, dtype=self.dtype, name="fc1")(h)
        h = _conv(hidden, 3, 1, self.dtype, "dwconv", groups=hidden)(h)
        h = activations.gelu(h)
        h = linear.Linear(channels, dtype=self.dtype, name="fc2")(h)
        return x + attention.DropPath(name="drop_mlp")(h, seed, rate)


class Net(nn.Module):
    """Four stages; `pooled` is the mean over the last map, through the head if any."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    drop_path: float
    head: int  # Width of a last layer; 0: there is none.
    dtype: Any = jnp.float32
    shared_rate: int = 0  # Which block of stage 2 lends all of them its drop rate.
    remat: bool = False  # Whether blocks keep their inputs alone for the way back.

    def setup(self) -> None:
        stages = range(1, len(self.depths) + 1)
        self.embeddings = [
            _conv(width, *EMBEDDINGS[i - 1], self.dtype, f"embed{i}")
            for i, width in zip(stages, self.widths)
        ]
        self.embedding_norms = [
            norm.layer_norm(_EMBEDDING_EPSILON, self.dtype, f"embed{i}_norm")
            for i in stages
        ]
        self.blocks = [
            [
                Block(HEADS[i], REDUCTIONS[i], self.dtype, name=f"block{i + 1}_{j}")
                for j in range(depth)
            ]
            for i, depth in enumerate(self.depths)
        ]
        self.norms = [
            norm.layer_norm(_BLOCK_EPSILON, self.dtype, f"norm{i}") for i in stages
        ]
        if self.head:
            self.last = linear.Linear(self.head, dtype=self.dtype, name="head")

    @property
    def heads(self) -> tuple[int, ...]:
        """Heads of each stage, see `core/backbone.Staged`."""
        return HEADS[: len(self.depths)]

    def rates(self) -> list[list[float]]:
        """Drop rates of all blocks, by stage."""
        rates = iter(np.linspace(0, self.drop_path, sum(self.depths)).tolist())
        stages = [[next(rates) for _ in range(depth)] for depth in self.depths]
        stages[1] = [stages[1][self.shared_rate]] * self.depths[1]
        return stages

    def _drops(self, i: int) -> tuple[jax.Array, jax.Array]:
        """A seed and a rate of `DropPath` for each block of stage i."""
        seeds = dropout.seeds(self, self.depths[i])
        return seeds, jnp.array(self.rates()[i])

    def stage(self, x: jax.Array, i: int, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` of what is before stage i to its map, see `Staged`."""
        x = self.embedding_norms[i](self.embeddings[i](x))
        drops = self._drops(i) if train and self.drop_path else ()
        return self.norms[i](repeated.run(self.blocks[i], x, *drops, remat=self.remat))

    def leave(self, x: jax.Array, i: int) -> jax.Array:
        """The map of stage i as it is: its norm stands before the next stage, too."""
        del i
        return x

    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        """Maps `[B, H, W, C]` to features; training needs the key "dropout"."""
        maps = []
        for i in range(len(self.depths)):
            x = self.stage(x, i, train=train)
            maps.append(self.leave(x, i))
        wide = jnp.promote_types(self.dtype, jnp.float32)
        pooled = jnp.mean(x, axis=(1, 2), dtype=wide)
        if self.head:
            pooled = self.last(pooled)
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        return backbone.Features(pooled.astype(wide), tuple(maps), tokens)


def torch_leaves(net: Net) -> list[torch_map.Leaf]:
    """Table of the published `MixVisionTransformer`."""
    leaves = []
    for i, depth in enumerate(net.depths):
        name = f"patch_embed{i + 1}"
        leaves += torch_map.conv2d(f"embed{i + 1}", f"{name}.proj")
        leaves += torch_map.layer_norm(f"embed{i + 1}_norm", f"{name}.norm")
        for j in range(depth):
            leaves += torch_map.nest(
                _block_leaves(REDUCTIONS[i] > 1),
                flax=f"block{i + 1}_{j}",
                torch=f"block{i + 1}.{j}",
            )
        leaves += torch_map.layer_norm(f"norm{i + 1}", f"norm{i + 1}")
    return leaves + (torch_map.linear("head", "head") if net.head else [])


def _block_leaves(reduced: bool) -> list[torch_map.Leaf]:
    attend = torch_map.linear("attention/query", "q")
    attend += torch_map.joined("kv", ("attention/key", "attention/value"))
    attend += torch_map.linear("attention/out", "proj")
    if reduced:
        attend += torch_map.conv2d("sr", "sr") + torch_map.layer_norm("norm", "norm")
    return [
        *torch_map.layer_norm("norm1", "norm1"),
        *torch_map.nest(attend, flax="attn", torch="attn"),
        *torch_map.layer_norm("norm2", "norm2"),
        *torch_map.linear("fc1", "mlp.fc1"),
        *torch_map.conv2d("dwconv", "mlp.dwconv.dwconv"),
        *torch_map.linear("fc2", "mlp.fc2"),
    ]


def hugging_face_leaves(net: Net) -> list[torch_map.Leaf]:
    """Table of `SegformerModel`, the encoder of SegFormer."""
    leaves = []
    for i, depth in enumerate(net.depths):
        patches = f"encoder.patch_embeddings.{i}"
        leaves += torch_map.conv2d(f"embed{i + 1}", f"{patches}.proj")
        leaves += torch_map.layer_norm(f"embed{i + 1}_norm", f"{patches}.layer_norm")
        for j in range(depth):
            attend = [
                *torch_map.linear("attention/query", "self.query"),
                *torch_map.linear("attention/key", "self.key"),
                *torch_map.linear("attention/value", "self.value"),
                *torch_map.linear("attention/out", "output.dense"),
            ]
            if REDUCTIONS[i] > 1:
                attend += torch_map.conv2d("sr", "self.sr")
                attend += torch_map.layer_norm("norm", "self.layer_norm")
            block = [
                *torch_map.layer_norm("norm1", "layer_norm_1"),
                *torch_map.nest(attend, flax="attn", torch="attention"),
                *torch_map.layer_norm("norm2", "layer_norm_2"),
                *torch_map.linear("fc1", "mlp.dense1"),
                *torch_map.conv2d("dwconv", "mlp.dwconv.dwconv"),
                *torch_map.linear("fc2", "mlp.dense2"),
            ]
            leaves += torch_map.nest(
                block, flax=f"block{i + 1}_{j}", torch=f"encoder.block.{i}.{j}"
            )
        leaves += torch_map.layer_norm(f"norm{i + 1}", f"encoder.layer_norm.{i}")
    return leaves


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A Mix Transformer.

    Attributes:
      size: "b0" to "b5".
      head: Width of a linear layer behind the mean, whose outputs are the features then:
        2048 in DeCUR's pretraining; 0: there is none.
      drop_path: Rate of the last block's stochastic depth, 0 for the first.
      shared_rate: Which block of stage 2 lends all of them its drop rate.
      remat: Whether blocks are computed again on the way back, for less memory.
    """

    size: limits.one_of(*DEPTHS) = "b2"
    head: limits.Classes = 0
    drop_path: limits.Rate = 0.1
    shared_rate: limits.one_of(0, 1) = 0
    remat: bool = False

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.head or WIDTHS.get(self.size, WIDE)[-1]

    def net(self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1) -> Net:
        """The network, see `core/backbone.py`."""
        del channels, groups  # Flax finds out; there are no batch norms.
        widths = WIDTHS.get(self.size, WIDE)
        depths = DEPTHS[self.size]
        return Net(
            widths,
            depths,
            self.drop_path,
            self.head,
            dtype,
            self.shared_rate,
            self.remat,
        )

    def beside(self) -> "Backbone":
        """CMX's second encoder, whose stage 2 has the rate of another block."""
        return dataclasses.replace(self, shared_rate=1)

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks that every reduced map has a pixel."""
        del channels
        if min(size) < LEAST_SIDE:
            raise errors.UserError(
                f"A Mix Transformer reads images of {LEAST_SIDE} pixels a side and "
                f"more, not {size[0]} x {size[1]}."
            )

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """Tables by kind of file; the first one is what is written."""
        net = self.net(channels)
        if self.head:
            leaves = torch_leaves(net)
            body = [leaf for leaf in leaves if leaf.path.split("/")[1] != "head"]
            return {
                "segformer": torch_table.Table(leaves),
                "segformer_without_head": torch_table.Table(body),
            }
        encoder = torch_table.Table(hugging_face_leaves(net))
        return {
            "segformer": torch_table.Table(torch_leaves(net), ("head.*",)),
            "hugging_face": encoder,
            "hugging_face_with_head": torch_table.join(
                encoder.nest(torch="segformer"),
                ignore=("decode_head.*", "classifier.*"),
            ),
        }

    def pair_tables(self, channels: int) -> tuple[torch_table.Table, torch_table.Table]:
        """Tables of both in an encoder of CMX: all keys of the second are `extra_`."""
        first = torch_leaves(dataclasses.replace(self, head=0).net(channels))
        second = [
            leaf._replace(torch_names=tuple(f"extra_{n}" for n in leaf.torch_names))
            for leaf in first
        ]
        return torch_table.Table(first), torch_table.Table(second)

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: truncated normals of 0.02, convolutions by fan-out."""
        del channels
        rules: dict[str, backbone.Rule] = {
            f"params/{name}/kernel": initializers.kaiming_normal_fan_out
            for name in ("embed?", "*/sr")
        }
        # Each of its channels goes to one output.
        rules["*/dwconv/kernel"] = functools.partial(
            initializers.kaiming_normal_fan_out, depthwise=True
        )
        rules["*/kernel"] = initializers.truncated_normal
        rules["*/bias"] = initializers.zeros
        return rules
