"""Networks of MRDD (CVPR 2024, arXiv 2403.10897): consistent and view-specific codes.

Feature maps are flattened in C, H, W order, as the released checkpoints need it. Their
`fc_z` expects 512 numbers a view whatever the settings; here the width is computed.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models import conv_autoencoder
from mvjax.models.layers import linear


def flatten_chw(h: jax.Array) -> jax.Array:
    """Flattens `[B, H, W, C]` to `[B, C*H*W]` in PyTorch's order."""
    return jnp.transpose(h, (0, 3, 1, 2)).reshape(h.shape[0], -1)


def unflatten_chw(h: jax.Array, block: int, channels: int) -> jax.Array:
    """Inverse of `flatten_chw` for square maps: `[B, C*b*b]` to `[B, b, b, C]`."""
    return jnp.transpose(h.reshape(-1, channels, block, block), (0, 2, 3, 1))


def _shape(net: Any) -> dict[str, Any]:
    """The settings of a network that shape its encoder, its decoder and their tables."""
    names = ("hidden", "ch_mult", "num_res_blocks", "norm")
    return {name: getattr(net, name) for name in names}


class ConsistencyNet(nn.Module):
    """Stage 1: one encoder for all views, one joint code, one decoder for each view.

    Components: `encoder`, `fc_z`, `to_decoder_input`, `decoders_0` ... `decoders_V-1`.
    """

    views: int
    image_size: int
    channels: int
    hidden: int = 16
    c_dim: int = 10
    latent_channels: int = 8
    ch_mult: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 3
    categories: int = 0  # 0: Gaussian code; K: c_dim categorical variables of K values.
    norm: str = "batch"
    dtype: Any = jnp.float32

    def setup(self):
        fields = _shape(self) | {"dtype": self.dtype}
        self.encoder = conv_autoencoder.Encoder(
            z_channels=self.latent_channels, groups=self.views, **fields
        )
        self.decoders = [
            conv_autoencoder.Decoder(out_channels=self.channels, **fields)
            for _ in range(self.views)
        ]
        width = self.c_dim * (self.categories or 2)
        self.fc_z = linear.Linear(width, dtype=self.dtype)
        self.to_decoder_input = linear.Linear(
            self.latent_channels * self.block_size**2, dtype=self.dtype
        )

    @property
    def block_size(self) -> int:
        """Side of the smallest feature map, in pixels."""
        return self.image_size >> (len(self.ch_mult) - 1)

    def encode(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[B, V, S, S, C]` to the distribution of the code.

        Returns:
          `[B, 2, c_dim]` mean and log variance, or logits `[B, c_dim, K]`; float32.
        """
        batch, views = images.shape[:2]
        h = self.encoder(images.reshape(-1, *images.shape[2:]), train=train)
        h = self.fc_z(flatten_chw(h).reshape(batch, views, -1).reshape(batch, -1))
        h = h.astype(jnp.float32)
        if self.categories:
            return h.reshape(batch, self.c_dim, self.categories)
        return h.reshape(batch, 2, self.c_dim)

    def decode(self, code: jax.Array, *, train: bool) -> list[jax.Array]:
        """Maps a code `[B, D]` to V images `[B, S, S, C]`, float32."""
        h = self.to_decoder_input(code)
        h = unflatten_chw(h, self.block_size, self.latent_channels)
        return [d(h, train=train).astype(jnp.float32) for d in self.decoders]

    def __call__(self, images: jax.Array, *, train: bool) -> list[jax.Array]:
        """Redraws all views from the code's mean; used to make the parameters."""
        h = self.encode(images, train=train)
        code = h.reshape(h.shape[0], -1) if self.categories else h[:, 0]
        return self.decode(code, train=train)


class _Specific(nn.Module):
    """Sizes that the encoder and the decoder of one view have in common."""

    hidden: int
    latent_channels: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    norm: str = "batch"
    dtype: Any = jnp.float32


class SpecificEncoder(_Specific, kw_only=True):
    """Images `[B, S, S, C]` of one view to `[B, 2, v_dim]`, mean and log variance."""

    v_dim: int

    def setup(self):
        self.encoder = conv_autoencoder.Encoder(
            z_channels=self.latent_channels, **_shape(self), dtype=self.dtype
        )
        self.to_dist = linear.Linear(2 * self.v_dim, dtype=self.dtype)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        h = self.to_dist(flatten_chw(self.encoder(x, train=train)))
        return h.astype(jnp.float32).reshape(-1, 2, self.v_dim)


class SpecificDecoder(_Specific, kw_only=True):
    """Codes `[B, D]`, view-specific part first, to images `[B, S, S, C]`, float32."""

    image_size: int
    channels: int

    def setup(self):
        self.decoder = conv_autoencoder.Decoder(
            out_channels=self.channels, **_shape(self), dtype=self.dtype
        )
        self.block_size = self.image_size >> (len(self.ch_mult) - 1)
        self.to_decoder_input = linear.Linear(
            self.latent_channels * self.block_size**2, dtype=self.dtype
        )

    def __call__(self, code: jax.Array, *, train: bool) -> jax.Array:
        h = self.to_decoder_input(code)
        h = unflatten_chw(h, self.block_size, self.latent_channels)
        return self.decoder(h, train=train).astype(jnp.float32)


def consistency_leaves(net: ConsistencyNet) -> list[torch_map.Leaf]:
    """Table of the released `ConsistencyAE` state dict."""
    # A detached copy's setup-built parts cannot be read, so they are built again.
    encoder = conv_autoencoder.Encoder(**_shape(net))
    decoder = conv_autoencoder.Decoder(**_shape(net))
    leaves = torch_map.nest(
        conv_autoencoder.encoder_leaves(encoder, net.image_size),
        flax="encoder",
        torch="_encoder",
    )
    for v in range(net.views):
        leaves += torch_map.nest(
            conv_autoencoder.decoder_leaves(decoder, net.image_size),
            flax=f"decoders_{v}",
            torch=f"decoders.{v}",
        )
    leaves += torch_map.linear("fc_z", "fc_z")
    return leaves + torch_map.linear("to_decoder_input", "to_decoder_input")


def specific_encoder_leaves(net: SpecificEncoder, size: int) -> list[torch_map.Leaf]:
    """Table of the encoder half of the released `ViewSpecificAE`."""
    encoder = conv_autoencoder.Encoder(**_shape(net))
    return torch_map.nest(
        conv_autoencoder.encoder_leaves(encoder, size),
        flax="encoder",
        torch="_encoder",
    ) + torch_map.linear("to_dist", "to_dist_layer")


def specific_decoder_leaves(net: SpecificDecoder) -> list[torch_map.Leaf]:
    """Table of the decoder half of the released `ViewSpecificAE`."""
    decoder = conv_autoencoder.Decoder(**_shape(net))
    return torch_map.nest(
        conv_autoencoder.decoder_leaves(decoder, net.image_size),
        flax="decoder",
        torch="_decoder",
    ) + torch_map.linear("to_decoder_input", "to_decoder_input")
