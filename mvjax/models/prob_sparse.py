"""ProbSparse attention and the distilling encoder ("DistNet") of Informer and RERD.

Zhou et al., "Informer", AAAI 2021, as Guo, Kong and Kot (RERD, 2022) released it. Of all
queries only the few with the sharpest scores attend; the others get the mean value. Kept
from the released code because checkpoints hang on it: heads are cut from the flattened
sequence (`head_layout="official"`), and the sharpness divides the sum of U sampled scores
by the number of keys.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import activations
from mvjax.models.layers import dropout
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.models.layers import sequence

HEAD_LAYOUTS = ("official", "transpose")
ACTIVATIONS = {"relu": nn.relu, "gelu": activations.gelu}
_EPSILON = 1e-5  # Of layer norms.


class Attended(NamedTuple):
    """What ProbSparse attention computes."""

    context: jax.Array  # [B, H, L, D]
    sharpness: jax.Array  # M, [B, H, L].
    selected: jax.Array  # Queries that attend, [B, H, u].
    weights: jax.Array  # Their attention, [B, H, u, L].


def count_sampled(length: int, factor: int) -> int:
    """`factor * ceil(ln length)`, at least 1 and at most `length`."""
    return max(1, min(length, factor * math.ceil(math.log(max(length, 1)))))


def distilled(length: int) -> int:
    """Length of a sequence behind one distilling convolution."""
    return (length + 1) // 2 + 1


def lengths_of(length: int, layers: int, *, distil: bool = True) -> tuple[int, ...]:
    """Length of the sequence at each attention layer."""
    lengths = [length]
    for _ in range(layers - 1):
        lengths.append(distilled(lengths[-1]) if distil else lengths[-1])
    return tuple(lengths)


def draw_keys(
    key: jax.Array | None, length: int, *, layers: int, factor: int, distil: bool = True
) -> list[jax.Array]:
    """Draws the keys that each query of each attention layer is compared with.

    Args:
      key: Random key; None: every key once, which makes the selection exact.
      length: Length of the sequence at the first layer.
      layers: Number of attention layers.
      factor: Sampling factor c.
      distil: Whether layers halve the sequence.

    Returns:
      For each layer `[L, U]` int32 with replacement, shared by batch and heads.
    """
    drawn = []
    for i, n in enumerate(lengths_of(length, layers, distil=distil)):
        if key is None:
            drawn.append(jnp.broadcast_to(jnp.arange(n), (n, n)))
            continue
        shape = (n, count_sampled(n, factor))
        drawn.append(jax.random.randint(jax.random.fold_in(key, i), shape, 0, n))
    return drawn


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    sampled: jax.Array,
    *,
    factor: int,
    causal: bool = False,
    valid: jax.Array | None = None,
) -> Attended:
    """ProbSparse attention.

    Args:
      q: Queries `[B, H, L, D]`.
      k: Keys of the same shape.
      v: Values of the same shape.
      sampled: Keys that each query is compared with, `[L, U]` integers.
      factor: `factor * ceil(ln L)` queries attend.
      causal: Whether queries see no later keys; needs as many queries as values.
      valid: Rows that are not padding, `[B, H, L]` bool; None: all.

    Returns:
      The context and how it came about. No gradient flows through the selection.
    """
    length, keys = q.shape[2], k.shape[2]
    sharpness = _sharpness(*jax.lax.stop_gradient((q, k)), sampled, valid)
    kept = count_sampled(length, factor)
    _, selected = jax.lax.top_k(sharpness, kept)  # [B, H, u]
    pick = jax.nn.one_hot(selected, length, dtype=q.dtype)  # Gathers as products: no
    queries = jnp.einsum("bhul,bhld->bhud", pick, q)  # slow scatter in the gradient.
    scores = jnp.einsum("bhud,bhkd->bhuk", queries, k) / math.sqrt(q.shape[-1])
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if causal:
        scores = jnp.where(jnp.arange(keys) > selected[..., None], -jnp.inf, scores)
    if valid is not None:
        scores = jnp.where(valid[:, :, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    result = jnp.einsum("bhuk,bhkd->bhud", weights, v)
    if causal:
        rest = jnp.cumsum(v, axis=2)
    elif valid is None:
        rest = jnp.mean(v, axis=2, keepdims=True)
    else:
        share = valid / jnp.maximum(jnp.sum(valid, axis=2, keepdims=True), 1)
        rest = jnp.sum(v * share[..., None].astype(v.dtype), axis=2, keepdims=True)
    others = 1 - jnp.sum(pick, axis=2)[..., None]  # [B, H, L, 1]
    context = rest * others + jnp.einsum("bhul,bhud->bhld", pick, result)
    return Attended(context, sharpness, selected, weights)


def _sharpness(
    q: jax.Array, k: jax.Array, sampled: jax.Array, valid: jax.Array | None
) -> jax.Array:
    """M, `[B, H, L]`: greatest sampled score less the sum of them over `L_K`.

    All scores are one matrix product, and the sum one with the summed keys: on every
    backend cheaper than gathering `[B, H, L, U, D]` keys.
    """
    keys = k.shape[2]
    counts = jnp.sum(jax.nn.one_hot(sampled, keys, dtype=q.dtype), axis=1)  # [L, L_K]
    scores = jnp.einsum("bhld,bhkd->bhlk", q, k)
    seen = (counts > 0)[None, None]
    if valid is not None:
        seen = seen & valid[:, :, None]
        k = k * valid[..., None].astype(k.dtype)
    low = jnp.finfo(scores.dtype).min
    greatest = jnp.max(jnp.where(seen, scores, low), axis=-1)
    total = jnp.einsum("bhld,lk,bhkd->bhl", q, counts, k, optimize=[(1, 2), (0, 1)])
    sharpness = greatest - total / keys
    return sharpness if valid is None else jnp.where(valid, sharpness, low)


def attention_map(attended: Attended) -> jax.Array:
    """Attention of all queries, `[B, H, L, L]`: uniform rows but for the selected."""
    length = attended.weights.shape[-1]
    pick = jax.nn.one_hot(attended.selected, attended.sharpness.shape[-1])
    rest = (1 - jnp.sum(pick, axis=2))[..., None] / length
    return rest + jnp.einsum("bhul,bhuk->bhlk", pick, attended.weights)


class ProbSparseAttention(nn.Module):
    """Multi-head ProbSparse self-attention; D is a multiple of `heads`."""

    heads: int
    factor: int
    head_layout: str = "official"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, sampled: jax.Array, valid: jax.Array | None = None
    ) -> jax.Array:
        """Maps `[B, L, D]` to `[B, L, D]`; `sampled` `[L, U]`, `valid` `[B, L]`."""

        def dense(name: str) -> linear.Linear:
            return linear.Linear(x.shape[-1], dtype=self.dtype, name=name)

        parts = [self._split(dense(name)(x)) for name in ("query", "key", "value")]
        if valid is not None:
            mask = jnp.broadcast_to(valid[..., None], (*valid.shape, self.heads))
            valid = self._split(mask)[..., 0]  # [B, H, L]
        attended = attend(*parts, sampled, factor=self.factor, valid=valid)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", attention_map(attended))
        return dense("out")(self._join(attended.context))

    def _split(self, x: jax.Array) -> jax.Array:
        """`[B, L, H * d]` to `[B, H, L, d]`."""
        batch, length, _ = x.shape
        if self.head_layout == "official":  # Reinterpreted, not transposed.
            return x.reshape(batch, self.heads, length, -1)
        return x.reshape(batch, length, self.heads, -1).swapaxes(1, 2)

    def _join(self, x: jax.Array) -> jax.Array:
        """`[B, H, L, d]` to `[B, L, H * d]`."""
        if self.head_layout != "official":
            x = x.swapaxes(1, 2)
        return x.reshape(x.shape[0], -1, self.heads * x.shape[-1])


class _Sizes(nn.Module):
    """Settings that an encoder hands to its attention layers."""

    heads: int = 4
    hidden: int = 64
    factor: int = 3
    activation: str = "relu"
    dropout: float = 0.2
    head_layout: str = "official"
    dtype: Any = jnp.float32


class EncoderLayer(_Sizes):
    """Attention and a two-layer network, each with its residual and layer norm behind."""

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        sampled: jax.Array,
        valid: jax.Array | None = None,
        *,
        seed: jax.Array | None = None,
    ) -> jax.Array:
        """Maps `[B, L, D]` to `[B, L, D]`; for `seed` see `dropout.Dropout`."""
        drops = [dropout.Dropout(self.dropout, name=f"dropout{i}") for i in range(3)]
        attention = ProbSparseAttention(
            self.heads, self.factor, self.head_layout, self.dtype, name="attention"
        )
        x = self._norm("norm1")(x + drops[0](attention(x, sampled, valid), seed))
        y = linear.Linear(self.hidden, dtype=self.dtype, name="linear1")(x)
        y = drops[1](ACTIVATIONS[self.activation](y), seed)
        y = linear.Linear(x.shape[-1], dtype=self.dtype, name="linear2")(y)
        return self._norm("norm2")(x + drops[2](y, seed))

    def _norm(self, name: str) -> nn.Module:
        return nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name=name)


class Distilling(nn.Module):
    """Convolution, batch norm, ELU and max pooling: half the length plus one."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, L, D]` to `[B, (L + 1) // 2 + 1, D]`."""
        conv = sequence.Conv1D(
            x.shape[-1], padding=2, circular=True, dtype=self.dtype, name="conv"
        )
        x = conv(x)
        batch_norm = norm.BatchNorm(activation=nn.elu, dtype=self.dtype, name="norm")
        return sequence.max_pool(batch_norm(x, train=train))


