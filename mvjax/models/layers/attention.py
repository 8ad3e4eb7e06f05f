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
from mvjax.models.layers import repeated


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    heads: int,
    bias: jax.Array | None = None,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Mixes values by how queries and keys agree; heads are blocks of channels.

    The softmax is taken in float32 or wider. Where nothing is dropped, forward-mode
    differentiation does not pass through the first result.

    Args:
      query: `[B, T, C]`.
      key: `[B, S, C]`.
      value: `[B, S, C]`.
      heads: Their number, which divides C.
      bias: Added to the scores, anything that broadcasts with `[B, heads, T, S]`; minus
        infinity hides a pair, and must not hide all of a row.
      drop: Dropout of the weights; None: nothing is dropped.

    Returns:
      `[B, T, C]` in the type of `value`, and the weights `[B, heads, T, S]` before
      dropout.
    """
    query, key, value = (
        x.reshape(*x.shape[:2], heads, -1) for x in (query, key, value)
    )
    weights = jax.nn.softmax(_scores(query, key, bias), axis=-1).astype(value.dtype)
    if drop is None:
        mixed = repeated.keep(_mix(query, key, value, bias))
    else:
        mixed = _weigh(drop(weights), value)
    return mixed.reshape(*mixed.shape[:2], -1), weights


def _scores(query: jax.Array, key: jax.Array, bias: jax.Array | None) -> jax.Array:
    """`[B, heads, T, S]` of `[B, T, heads, c]` and `[B, S, heads, c]`."""
    scores = jnp.einsum("bthd,bshd->bhts", query * query.shape[-1] ** -0.5, key)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    return scores if bias is None else scores + bias


def _weigh(weights: jax.Array, value: jax.Array) -> jax.Array:
    """Sums of values `[B, S, heads, c]` by weights `[B, heads, T, S]`."""
    # With the heads in front XLA's CPU compiler computes the product and its gradients faster.
    mixed = jnp.einsum("bhts,bhsd->bhtd", weights, jnp.swapaxes(value, 1, 2))
    return jnp.swapaxes(mixed, 1, 2)


@jax.custom_vjp
def _mix(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """Values `[B, S, heads, c]` mixed to `[B, T, heads, c]`.

    For the way back it keeps two numbers for each row of the scores, from which the weights
    are had in one pass, and no array of their size. The sum in the softmax's gradient is
    that of what came out times its gradient (Dao et al., 2022, arXiv 2205.14135, B.2).
    """
    return _mix_forward(query, key, value, bias)[0]


def _mix_forward(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None
) -> tuple[jax.Array, tuple]:
    scores = _scores(query, key, bias)
    top = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)  # [B, heads, T, 1]
    mixed = _weigh(weights.astype(value.dtype), value)
    mixed = (mixed / jnp.swapaxes(total, 1, 2)).astype(value.dtype)
    # Not their logarithm, which is lost beside a top of a row that is hidden as a whole.
    top, total = repeated.keep(top), repeated.keep(total)
    return mixed, (query, key, value, bias, mixed, top, total)


def _mix_backward(residuals: tuple, dy: jax.Array) -> tuple:
    query, key, value, bias, mixed, top, total = residuals
    weights = jnp.exp(_scores(query, key, bias) - top) / total
    dy_by_head = jnp.swapaxes(dy, 1, 2)  # [B, heads, T, c]
    dvalue = jnp.einsum("bhts,bhtd->bhsd", weights.astype(dy.dtype), dy_by_head)
    dweights = jnp.einsum("bhtd,bhsd->bhts", dy_by_head, jnp.swapaxes(value, 1, 2))
    mean = jnp.sum(dy.astype(total.dtype) * mixed, axis=-1)  # [B, T, heads]
    dscores = weights * (dweights - jnp.swapaxes(mean, 1, 2)[..., None])
    dbias = None if bias is None else _sum_to(dscores, bias)
    dscores, scale = dscores.astype(query.dtype), query.shape[-1] ** -0.5
    dquery = jnp.einsum("bhts,bshd->bthd", dscores, key) * scale
    dkey = jnp.einsum("bhts,bthd->bshd", dscores, query * scale)
    return dquery, dkey, jnp.swapaxes(dvalue, 1, 2), dbias


_mix.defvjp(_mix_forward, _mix_backward)


def _sum_to(x: jax.Array, like: jax.Array) -> jax.Array:
    """Sums x over the axes along which `like` was broadcast to it."""
    x = jnp.sum(x, axis=tuple(range(x.ndim - like.ndim)))
    axes = [i for i, side in enumerate(like.shape) if side == 1 != x.shape[i]]
    return jnp.sum(x, axis=tuple(axes), keepdims=True).astype(like.dtype)


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
        drop: Callable[[jax.Array], jax.Array] | None = None,
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
