"""Swin Transformers (Liu et al., 2021, arXiv 2103.14030).

Four stages of pre-norm blocks. A block attends within windows of the map, with a learned bias
for each relative position; every second one moves the windows by half their side. Between
stages the four pixels of a square become one. Maps are padded with zeros, behind the norm,
to whole windows, and to whole squares; the zeros are read like all else, as published.

The published networks for classification and for segmentation, of which CMX's are copies,
differ in two things, see `Backbone.style`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import limits
from mvjax.models.layers import activations
from mvjax.models.layers import attention
from mvjax.models.layers import conv
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.models.layers import repeated
from mvjax.models.layers import windows

# Of the first stage; each next has twice as many.
FEATURES = {"t": 96, "s": 96, "b": 128}
DEPTHS = {"t": (2, 2, 6, 2), "s": (2, 2, 18, 2), "b": (2, 2, 18, 2)}
HEADS = {"t": (3, 6, 12, 24), "s": (3, 6, 12, 24), "b": (4, 8, 16, 32)}
PATCH = 4
MLP_RATIO = 4
_EPSILON = 1e-5
_HIDDEN = -100.0  # What a score loses whose pixels are not neighbours, as published.


class WindowAttention(nn.Module):
    """Attention of each window of a map to itself."""

    heads: int
    window: int
    always: bool  # Whether windows move along a side that has one window only.
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, shifted: jax.Array, seed: jax.Array | None = None
    ) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, C]`.

        Args:
          x: The map.
          shifted: Whether the windows are moved, `[]` bool.
          seed: Of the dropout of attention weights, see `layers/dropout.py`.
        """
        b, height, width, _ = x.shape
        x = windows.pad(x, self.window)
        size = x.shape[1:3]
        shift = [
            self.window // 2 * (self.always or side > self.window) for side in size
        ]
        back = jnp.roll(x, [-s for s in shift], axis=(1, 2))
        h = windows.split(jnp.where(shifted, back, x), self.window)
        where = jnp.where(shifted, windows.regions(size, shift, self.window), 0)
        apart = where[:, None, :, None] != where[:, None, None, :]
        bias = self._bias() + jnp.where(apart, _HIDDEN, 0)  # [number, heads, T, T]
        drop = dropout.make(self.dropout, seed, "drop")
        attend = attention.Attention(self.heads, dtype=self.dtype, name="attention")
        h = attend(h, bias=jnp.tile(bias, (b, 1, 1, 1)), drop=drop)
        x = windows.join(h, size)
        x = jnp.where(shifted, jnp.roll(x, shift, axis=(1, 2)), x)
        return x[:, :height, :width]

    def _bias(self) -> jax.Array:
        """What relative positions add to the scores, `[heads, T, T]`."""
        shape = ((2 * self.window - 1) ** 2, self.heads)
        table = self.param("positions", nn.initializers.normal(0.02), shape)
        return jnp.take(table.T, windows.relative_positions(self.window), axis=1)


