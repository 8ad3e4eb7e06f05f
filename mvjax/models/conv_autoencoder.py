"""Convolutional ResNet encoder and its mirror decoder, the backbone of MRDD.

MRDD (Ke et al., CVPR 2024, arXiv 2403.10897) uses the blocks of latent diffusion's
autoencoder with batch norm instead of group norm. As in the released code: norm epsilon
1e-6, PyTorch's default initialisation everywhere (its option `init_method` has no
effect), no output activation.
"""

from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import conv
from mvjax.models.layers import linear
from mvjax.models.layers import norm as norm_lib

NORM_EPSILON = 1e-6


def timestep_embedding(t: jax.Array, width: int) -> jax.Array:
    """Sinusoidal embedding of `[B]` positions, `[B, width]`: sines, then cosines."""
    half = width // 2
    frequency = jnp.exp(-jnp.log(10000.0) * jnp.arange(half) / (half - 1))
    angle = t.astype(jnp.float32)[:, None] * frequency  # [B, half]
    embedding = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=1)
    return jnp.pad(embedding, ((0, 0), (0, width % 2)))


def _identity(x: jax.Array) -> jax.Array:
    return x


class Norm(nn.Module):
    """Batch norm or group norm of 32 groups, by name, then an activation."""

    kind: str = "batch"  # "batch" or "group".
    groups: int = 1  # Interleaved groups of rows, see `norm.BatchNorm`.
    activation: Callable[[jax.Array], jax.Array] = nn.swish
    dtype: Any = jnp.float32

    def setup(self):
        if self.kind == "batch":
            self.norm = norm_lib.BatchNorm(
                epsilon=NORM_EPSILON,
                groups=self.groups,
                activation=self.activation,
                dtype=self.dtype,
            )
        else:
            self.norm = norm_lib.GroupNorm(epsilon=NORM_EPSILON, dtype=self.dtype)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.kind == "batch":
            return self.norm(x, train=train)
        return self.activation(self.norm(x))


class ResBlock(nn.Module):
    """Two 3x3 convolutions, each behind norm and swish, added to a shortcut."""

    features: int
    norm: str = "batch"
    groups: int = 1
    conv_shortcut: bool = False  # A 3x3 shortcut where the width changes, not 1x1.
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, temb: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Maps `[B, H, W, C]` (and a time-step embedding `[B, T]`) to features."""

        def normalise(h: jax.Array, name: str) -> jax.Array:
            layer = Norm(self.norm, self.groups, dtype=self.dtype, name=name)
            return layer(h, train=train)

        h = normalise(x, "norm1")
        h = conv.Conv2D(self.features, dtype=self.dtype, name="conv1")(h)
        if temb is not None:
            projection = linear.Linear(
                self.features, dtype=self.dtype, name="temb_proj"
            )(nn.swish(temb))
            h = h + projection[:, None, None, :]
        h = normalise(h, "norm2")
        if self.dropout:
            h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = conv.Conv2D(self.features, dtype=self.dtype, name="conv2")(h)
        if x.shape[-1] != self.features:
            x = self._shortcut(x)
        return x + h

    def _shortcut(self, x: jax.Array) -> jax.Array:
        if self.conv_shortcut:
            return conv.Conv2D(self.features, dtype=self.dtype, name="conv_shortcut")(x)
        return conv.Conv2D(
            self.features,
            kernel_size=(1, 1),
            padding=((0, 0), (0, 0)),
            dtype=self.dtype,
            name="nin_shortcut",
        )(x)


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions, residual."""

    norm: str = "batch"
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, C]` to the same shape."""
        batch, height, width, channels = x.shape

        def project(h: jax.Array, name: str) -> jax.Array:
            return conv.Conv2D(
                channels,
                kernel_size=(1, 1),
                padding=((0, 0), (0, 0)),
                dtype=self.dtype,
                name=name,
            )(h)

        layer = Norm(self.norm, self.groups, _identity, self.dtype, name="norm")
        h = layer(x, train=train)
        q, k, v = (
            project(h, name).reshape(batch, height * width, channels)
            for name in ("q", "k", "v")
        )
        logits = jnp.einsum("bic,bjc->bij", q, k) * channels**-0.5
        weights = nn.softmax(logits.astype(jnp.float32)).astype(self.dtype)
        h = jnp.einsum("bij,bjc->bic", weights, v).reshape(x.shape)
        return x + project(h, "proj_out")


class Downsample(nn.Module):
    """Halves (stride 2) or quarters (stride 4) the image by convolution or mean."""

    with_conv: bool = True
    stride: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, C]`."""
        if not self.with_conv:
            window = (self.stride, self.stride)
            return nn.avg_pool(x, window, strides=window)
        for name in ("conv", "conv_2")[: self.stride // 2]:
            x = conv.Conv2D(
                x.shape[-1],
                strides=(2, 2),
                padding=((0, 1), (0, 1)),  # Right and bottom only, as released.
                dtype=self.dtype,
                name=name,
            )(x)
        return x


class Upsample(nn.Module):
    """Nearest-neighbour enlargement, then an optional 3x3 convolution."""

    with_conv: bool = True
    stride: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H*stride, W*stride, C]`."""
        b, h, w, c = x.shape
        s = self.stride
        if self.with_conv and s == 2:
            return conv.Conv2D(c, upsample=True, dtype=self.dtype, name="conv")(x)
        x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, s, w, s, c))
        x = x.reshape(b, h * s, w * s, c)
        if self.with_conv:
            x = conv.Conv2D(c, dtype=self.dtype, name="conv")(x)
        return x


