"""What CMX does between two encoders and behind each stage (arXiv 2203.04838).

The maps of two modalities rectify each other (FRM), which is what goes on to the next
stages, and are then mixed to one map (FFM), which is what a decoder reads. Nothing in
here depends on the kind of the encoders.
"""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.core import backbone
from mvjax.models.layers import conv
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import norm

Pair = tuple[jax.Array, jax.Array]
SHARE = 0.5  # Of the weights by channel and of those by pixel, as released.


class FRM(nn.Module):
    """Feature rectification: adds to each map what the other one's weights pass."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> Pair:
        """Maps two maps `[B, H, W, C]` to two of the same shape."""
        by_channel, by_pixel = self.weights(a, b)
        (channel_a, channel_b), (pixel_a, pixel_b) = by_channel, by_pixel
        from_a = SHARE * (channel_a + pixel_a) * a
        from_b = SHARE * (channel_b + pixel_b) * b
        return a + from_b, b + from_a

    def weights(self, a: jax.Array, b: jax.Array) -> tuple[Pair, Pair]:
        """Weights of both maps in [0, 1], `[B, 1, 1, C]` and `[B, H, W, 1]`."""
        channels = a.shape[-1]
        both = jnp.concatenate([a, b], axis=-1)
        pooled = [f(both, axis=(1, 2), keepdims=True) for f in (jnp.mean, jnp.max)]
        h = jnp.concatenate(pooled, axis=-1)  # [B, 1, 1, 4 C]
        h = nn.relu(self._linear(4 * channels, "channel_in")(h))
        by_channel = nn.sigmoid(self._linear(2 * channels, "channel_out")(h))
        h = nn.relu(self._linear(channels, "pixel_in")(both))
        by_pixel = nn.sigmoid(self._linear(2, "pixel_out")(h))
        return tuple(jnp.split(by_channel, 2, -1)), tuple(jnp.split(by_pixel, 2, -1))

    def _linear(self, width: int, name: str) -> linear.Linear:
        return linear.Linear(width, dtype=self.dtype, name=name)


class Exchange(nn.Module):
    """The first half of FFM: each modality attends to the other one's context.

    The context is a matrix between the channels of a head, so that the cost grows with
    the number of pixels, not with its square.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> Pair:
        """Maps two sequences `[B, N, C]` to two of the same shape."""
        channels = a.shape[-1]
        kept, asks, contexts = [], [], []
        for i, x in enumerate((a, b), 1):
            x = nn.relu(self._linear(2 * channels, f"project{i}")(x))
            stays, ask = jnp.split(x, 2, axis=-1)
            kept.append(stays)
            asks.append(self._by_head(ask))
            contexts.append(self._context(ask, f"kv{i}"))
        mixed = []
        for i, (x, context) in enumerate(zip((a, b), reversed(contexts))):
            h = jnp.einsum("bnhc,bhcd->bnhd", asks[i], context).reshape(x.shape)
            h = jnp.concatenate([kept[i], h], axis=-1)
            x = x + self._linear(channels, f"end{i + 1}")(h)
            mixed.append(norm.layer_norm(1e-5, self.dtype, f"norm{i + 1}")(x))
        return mixed[0], mixed[1]

    def _context(self, x: jax.Array, name: str) -> jax.Array:
        """What a sequence `[B, N, C]` says, `[B, heads, c, c]`."""
        key, value = jnp.split(
            self._linear(2 * x.shape[-1], name, use_bias=False)(x), 2, axis=-1
        )
        key, value = self._by_head(key), self._by_head(value)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        scores = jnp.einsum("bnhc,bnhd->bhcd", key, value, preferred_element_type=wide)
        return jax.nn.softmax(scores * key.shape[-1] ** -0.5, axis=-2).astype(x.dtype)

    def _by_head(self, x: jax.Array) -> jax.Array:
        """`[B, N, C]` as `[B, N, heads, c]`."""
        return x.reshape(*x.shape[:2], self.heads, -1)

    def _linear(self, width: int, name: str, **settings: Any) -> linear.Linear:
        return linear.Linear(width, dtype=self.dtype, name=name, **settings)


class Embed(nn.Module):
    """The second half of FFM: both maps become one, with a 3x3 neighbourhood."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, 2 C]` to `[B, H, W, C]`."""
        channels = x.shape[-1] // 2
        linears = functools.partial(linear.Linear, channels, dtype=self.dtype)
        norms = functools.partial(norm.BatchNorm, dtype=self.dtype)
        h = linears(name="in")(x)
        h = conv.Conv2D(channels, groups=channels, dtype=self.dtype, name="depthwise")(
            h
        )
        h = linears(name="out")(nn.relu(h))
        h = norms(name="norm_out")(h, train=train)
        residual = linears(use_bias=False, name="residual")(x)
        return norms(name="norm")(residual + h, train=train)