class DistillingEncoder(_Sizes):
    """Encoder of one modality: embedding, attention layers with distilling between.

    The released code also allocates a decoder's embedding that nothing uses.
    """

    out_features: int = 30
    width: int = 64
    layers: int = 2
    distil: bool = True

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        sampled: Sequence[jax.Array],
        lengths: jax.Array | None = None,
        *,
        train: bool,
        seed: jax.Array | None = None,
    ) -> jax.Array:
        """Encodes a sequence.

        Args:
          x: `[B, L, C]`.
          sampled: For each layer its keys, see `draw_keys`.
          lengths: Frames that are not padding, `[B]`; None: all are taken as data, as
            released.
          train: Whether statistics are the batch's.
          seed: Of dropout, `[2]` uint32; None: none.

        Returns:
          `[B, L', out_features]`; L' is the last of `lengths_of`.
        """
        if lengths is not None:  # Or the convolution would mix padding in.
            valid = jnp.arange(x.shape[1]) < lengths[:, None]
            x = x * valid[..., None].astype(x.dtype)
        x = sequence.Conv1D(self.width, circular=True, dtype=self.dtype, name="embed")(
            x
        )
        x = x + sequence.sinusoids(x.shape[1], self.width).astype(x.dtype)
        x = dropout.Dropout(self.dropout, name="dropout")(x, seed)
        for i in range(self.layers):
            valid = None
            if lengths is not None:
                valid = jnp.arange(x.shape[1]) < lengths[:, None]
                x = x * valid[..., None].astype(x.dtype)
            x = self._layer(i)(x, sampled[i], valid, seed=seed)
            if self.distil and i < self.layers - 1:
                x = Distilling(self.dtype, name=f"distilling{i}")(x, train=train)
                lengths = None if lengths is None else distilled(lengths)
        x = nn.LayerNorm(epsilon=_EPSILON, dtype=self.dtype, name="norm")(x)
        return linear.Linear(self.out_features, dtype=self.dtype, name="out")(x)

    def _layer(self, i: int) -> EncoderLayer:
        names = [f.name for f in dataclasses.fields(_Sizes) if f.init]
        sizes = {n: getattr(self, n) for n in names if n not in ("parent", "name")}
        return EncoderLayer(**sizes, name=f"attention{i}")


