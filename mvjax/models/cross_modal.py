"""The fusion transformer of RERD: pre-norm, causal, for one sequence or two.

As in fairseq and MulT: inputs are scaled by the root of their width, there are no
positions, and keys and values of another sequence pass through the same layer norm as
the queries and are not updated from layer to layer.
"""

import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import attention
from mvjax.models.layers import dropout
from mvjax.models.layers import linear

_EPSILON = 1e-5


def causal_mask(queries: int, keys: int) -> jax.Array:
    """Pairs that may meet, `[T, S]` bool: a query sees no later key.

    With sequences of different lengths it sees `|S - T|` keys more, as released.
    """
    ahead = jnp.arange(keys) - jnp.arange(queries)[:, None]
    return ahead < 1 + abs(keys - queries)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with one joint input projection."""

    heads: int
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        query: jax.Array,
        memory: jax.Array,
        mask: jax.Array | None = None,
        *,
        seed: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Attends from `query` `[B, T, C]` to `memory` `[B, S, C]`.

        Args:
          query: What asks.
          memory: Keys and values.
          mask: Pairs that may meet, `[T, S]` bool; None: all.
          seed: Of dropout, `[2]` uint32; None: none.

        Returns:
          `[B, T, C]` and the attention averaged over heads, `[B, T, S]`.
        """
        width = query.shape[-1]
        project = linear.Linear(3 * width, dtype=self.dtype, name="in_proj")
        if query is memory:
            q, k, v = jnp.split(project(query), 3, axis=-1)
        else:
            q = project(query)[..., :width]
            k, v = jnp.split(project(memory)[..., width:], 2, axis=-1)
        hidden = None if mask is None else jnp.where(mask, 0.0, -jnp.inf)
        drop = dropout.make(self.dropout, seed, "dropout")
        context, weights = attention.attend(
            q, k, v, heads=self.heads, bias=hidden, drop=drop
        )
        out = linear.Linear(width, dtype=self.dtype, name="out_proj")(context)
        return out, jnp.mean(weights, axis=1)


class Layer(nn.Module):
    """Attention and a two-layer network, each with its layer norm before it."""

    heads: int
    attention_dropout: float
    relu_dropout: float
    residual_dropout: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None,
        mask: jax.Array | None,
        *,
        seed: jax.Array | None = None,
    ) -> jax.Array:
        """Maps `[B, T, C]` to `[B, T, C]`; `memory` `[B, S, C]`, None: x itself."""
        width = x.shape[-1]
        rates = (self.residual_dropout, self.relu_dropout, self.residual_dropout)
        drops = [
            dropout.Dropout(rate, name=f"dropout{i}") for i, rate in enumerate(rates)
        ]
        norm0 = nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name="norm0")
        norm1 = nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name="norm1")
        attend = MultiHeadAttention(
            self.heads, self.attention_dropout, self.dtype, name="attention"
        )
        h = norm0(x)
        memory = h if memory is None else norm0(memory)
        h, weights = attend(h, memory, mask, seed=seed)
        self.sow("intermediates", "weights", weights)
        x = x + drops[0](h, seed)
        h = nn.relu(linear.Linear(4 * width, dtype=self.dtype, name="fc1")(norm1(x)))
        h = linear.Linear(width, dtype=self.dtype, name="fc2")(drops[1](h, seed))
        return x + drops[2](h, seed)


class Transformer(nn.Module):
    """Layers and a last layer norm, on one sequence or from one to another."""

    heads: int = 3
    layers: int = 5
    attention_dropout: float = 0.1
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    embedding_dropout: float = 0.25
    causal: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        *,
        seed: jax.Array | None = None,
    ) -> jax.Array:
        """Maps `[B, T, C]` to `[B, T, C]`.

        Args:
          x: The sequence.
          memory: Another sequence `[B, S, C]` that gives keys and values; None: x.
          seed: Of dropout, `[2]` uint32; None: none.
        """
        scale = math.sqrt(x.shape[-1])
        drops = [
            dropout.Dropout(self.embedding_dropout, name=f"dropout{i}") for i in (0, 1)
        ]
        keys = x.shape[1] if memory is None else memory.shape[1]
        mask = causal_mask(x.shape[1], keys) if self.causal else None
        x = drops[0](scale * x, seed)
        if memory is not None:
            memory = drops[1](scale * memory, seed)
        for i in range(self.layers):
            layer = Layer(
                self.heads,
                self.attention_dropout,
                self.relu_dropout,
                self.residual_dropout,
                self.dtype,
                name=f"layer{i}",
            )
            x = layer(x, memory, mask, seed=seed)
        return nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name="norm")(x)


def attention_leaves() -> list[torch_map.Leaf]:
    """Table of `MultiHeadAttention`."""
    leaf = torch_map.Leaf
    return [
        leaf("params/in_proj/kernel", ("in_proj_weight",), torch_map.LINEAR),
        leaf("params/in_proj/bias", ("in_proj_bias",), torch_map.KEEP),
        *torch_map.linear("out_proj", "out_proj"),
    ]


def torch_leaves(layers: int) -> list[torch_map.Leaf]:
    """Table of `Transformer`, without the constant buffer `version`."""
    leaves = []
    for i in range(layers):
        leaves += torch_map.nest(
            [
                *torch_map.nest(
                    attention_leaves(), flax="attention", torch="self_attn"
                ),
                *torch_map.linear("fc1", "fc1"),
                *torch_map.linear("fc2", "fc2"),
                *torch_map.layer_norm("norm0", "layer_norms.0"),
                *torch_map.layer_norm("norm1", "layer_norms.1"),
            ],
            flax=f"layer{i}",
            torch=f"layers.{i}",
        )
    return leaves + torch_map.layer_norm("norm", "layer_norm")