class _Stack(nn.Module):
    """What encoder and decoder share: their fields and block constructors."""

    hidden: int  # Width of the first level.
    ch_mult: tuple[int, ...] = (1, 2, 4)  # Width of level i is hidden * ch_mult[i].
    num_res_blocks: int = 3
    attention: bool = False  # In the middle, and at `attn_resolutions`.
    attn_resolutions: tuple[int, ...] = ()  # Heights of the feature map.
    resamp_with_conv: bool = True
    dropout: float = 0.0
    norm: str = "batch"
    groups: int = 1  # Interleaved groups of rows, see `norm.BatchNorm`.
    dtype: Any = jnp.float32

    def _res_block(
        self, h: jax.Array, level: int, name: str, *, train: bool
    ) -> jax.Array:
        return ResBlock(
            self.hidden * self.ch_mult[level],
            norm=self.norm,
            groups=self.groups,
            dropout=self.dropout,
            dtype=self.dtype,
            name=name,
        )(h, train=train)

    def _attn_block(self, h: jax.Array, name: str, *, train: bool) -> jax.Array:
        layer = AttnBlock(self.norm, self.groups, self.dtype, name=name)
        return layer(h, train=train)

    def _level(
        self, h: jax.Array, level: int, blocks: int, prefix: str, *, train: bool
    ) -> jax.Array:
        for j in range(blocks):
            h = self._res_block(h, level, f"{prefix}_{level}_block_{j}", train=train)
            if self.attention and h.shape[1] in self.attn_resolutions:
                h = self._attn_block(h, f"{prefix}_{level}_attn_{j}", train=train)
        return h

    def _middle(self, h: jax.Array, *, train: bool) -> jax.Array:
        last = len(self.ch_mult) - 1
        h = self._res_block(h, last, "mid_block_1", train=train)
        if self.attention:
            h = self._attn_block(h, "mid_attn_1", train=train)
        return self._res_block(h, last, "mid_block_2", train=train)

    def _head(self, h: jax.Array, features: int, *, train: bool) -> jax.Array:
        layer = Norm(self.norm, self.groups, dtype=self.dtype, name="norm_out")
        h = layer(h, train=train)
        return conv.Conv2D(features, dtype=self.dtype, name="conv_out")(h)


class Encoder(_Stack):
    """Images `[B, S, S, C]` to a feature map `[B, b, b, z]`, b = S / 2^(levels - 1)."""

    z_channels: int = 8
    double_z: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        h = conv.Conv2D(self.hidden, dtype=self.dtype, name="conv_in")(x)
        for i in range(len(self.ch_mult)):
            h = self._level(h, i, self.num_res_blocks, "down", train=train)
            if i < len(self.ch_mult) - 1:
                h = Downsample(
                    self.resamp_with_conv, dtype=self.dtype, name=f"down_{i}_downsample"
                )(h)
        h = self._middle(h, train=train)
        return self._head(h, self.z_channels * (1 + self.double_z), train=train)


class Decoder(_Stack):
    """Feature maps `[B, b, b, z]` to images `[B, S, S, out_channels]`, unbounded.

    Level 0 is the one of full resolution and runs last, so checkpoint entry `up.0` is
    the last level.
    """

    out_channels: int = 1
    give_pre_end: bool = False  # Return the features in front of norm and convolution.

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        width = self.hidden * self.ch_mult[-1]
        h = conv.Conv2D(width, dtype=self.dtype, name="conv_in")(z)
        h = self._middle(h, train=train)
        for i in reversed(range(len(self.ch_mult))):
            h = self._level(h, i, self.num_res_blocks + 1, "up", train=train)
            if i:
                h = Upsample(
                    self.resamp_with_conv, dtype=self.dtype, name=f"up_{i}_upsample"
                )(h)
        return h if self.give_pre_end else self._head(h, self.out_channels, train=train)