def encoder_layer_leaves() -> list[torch_map.Leaf]:
    """Table of `EncoderLayer`."""
    leaves = []
    for name in ("query", "key", "value", "out"):
        leaves += torch_map.linear(f"attention/{name}", f"attention.{name}_projection")
    for i in (1, 2):
        leaves += torch_map.pointwise1d(f"linear{i}", f"conv{i}")
        leaves += torch_map.layer_norm(f"norm{i}", f"norm{i}")
    return leaves


def distilling_leaves() -> list[torch_map.Leaf]:
    """Table of `Distilling`."""
    return torch_map.conv1d("conv", "downConv") + torch_map.batch_norm("norm", "norm")


def torch_leaves(layers: int, *, distil: bool = True) -> list[torch_map.Leaf]:
    """Table of `DistillingEncoder`, without what the released module never uses."""
    nest = torch_map.nest
    leaves = torch_map.conv1d("embed", "enc_embedding.value_embedding.tokenConv")
    for i in range(layers):
        name = f"encoder.attn_layers.{i}"
        leaves += nest(encoder_layer_leaves(), flax=f"attention{i}", torch=name)
        if distil and i < layers - 1:
            name = f"encoder.conv_layers.{i}"
            leaves += nest(distilling_leaves(), flax=f"distilling{i}", torch=name)
    leaves += torch_map.layer_norm("norm", "encoder.norm")
    return leaves + torch_map.pointwise1d("out", "end_conv2")