class Block(nn.Module):
    """Window attention, then an MLP, each behind a norm and added to its input."""

    heads: int
    window: int
    always: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        shifted: jax.Array,
        seed: jax.Array | None = None,
        rate: jax.Array | float = 0,
    ) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, C]`.

        Args:
          x: The map.
          shifted: Whether the windows are moved, `[]` bool.
          seed: Of all that is dropped, `[2]` uint32; None: nothing is.
          rate: Of `DropPath`.
        """
        channels = x.shape[-1]
        h = norm.layer_norm(_EPSILON, self.dtype, "norm1")(x)
        settings = (self.heads, self.window, self.always, self.dropout, self.dtype)
        h = WindowAttention(*settings, name="attn")(h, shifted, seed)
        x = x + attention.DropPath(name="drop_attn")(h, seed, rate)
        h = norm.layer_norm(_EPSILON, self.dtype, "norm2")(x)
        h = linear.Linear(channels * MLP_RATIO, dtype=self.dtype, name="fc1")(h)
        h = activations.gelu(h)
        h = linear.Linear(channels, dtype=self.dtype, name="fc2")(h)
        return x + attention.DropPath(name="drop_mlp")(h, seed, rate)


class Merge(nn.Module):
    """Makes one pixel of twice the channels of each square of four."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H / 2, W / 2, 2 C]`, rounded up."""
        b, _, _, channels = x.shape
        x = windows.pad(x, 2)
        height, width = (side // 2 for side in x.shape[1:3])
        x = x.reshape(b, height, 2, width, 2, channels)
        # Of a square, the pixels stand column by column.
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(b, height, width, 4 * channels)
        x = norm.layer_norm(_EPSILON, self.dtype, "norm")(x)
        return linear.Linear(
            2 * channels, use_bias=False, dtype=self.dtype, name="reduction"
        )(x)


class Net(nn.Module):
    """Four stages; `pooled` is the mean over the last map."""

    features: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    segments: bool  # Whether it is the network for segmentation, see `Backbone`.
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = jnp.float32
    remat: bool = False  # Whether blocks keep their inputs alone for the way back.

    def setup(self) -> None:
        self.embedding = conv.Conv2D(
            self.features,
            kernel_size=(PATCH, PATCH),
            strides=(PATCH, PATCH),
            padding=((0, 0), (0, 0)),
            dtype=self.dtype,
            name="embed",
        )
        self.embedding_norm = norm.layer_norm(_EPSILON, self.dtype, "embed_norm")
        self.merges = [
            Merge(self.dtype, name=f"merge{i}") for i in range(1, len(self.depths))
        ]
        settings = (self.window, self.segments, self.dropout, self.dtype)
        self.blocks = [
            [Block(heads, *settings, name=f"block{i}_{j}") for j in range(depth)]
            for i, (depth, heads) in enumerate(zip(self.depths, self.heads))
        ]
        self.norms = [
            norm.layer_norm(_EPSILON, self.dtype, f"norm{i}")
            for i in normed_stages(self)
        ]

    def _drops(self, i: int) -> tuple[jax.Array, jax.Array]:
        """A seed and a rate of `DropPath` for each block of stage i."""
        seeds = dropout.seeds(self, self.depths[i])
        rates = np.linspace(0, self.drop_path, sum(self.depths))
        return seeds, jnp.asarray(np.split(rates, np.cumsum(self.depths))[i], "float32")

    def stage(self, x: jax.Array, i: int, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` of what is before stage i to its map, see `Staged`."""
        if i == 0:
            x = self.embedding_norm(self.embedding(windows.pad(x, PATCH)))
        else:
            x = self.merges[i - 1](x)
        drops = self._drops(i) if train and (self.drop_path or self.dropout) else ()
        shifted = jnp.arange(self.depths[i]) % 2 == 1
        return repeated.run(self.blocks[i], x, shifted, *drops, remat=self.remat)

    def leave(self, x: jax.Array, i: int) -> jax.Array:
        """The map of stage i behind its norm, if it has one."""
        # Those that have one are the last ones.
        return self.norms[i - len(self.depths)](x) if i in normed_stages(self) else x

    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        """Maps `[B, H, W, C]` to features; training needs the key "dropout"."""
        maps = []
        for i in range(len(self.depths)):
            x = self.stage(x, i, train=train)
            maps.append(self.leave(x, i))
        last = maps[-1]
        wide = jnp.promote_types(self.dtype, jnp.float32)
        pooled = jnp.mean(last, axis=(1, 2), dtype=wide)
        tokens = last.reshape(len(last), -1, last.shape[-1])
        return backbone.Features(pooled, tuple(maps), tokens)


def normed_stages(net: Net) -> range:
    """Stages with a norm behind their map: all of them, or the last."""
    return range(0 if net.segments else len(net.depths) - 1, len(net.depths))


@dataclasses.dataclass(frozen=True)
class _Names:
    """What a kind of file calls the parts of stage i, in `str.format`."""

    embed: str = "patch_embed.proj"
    embed_norm: str = "patch_embed.norm"
    merge: str = "layers.{before}.downsample"  # In front of stage i; before: i - 1.
    block: str = "layers.{i}.blocks.{j}"
    mlp: tuple[str, str] = ("mlp.fc1", "mlp.fc2")
    norm: str = "norm"


_PUBLISHED = _Names()
_SEGMENTATION = _Names(norm="norm{i}")
# CMX's two encoders in one file; the second one's names have a suffix.
_FIRST = _Names(merge="downsamples.{before}", norm="norm{i}")
_SECOND = _Names(
    embed="patch_embed_d.proj",
    embed_norm="patch_embed_d.norm",
    merge="downsamples_d.{before}",
    block="layers_d.{i}.blocks.{j}",
    norm="norm_d{i}",
)
_TIMM = _Names(merge="layers.{i}.downsample")
_TORCHVISION = _Names(
    embed="features.0.0",
    embed_norm="features.0.2",
    merge="features.{even}",
    block="features.{odd}.{j}",
    mlp=("mlp.0", "mlp.3"),
)
_HUGGING_FACE = _Names(
    embed="embeddings.patch_embeddings.projection",
    embed_norm="embeddings.norm",
    merge="encoder.layers.{before}.downsample",
    block="encoder.layers.{i}.blocks.{j}",
    norm="layernorm",
)
# Constants that old files hold beside the weights.
_CONSTANTS = ("*.relative_position_index", "*.attn_mask")


def _positions(torch: str) -> torch_map.Leaf:
    return torch_map.Leaf("params/attn/positions", (torch,), torch_map.KEEP)


def _block_leaves(names: _Names) -> list[torch_map.Leaf]:
    attend = attention.joint_leaves(qkv="attn.qkv", out="attn.proj")
    return [
        *torch_map.layer_norm("norm1", "norm1"),
        _positions("attn.relative_position_bias_table"),
        *torch_map.nest(attend, flax="attn/attention"),
        *torch_map.layer_norm("norm2", "norm2"),
        *torch_map.linear("fc1", names.mlp[0]),
        *torch_map.linear("fc2", names.mlp[1]),
    ]