class FFM(nn.Module):
    """Feature fusion: an exchange between two maps, then one map of both."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array, *, train: bool) -> jax.Array:
        """Maps two maps `[B, H, W, C]` to one of the same shape."""
        shape = a.shape
        a, b = (x.reshape(shape[0], -1, shape[-1]) for x in (a, b))
        a, b = Exchange(self.heads, self.dtype, name="exchange")(a, b)
        both = jnp.concatenate([a, b], axis=-1).reshape(*shape[:-1], -1)
        return Embed(self.dtype, name="embed")(both, train=train)


class Fusion(nn.Module):
    """An FRM and an FFM behind each stage."""

    heads: Sequence[int]  # Of the FFM of each stage; they divide its channels.
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.frms = [FRM(self.dtype, name=f"frm{i}") for i in range(len(self.heads))]
        self.ffms = [
            FFM(heads, self.dtype, name=f"ffm{i}") for i, heads in enumerate(self.heads)
        ]

    def __call__(
        self, a: Sequence[jax.Array], b: Sequence[jax.Array], *, train: bool
    ) -> tuple[jax.Array, ...]:
        """Maps the maps of both modalities to one of each stage.

        Where rectified maps go on to a next stage, the other two methods are to be used.
        """
        pairs = [self.rectify(*pair, i) for i, pair in enumerate(zip(a, b))]
        return tuple(self.fuse(*x, i, train=train) for i, x in enumerate(pairs))

    def rectify(self, a: jax.Array, b: jax.Array, i: int) -> Pair:
        """The maps `[B, H, W, C]` of stage i, as they go on to the next one."""
        return self.frms[i](a, b)

    def fuse(self, a: jax.Array, b: jax.Array, i: int, *, train: bool) -> jax.Array:
        """One map of the two rectified ones of stage i, `[B, H, W, C]`."""
        return self.ffms[i](a, b, train=train)


def frm_leaves() -> list[torch_map.Leaf]:
    """Table of the released `FeatureRectifyModule`."""
    channel, pixel = "channel_weights.mlp", "spatial_weights.mlp"
    return [
        *torch_map.linear("channel_in", f"{channel}.0"),
        *torch_map.linear("channel_out", f"{channel}.2"),
        *torch_map.pointwise("pixel_in", f"{pixel}.0"),
        *torch_map.pointwise("pixel_out", f"{pixel}.2"),
    ]


def ffm_leaves() -> list[torch_map.Leaf]:
    """Table of the released `FeatureFusionModule`."""
    cross = []
    for i in (1, 2):
        cross += torch_map.linear(f"project{i}", f"channel_proj{i}")
        cross += torch_map.linear(f"kv{i}", f"cross_attn.kv{i}", bias=False)
        cross += torch_map.linear(f"end{i}", f"end_proj{i}")
        cross += torch_map.layer_norm(f"norm{i}", f"norm{i}")
    embed = [
        *torch_map.pointwise("residual", "residual", bias=False),
        *torch_map.pointwise("in", "channel_embed.0"),
        *torch_map.conv2d("depthwise", "channel_embed.1"),
        *torch_map.pointwise("out", "channel_embed.3"),
        *torch_map.batch_norm("norm_out", "channel_embed.4"),
        *torch_map.batch_norm("norm", "norm"),
    ]
    return [
        *torch_map.nest(cross, flax="exchange", torch="cross"),
        *torch_map.nest(embed, flax="embed", torch="channel_emb"),
    ]


def torch_leaves(stages: int) -> list[torch_map.Leaf]:
    """Table of a `Fusion` in the released encoders, `FRMs.0.*`, `FFMs.0.*`, ...."""
    leaves = []
    for i in range(stages):
        leaves += torch_map.nest(frm_leaves(), flax=f"frm{i}", torch=f"FRMs.{i}")
        leaves += torch_map.nest(ffm_leaves(), flax=f"ffm{i}", torch=f"FFMs.{i}")
    return leaves


def initial() -> Mapping[str, backbone.Rule]:
    """Rules of the initialiser: as those of a Mix Transformer."""
    pixelwise = ("pixel_in", "pixel_out", "embed/in", "embed/out", "embed/residual")
    return {
        "*/depthwise/kernel": functools.partial(
            initializers.kaiming_normal_fan_out, depthwise=True
        ),
        **{f"*/{n}/kernel": initializers.kaiming_normal_fan_out for n in pixelwise},
        "*/kernel": initializers.truncated_normal,
        "*/bias": initializers.zeros,
    }
