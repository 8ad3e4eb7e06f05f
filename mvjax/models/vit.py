"""Vision transformers: timm's ViT, and the visual tower of CLIP.

Dosovitskiy et al., 2021 (arXiv 2010.11929); Radford et al., 2021 (arXiv 2103.00020). Both
are pre-norm blocks behind a patch embedding with a class token and learned positions. CLIP
adds a norm in front of the blocks, has no bias in the patches and ends in a projection.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import errors
from mvjax.core import limits
from mvjax.models.layers import activations
from mvjax.models.layers import attention
from mvjax.models.layers import conv
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.models.layers import repeated


def quick_gelu(x: jax.Array) -> jax.Array:
    """x sigmoid(1.702 x), the activation of OpenAI's CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


# What belongs to CLIP's other tower.
OPEN_CLIP_TEXT = (
    "transformer.*",
    "token_embedding.*",
    "positional_embedding",
    "ln_final.*",
    "text_projection",
    "logit_scale",
    "input_resolution",  # Numbers that OpenAI's files have beside the weights.
    "context_length",
    "vocab_size",
)
HUGGING_FACE_TEXT = (
    "text_model.*",
    "text_projection.*",
    "logit_scale",
    "*.position_ids",
)

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": activations.gelu,
    "quick_gelu": quick_gelu,
}


class Block(nn.Module):
    """Attention and a two-layer MLP, each behind a layer norm and added to its input."""

    heads: int
    hidden: int
    epsilon: float = 1e-6
    activation: str = "gelu"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens `[B, N, D]` to `[B, N, D]`."""
        h = norm.layer_norm(self.epsilon, self.dtype, "norm1")(x)
        x = x + attention.Attention(self.heads, dtype=self.dtype, name="attention")(h)
        h = norm.layer_norm(self.epsilon, self.dtype, "norm2")(x)
        h = linear.Linear(self.hidden, dtype=self.dtype, name="fc1")(h)
        h = ACTIVATIONS[self.activation](h)
        return x + linear.Linear(x.shape[-1], dtype=self.dtype, name="fc2")(h)


class Net(nn.Module):
    """Patches, class token, positions, blocks; see `Backbone` for what is set."""

    patch: int
    features: int
    layers: int
    heads: int
    hidden: int
    epsilon: float
    activation: str
    patch_bias: bool
    pre_norm: bool  # A norm in front of the blocks.
    projection: int  # Width of a last bias-free layer; 0: there is none.
    dtype: Any = jnp.float32
    remat: bool = False  # Whether blocks keep their inputs alone for the way back.

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> backbone.Features:
        """Maps `[B, H, W, C]` to features; `pooled` is the class token."""
        del train  # Nothing is dropped and no statistics are kept.
        grid = conv.Conv2D(
            self.features,
            kernel_size=(self.patch, self.patch),
            strides=(self.patch, self.patch),
            padding=((0, 0), (0, 0)),
            use_bias=self.patch_bias,
            dtype=self.dtype,
            name="patches",
        )(x)
        b, height, width, _ = grid.shape
        start = nn.initializers.normal(0.02)
        token = self.param("class_token", start, (self.features,))
        shape = (1 + height * width, self.features)
        positions = self.param("positions", start, shape)
        first = jnp.broadcast_to(token.astype(self.dtype), (b, 1, self.features))
        h = jnp.concatenate([first, grid.reshape(b, -1, self.features)], axis=1)
        h = h + positions.astype(self.dtype)
        if self.pre_norm:
            h = norm.layer_norm(self.epsilon, self.dtype, "pre_norm")(h)
        settings = (self.heads, self.hidden, self.epsilon, self.activation, self.dtype)
        blocks = [Block(*settings, name=f"block{i}") for i in range(self.layers)]
        h = repeated.run(blocks, h, remat=self.remat)
        tokens = norm.layer_norm(self.epsilon, self.dtype, "norm")(h)
        pooled = tokens[:, 0]
        if self.projection:
            pooled = linear.Linear(
                self.projection, use_bias=False, dtype=self.dtype, name="projection"
            )(pooled)
        grid = tokens[:, 1:].reshape(b, height, width, self.features)
        return backbone.Features(pooled.astype(jnp.float32), (grid,), tokens)


_TOKEN = torch_map.Layout(  # (1, 1, D) <-> (D,).
    "token", lambda array: array.reshape(-1), lambda array: array.reshape(1, 1, -1)
)
_POSITIONS = torch_map.Layout(  # (1, N, D) <-> (N, D).
    "positions", lambda array: array[0], lambda array: array[None]
)


def _leaf(name: str, key: str, layout: torch_map.Layout) -> torch_map.Leaf:
    return torch_map.Leaf(f"params/{name}", (key,), layout)


def timm_leaves(net: Net) -> list[torch_map.Leaf]:
    """Table of timm's `VisionTransformer` without its head."""
    leaves = [
        _leaf("class_token", "cls_token", _TOKEN),
        _leaf("positions", "pos_embed", _POSITIONS),
        *torch_map.conv2d("patches", "patch_embed.proj"),
    ]
    for i in range(net.layers):
        block = [
            *torch_map.layer_norm("norm1", "norm1"),
            *torch_map.nest(attention.joint_leaves(), flax="attention", torch="attn"),
            *torch_map.layer_norm("norm2", "norm2"),
            *torch_map.linear("fc1", "mlp.fc1"),
            *torch_map.linear("fc2", "mlp.fc2"),
        ]
        leaves += torch_map.nest(block, flax=f"block{i}", torch=f"blocks.{i}")
    return leaves + torch_map.layer_norm("norm", "norm")


