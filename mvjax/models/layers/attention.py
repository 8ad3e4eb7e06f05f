"""Scaled dot-product attention with several heads, and stochastic depth."""

from collections.abc import Callable
from typing import Any
import zlib

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import dropout
from mvjax.models.layers import linear


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    heads: int,
    bias: jax.Array | None = None,
    drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> tuple[jax.Array, jax.Array]:
    """Mixes values by how queries and keys agree; heads are blocks of channels.

    The softmax is taken in float32 or wider.

    Args:
      query: `[B, T, C]`.
      key: `[B, S, C]`.
      value: `[B, S, C]`.
      heads: Their number, which divides C.
      bias: Added to the scores, anything that broadcasts with `[B, heads, T, S]`; minus
        infinity hides a pair, and must not hide all of a row.
      drop: Dropout of the weights.

    Returns:
      `[B, T, C]` in the type of `value`, and the weights `[B, heads, T, S]` before
      dropout.
    """
    query, key, value = (
        x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value)
    )
    scores = jnp.einsum("bthd,bshd->bhts", query * query.shape[-1] ** -0.5, key)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if bias is not None:
        scores = scores + bias
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    # With the heads in front XLA's CPU compiler computes the product and its gradients faster.
    mixed = jnp.einsum("bhts,bhsd->bhtd", drop(weights), jnp.swapaxes(value, 1, 2))
    mixed = jnp.swapaxes(mixed, 1, 2)
    return mixed.reshape(*mixed.shape[:2], -1), weights


class Attention(nn.Module):
    """Attention of a sequence to itself, or to another one.

    Components `query`, `key`, `value`, `out`, each a linear layer.
    """

    heads: int
    qkv_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        bias: jax.Array | None = None,
        memory: jax.Array | None = None,
        drop: Callable[[jax.Array], jax.Array] = lambda weights: weights,
    ) -> jax.Array:
        """Maps `[B, T, C]` to `[B, T, C]`.

        Args:
          x: What asks.
          memory: Keys and values, `[B, S, C]`; None: x itself.
          bias: See `attend`.
          drop: Likewise.
        """
        memory = x if memory is None else memory
        query, key, value = (
            linear.Linear(
                x.shape[-1], use_bias=self.qkv_bias, dtype=self.dtype, name=name
            )(source)
            for name, source in (("query", x), ("key", memory), ("value", memory))
        )
        mixed, _ = attend(query, key, value, heads=self.heads, bias=bias, drop=drop)
        return linear.Linear(x.shape[-1], dtype=self.dtype, name="out")(mixed)


def joint_leaves(*, qkv: str = "qkv", out: str = "proj") -> list[torch_map.Leaf]:
    """Table of an `Attention` whose query, key and value are one layer in PyTorch."""
    return torch_map.joined(qkv, ("query", "key", "value")) + torch_map.linear(
        "out", out
    )


class DropPath(nn.Module):
    """Stochastic depth: drops a branch for whole samples, and scales the others up.

    Huang et al., 2016 (arXiv 1603.09382), by sample as in timm.
    """

    def __call__(
        self, x: jax.Array, seed: jax.Array | None, rate: jax.Array | float
    ) -> jax.Array:
        """Drops rows of x.

        Args:
          x: `[B, ...]`.
          seed: `[2]` uint32; None: nothing is dropped.
          rate: Share of the rows that is dropped, below 1.
        """
        if seed is None:
            return x
        salt = zlib.crc32("/".join(self.path).encode())
        shape = (x.shape[0], *(1,) * (x.ndim - 1))
        kept = dropout.keep(seed, salt, shape, rate)
        return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype)).astype(x.dtype)