def _hugging_face_block() -> list[torch_map.Leaf]:
    return [
        *torch_map.layer_norm("norm1", "layernorm_before"),
        _positions("attention.self.relative_position_bias_table"),
        *torch_map.linear("attn/attention/query", "attention.self.query"),
        *torch_map.linear("attn/attention/key", "attention.self.key"),
        *torch_map.linear("attn/attention/value", "attention.self.value"),
        *torch_map.linear("attn/attention/out", "attention.output.dense"),
        *torch_map.layer_norm("norm2", "layernorm_after"),
        *torch_map.linear("fc1", "intermediate.dense"),
        *torch_map.linear("fc2", "output.dense"),
    ]


def _leaves(
    net: Net, names: _Names, block: list[torch_map.Leaf], *, norms: bool
) -> list[torch_map.Leaf]:
    """The table of a kind of file, with or without the norms behind stages."""
    leaves = torch_map.conv2d("embed", names.embed)
    leaves += torch_map.layer_norm("embed_norm", names.embed_norm)
    for i, depth in enumerate(net.depths):
        numbers = dict(i=i, before=i - 1, even=2 * i, odd=2 * i + 1)
        if i > 0:
            merge = torch_map.linear("reduction", "reduction", bias=False)
            merge += torch_map.layer_norm("norm", "norm")
            name = names.merge.format(**numbers)
            leaves += torch_map.nest(merge, flax=f"merge{i}", torch=name)
        for j in range(depth):
            name = names.block.format(j=j, **numbers)
            leaves += torch_map.nest(block, flax=f"block{i}_{j}", torch=name)
    for i in normed_stages(net) if norms else ():
        leaves += torch_map.layer_norm(f"norm{i}", names.norm.format(i=i))
    return leaves


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A Swin Transformer.

    Attributes:
      size: "t", "s" or "b".
      window: Side of the windows; 7, or 12 in some files of "b".
      style: "classification": the last map alone has a norm, and along a side of the map
        that one window covers, none moves. "segmentation": each stage's map leaves through
        a norm of its own, and windows always move, as CMX has it.
      dropout: Rate at which weights of attention are dropped; 0.3 in CMX.
      drop_path: Rate of the last block's stochastic depth, 0 for the first.
      remat: Whether blocks are computed again on the way back, for less memory.
    """

    AVERAGES: ClassVar[bool] = True

    size: limits.one_of(*DEPTHS) = "s"
    window: limits.one_of(*range(2, 33)) = 7
    style: limits.one_of("classification", "segmentation") = "classification"
    dropout: limits.Rate = 0.0
    drop_path: limits.Rate = 0.1
    remat: bool = False

    @property
    def width(self) -> int:
        """Length of the features."""
        return FEATURES[self.size] * 2 ** (len(DEPTHS[self.size]) - 1)

    def net(self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1) -> Net:
        """The network, see `core/backbone.py`."""
        del channels, groups  # Flax finds out; there are no batch norms.
        return Net(
            FEATURES[self.size],
            DEPTHS[self.size],
            HEADS[self.size],
            self.window,
            self.style == "segmentation",
            self.dropout,
            self.drop_path,
            dtype,
            self.remat,
        )

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks nothing: images of any size are padded."""

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """Tables by kind of file; the first one is what is written.

        A network for segmentation reads files of classification but for their norm, as
        published: its own norms start afresh.
        """
        net = self.net(channels)
        whole = not net.segments  # Files of classification have all that there is.
        ignore = _CONSTANTS if whole else (*_CONSTANTS, "norm.*")
        of_kind = {
            name: torch_table.Table(
                _leaves(net, names, _block_leaves(names), norms=whole),
                ("head.*", *ignore),
            )
            for name, names in (
                ("swin", _PUBLISHED),
                ("timm", _TIMM),
                ("torchvision", _TORCHVISION),
            )
        }
        encoder = torch_table.Table(
            _leaves(net, _HUGGING_FACE, _hugging_face_block(), norms=whole),
            (*_CONSTANTS, *(() if whole else ("layernorm.*",))),
        )
        of_kind["hugging_face"] = encoder
        of_kind["hugging_face_with_head"] = torch_table.join(
            encoder.nest(torch="swin"), ignore=("classifier.*",)
        )
        if whole:
            return of_kind
        leaves = _leaves(net, _SEGMENTATION, _block_leaves(_SEGMENTATION), norms=True)
        return {"swin_segmentation": torch_table.Table(leaves, _CONSTANTS)} | of_kind

    def pair_tables(self, channels: int) -> tuple[torch_table.Table, torch_table.Table]:
        """Tables of both in an encoder of CMX."""
        net = self.net(channels)
        first, second = (
            torch_table.Table(
                _leaves(net, names, _block_leaves(names), norms=True), _CONSTANTS
            )
            for names in (_FIRST, _SECOND)
        )
        return first, second

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: truncated normals of 0.02, biases 0.

        The embedding keeps PyTorch's default.
        """
        del channels
        return {
            "params/merge*/kernel": initializers.truncated_normal,
            "params/block*/kernel": initializers.truncated_normal,
            "params/block*/positions": initializers.truncated_normal,
            "params/block*/bias": initializers.zeros,
        }