def open_clip_leaves(net: Net) -> list[torch_map.Leaf]:
    """Table of the visual tower of open_clip and of OpenAI's CLIP."""
    leaves = [
        _leaf("class_token", "class_embedding", torch_map.KEEP),
        _leaf("positions", "positional_embedding", torch_map.KEEP),
        *torch_map.conv2d("patches", "conv1", bias=False),
        *torch_map.layer_norm("pre_norm", "ln_pre"),
    ]
    for i in range(net.layers):
        names = ("query", "key", "value")
        joint = [
            _leaf(
                f"attention/{name}/{kind}", f"attn.in_proj_{theirs}", layout
            )._replace(piece=(part, len(names)))
            for kind, theirs, layout in (
                ("kernel", "weight", torch_map.LINEAR),
                ("bias", "bias", torch_map.KEEP),
            )
            for part, name in enumerate(names)
        ]
        block = [
            *torch_map.layer_norm("norm1", "ln_1"),
            *joint,
            *torch_map.linear("attention/out", "attn.out_proj"),
            *torch_map.layer_norm("norm2", "ln_2"),
            *torch_map.linear("fc1", "mlp.c_fc"),
            *torch_map.linear("fc2", "mlp.c_proj"),
        ]
        leaves += torch_map.nest(
            block, flax=f"block{i}", torch=f"transformer.resblocks.{i}"
        )
    leaves += torch_map.layer_norm("norm", "ln_post")
    # It stands on the right of the features, unlike a linear layer's.
    return [*leaves, _leaf("projection/kernel", "proj", torch_map.KEEP)]


def hugging_face_leaves(net: Net) -> list[torch_map.Leaf]:
    """Table of `ViTModel`, without its pooler."""
    leaves = [
        _leaf("class_token", "embeddings.cls_token", _TOKEN),
        _leaf("positions", "embeddings.position_embeddings", _POSITIONS),
        *torch_map.conv2d("patches", "embeddings.patch_embeddings.projection"),
    ]
    for i in range(net.layers):
        block = [
            *torch_map.layer_norm("norm1", "layernorm_before"),
            *torch_map.linear("attention/query", "attention.attention.query"),
            *torch_map.linear("attention/key", "attention.attention.key"),
            *torch_map.linear("attention/value", "attention.attention.value"),
            *torch_map.linear("attention/out", "attention.output.dense"),
            *torch_map.layer_norm("norm2", "layernorm_after"),
            *torch_map.linear("fc1", "intermediate.dense"),
            *torch_map.linear("fc2", "output.dense"),
        ]
        leaves += torch_map.nest(block, flax=f"block{i}", torch=f"encoder.layer.{i}")
    return leaves + torch_map.layer_norm("norm", "layernorm")