def _norm_leaves(kind: str, flax: str, torch: str) -> list[torch_map.Leaf]:
    leaves = torch_map.batch_norm if kind == "batch" else torch_map.group_norm
    return leaves(f"{flax}/norm", torch)


def res_block_leaves(
    flax: str,
    torch: str,
    *,
    norm: str = "batch",
    shortcut: str = "",
    temb: bool = False,
) -> list[torch_map.Leaf]:
    """Table of one `ResBlock`.

    Args:
      flax: Path of the module.
      torch: Key prefix of the block.
      norm: `"batch"` or `"group"`.
      shortcut: `""`, `"nin_shortcut"` or `"conv_shortcut"`.
      temb: Whether the block reads a time-step embedding.
    """
    leaves = []
    for j in (1, 2):
        leaves += _norm_leaves(norm, f"{flax}/norm{j}", f"{torch}.norm{j}")
        leaves += torch_map.conv2d(f"{flax}/conv{j}", f"{torch}.conv{j}")
    if shortcut:
        leaves += torch_map.conv2d(f"{flax}/{shortcut}", f"{torch}.{shortcut}")
    if temb:
        leaves += torch_map.linear(f"{flax}/temb_proj", f"{torch}.temb_proj")
    return leaves


def attn_block_leaves(
    flax: str, torch: str, *, norm: str = "batch"
) -> list[torch_map.Leaf]:
    """Table of one `AttnBlock`."""
    leaves = _norm_leaves(norm, f"{flax}/norm", f"{torch}.norm")
    for name in ("q", "k", "v", "proj_out"):
        leaves += torch_map.conv2d(f"{flax}/{name}", f"{torch}.{name}")
    return leaves


def _middle_leaves(stack: _Stack) -> list[torch_map.Leaf]:
    leaves = []
    for j in (1, 2):
        leaves += res_block_leaves(f"mid_block_{j}", f"mid.block_{j}", norm=stack.norm)
    if stack.attention:
        leaves += attn_block_leaves("mid_attn_1", "mid.attn_1", norm=stack.norm)
    return leaves


def _level_leaves(
    stack: _Stack, prefix: str, level: int, widths: Sequence[int], resolution: int
) -> list[torch_map.Leaf]:
    """Table of one level; block j maps `widths[j]` to `widths[j + 1]` channels."""
    leaves = []
    for j in range(len(widths) - 1):
        shortcut = "nin_shortcut" if widths[j] != widths[j + 1] else ""
        leaves += res_block_leaves(
            f"{prefix}_{level}_block_{j}",
            f"{prefix}.{level}.block.{j}",
            norm=stack.norm,
            shortcut=shortcut,
        )
        if stack.attention and resolution in stack.attn_resolutions:
            leaves += attn_block_leaves(
                f"{prefix}_{level}_attn_{j}",
                f"{prefix}.{level}.attn.{j}",
                norm=stack.norm,
            )
    return leaves


def encoder_leaves(encoder: Encoder, size: int) -> list[torch_map.Leaf]:
    """Table of the released `Encoder` for images of `size` pixels."""
    leaves = torch_map.conv2d("conv_in", "conv_in")
    width = encoder.hidden
    for i, factor in enumerate(encoder.ch_mult):
        target = encoder.hidden * factor
        widths = [width] + [target] * encoder.num_res_blocks
        leaves += _level_leaves(encoder, "down", i, widths, size >> i)
        if i < len(encoder.ch_mult) - 1 and encoder.resamp_with_conv:
            leaves += torch_map.conv2d(
                f"down_{i}_downsample/conv", f"down.{i}.downsample.conv"
            )
        width = target
    leaves += _middle_leaves(encoder)
    leaves += _norm_leaves(encoder.norm, "norm_out", "norm_out")
    return leaves + torch_map.conv2d("conv_out", "conv_out")


def decoder_leaves(decoder: Decoder, size: int) -> list[torch_map.Leaf]:
    """Table of the released `Decoder` for images of `size` pixels."""
    leaves = torch_map.conv2d("conv_in", "conv_in") + _middle_leaves(decoder)
    width = decoder.hidden * decoder.ch_mult[-1]
    for i in reversed(range(len(decoder.ch_mult))):
        target = decoder.hidden * decoder.ch_mult[i]
        widths = [width] + [target] * (decoder.num_res_blocks + 1)
        leaves += _level_leaves(decoder, "up", i, widths, size >> i)
        if i and decoder.resamp_with_conv:
            leaves += torch_map.conv2d(f"up_{i}_upsample/conv", f"up.{i}.upsample.conv")
        width = target
    if not decoder.give_pre_end:
        leaves += _norm_leaves(decoder.norm, "norm_out", "norm_out")
        leaves += torch_map.conv2d("conv_out", "conv_out")
    return leaves