def hugging_face_clip_leaves(net: Net) -> list[torch_map.Leaf]:
    """Table of `CLIPVisionModelWithProjection`, which is also part of `CLIPModel`."""
    leaves = [
        _leaf("class_token", "embeddings.class_embedding", torch_map.KEEP),
        _leaf("positions", "embeddings.position_embedding.weight", torch_map.KEEP),
        *torch_map.conv2d("patches", "embeddings.patch_embedding", bias=False),
        *torch_map.layer_norm("pre_norm", "pre_layrnorm"),  # As it is spelled there.
    ]
    for i in range(net.layers):
        block = [
            *torch_map.layer_norm("norm1", "layer_norm1"),
            *torch_map.linear("attention/query", "self_attn.q_proj"),
            *torch_map.linear("attention/key", "self_attn.k_proj"),
            *torch_map.linear("attention/value", "self_attn.v_proj"),
            *torch_map.linear("attention/out", "self_attn.out_proj"),
            *torch_map.layer_norm("norm2", "layer_norm2"),
            *torch_map.linear("fc1", "mlp.fc1"),
            *torch_map.linear("fc2", "mlp.fc2"),
        ]
        leaves += torch_map.nest(block, flax=f"block{i}", torch=f"encoder.layers.{i}")
    leaves += torch_map.layer_norm("norm", "post_layernorm")
    return torch_map.nest(leaves, torch="vision_model") + torch_map.linear(
        "projection", "visual_projection", bias=False
    )


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A vision transformer; the defaults are ViT-S/16, timm's `vit_small_patch16_224`.

    Attributes:
      image_size: Side of the images, on which the positions depend.
      patch: Side of a patch.
      features: D of the tokens.
      layers: Number of blocks.
      heads: Of attention; they divide `features`.
      mlp_ratio: Width of a block's MLP over `features`.
      activation: "quick_gelu" in OpenAI's weights of CLIP and those like them.
      style: "timm", or "clip" for a visual tower.
      projection: Width of a visual tower's features; 0 in "timm".
      epsilon: Of the layer norms; 1e-5 in CLIP.
      remat: Whether blocks are computed again on the way back, for less memory.
    """

    image_size: limits.Pixels = 224
    patch: limits.Pixels = 16
    features: limits.Size = 384
    layers: limits.Layers = 12
    heads: limits.Size = 6
    mlp_ratio: limits.Positive = 4.0
    activation: limits.one_of(*ACTIVATIONS) = "gelu"
    style: limits.one_of("timm", "clip") = "timm"
    projection: limits.Classes = 0
    epsilon: limits.Part = 1e-6
    remat: bool = False

    def __post_init__(self):
        if self.features % self.heads:
            raise errors.UserError(
                f"heads={self.heads} must divide features={self.features}."
            )
        if self.image_size % self.patch:
            raise errors.UserError(
                f"patch={self.patch} must divide image_size={self.image_size}."
            )
        if (self.style == "clip") != (self.projection > 0):
            raise errors.UserError(
                "projection belongs to style='clip', which cannot do without it: "
                f"projection={self.projection}, style={self.style!r}."
            )

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.projection or self.features

    def net(self, channels: int, *, dtype: Any = jnp.float32, groups: int = 1) -> Net:
        """The network, see `core/backbone.py`."""
        del channels, groups  # Flax finds out; there are no batch norms.
        clip = self.style == "clip"
        return Net(
            patch=self.patch,
            features=self.features,
            layers=self.layers,
            heads=self.heads,
            hidden=int(self.features * self.mlp_ratio),
            epsilon=self.epsilon,
            activation=self.activation,
            patch_bias=not clip,
            pre_norm=clip,
            projection=self.projection,
            dtype=dtype,
            remat=self.remat,
        )

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Checks that images are as large as the positions want them."""
        del channels
        if set(size) != {self.image_size}:
            raise errors.UserError(
                f"This transformer reads images of {self.image_size} pixels, not "
                f"{size[0]} x {size[1]}: set image_size, or resize them."
            )

    def torch_tables(self, channels: int) -> dict[str, torch_table.Table]:
        """Tables by kind of file; the first one is what is written."""
        net = self.net(channels)
        if self.style == "clip":
            tower = torch_table.Table(open_clip_leaves(net))
            return {
                "open_clip": tower,
                "open_clip_with_text": torch_table.join(
                    tower.nest(torch="visual"), ignore=OPEN_CLIP_TEXT
                ),
                "hugging_face": torch_table.Table(
                    hugging_face_clip_leaves(net), HUGGING_FACE_TEXT
                ),
            }
        encoder = torch_table.Table(hugging_face_leaves(net), ("pooler.*",))
        return {
            "timm": torch_table.Table(timm_leaves(net), ("head.*",)),
            "hugging_face": encoder,
            "hugging_face_with_head": torch_table.join(
                encoder.nest(torch="vit"), ignore=("classifier.*",)
            ),
        }

    def initial(self, channels: int) -> Mapping[str, backbone.Rule]:
        """Rules of the initialiser: truncated normals of 0.02, biases 0, as timm's.

        The patches have PyTorch's default.
        """
        return {
            "params/patches/kernel": initializers.torch_kernel,
            "params/patches/bias": initializers.torch_bias(channels * self.patch**2),
            "*/kernel": initializers.truncated_normal,
            "*/bias": initializers.zeros,
            "params/class_token": initializers.tiny_normal,
            "params/positions": initializers.truncated_normal,
        }


# CLIP's visual towers by their names in open_clip.
CLIP_TOWERS: Mapping[str, Backbone] = {
    name: Backbone(style="clip", epsilon=1e-5, **sizes)
    for name, sizes in {
        "ViT-B-32": dict(patch=32, features=768, heads=12, projection=512),
        "ViT-B-16": dict(patch=16, features=768, heads=12, projection=512),
        "ViT-L-14": dict(patch=14, features=1024, layers=24, heads=16, projection=768),
        "ViT-L-14-336": dict(
            image_size=336,
            patch=14,
            features=1024,
            layers=24,
            heads=16,
            projection=768,
        ),
        "ViT-H-14": dict(patch=14, features=1280, layers=32, heads=16, projection=1024),
    }.items()
}
