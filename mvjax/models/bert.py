"""BERT (Devlin et al., 2019), a text encoder that reads the published weights.

Post-norm layers with exact GELU, as in the released checkpoints. Two things follow
those checkpoints' library: the word vector of the padding token gets no gradient, and
rows that are all padding attend to every position alike, as the library's "eager"
attention has them. Its default today, "sdpa", mixes to zeros there; nothing else differs.
"""

from collections.abc import Mapping
import functools
import os
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import hugging_face
from mvjax.convert import torch_map
from mvjax.convert import torch_names
from mvjax.convert import torch_table
from mvjax.core import errors
from mvjax.models import bert_config
from mvjax.models.layers import activations
from mvjax.models.layers import attention
from mvjax.models.layers import linear
from mvjax.models.layers import norm

_ACTIVATIONS = {
    "gelu": activations.gelu,
    "gelu_new": functools.partial(nn.gelu, approximate=True),
    "relu": nn.relu,
}
# Left out on purpose: positions 0, 1, 2, ... and the heads of pre-training.
IGNORE = ("embeddings.position_ids", "cls.*")

Config = bert_config.Config


def _linear(features: int, dtype: Any, name: str | None = None) -> linear.Linear:
    """A linear layer that starts as BERT's do."""
    inits = dict(
        kernel_init=nn.initializers.normal(0.02), bias_init=nn.initializers.zeros
    )
    return linear.Linear(features, dtype=dtype, name=name, **inits)


def _layer_norm(config: Config, dtype: Any, name: str) -> nn.LayerNorm:
    return norm.layer_norm(config.eps, dtype, name)


class Table(nn.Module):
    """Vectors of `size` ids; an id outside of the table gives NaN, not a neighbour."""

    size: int
    features: int
    pad_id: int | None = None  # The id that gets no gradient.

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """Maps ids `[...]` to vectors `[..., features]`, float32."""
        init = nn.initializers.normal(0.02)
        table = self.param("embedding", init, (self.size, self.features))
        x = jnp.take(table, ids, axis=0, mode="fill", fill_value=jnp.nan)
        if self.pad_id is None:
            return x
        return jnp.where((ids == self.pad_id)[..., None], jax.lax.stop_gradient(x), x)


class Embeddings(nn.Module):
    """Sum of word, position and segment vectors, normalised."""

    config: Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, ids: jax.Array, segments: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps ids and segments `[B, L]` to `[B, L, D]`."""
        config, width = self.config, self.config.hidden_size
        word = Table(config.vocab_size, width, config.pad_id, name="word")
        position = Table(config.max_positions, width, name="position")
        segment = Table(config.type_vocab_size, width, name="segment")
        x = word(ids) + position(jnp.arange(ids.shape[1])) + segment(segments)
        x = _layer_norm(config, self.dtype, "norm")(x)
        return nn.Dropout(config.dropout, deterministic=not train)(x)


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself; heads are channel blocks."""

    config: Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, L, D]` to `[B, L, D]`; positions with `mask` 0 are not read."""
        config = self.config
        query, key, value = (
            _linear(config.hidden_size, self.dtype, name)(x)
            for name in ("query", "key", "value")
        )
        wide = jnp.promote_types(self.dtype, jnp.float32)
        # Not -inf, which would make NaN of a row that is all padding.
        hidden = jnp.where(mask > 0, 0, jnp.finfo(wide).min).astype(wide)  # [B, L]
        mixed, _ = attention.attend(
            query,
            key,
            value,
            heads=config.heads,
            bias=hidden[:, None, None, :],
            drop=nn.Dropout(config.attention_dropout, deterministic=False)
            if train and config.attention_dropout
            else None,
        )
        return _linear(config.hidden_size, self.dtype, "out")(mixed)


class Layer(nn.Module):
    """Attention and a two-layer MLP, each with a residual and a norm behind it."""

    config: Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, L, D]` with the mask `[B, L]` to `[B, L, D]`."""
        config, dtype = self.config, self.dtype
        drop = nn.Dropout(config.dropout, deterministic=not train)
        h = Attention(config, dtype, name="attention")(x, mask, train=train)
        x = _layer_norm(config, dtype, "attention_norm")(x + drop(h))
        h = _linear(config.intermediate_size, dtype, "intermediate")(x)
        h = _ACTIVATIONS[config.activation](h)
        h = _linear(config.hidden_size, dtype, "output")(h)
        return _layer_norm(config, dtype, "output_norm")(x + drop(h))


class Bert(nn.Module):
    """The encoder, with or without the pooler that its checkpoints have on [CLS]."""

    config: Config
    dtype: Any = jnp.float32  # Compute type; parameters are float32.
    pooler: bool = True

    @nn.compact
    def __call__(
        self, ids: jax.Array, mask: jax.Array, segments: jax.Array, *, train: bool
    ) -> dict[str, Any]:
        """Encodes token sequences.

        Args:
          ids: Tokens `[B, L]`, L at most `max_positions`; cast to int32.
          mask: 1 for tokens and 0 for padding, `[B, L]`.
          segments: Sentence 0 or 1 of each token, `[B, L]`; cast to int32.
          train: Drop at random; needs the key "dropout".

        Returns:
          `last` `[B, L, D]`, also at padded positions; `layers`, the embeddings and
          what each layer makes of them; `pooled` `[B, D]` if there is a pooler.
        """
        config = self.config
        if ids.shape[1] > config.max_positions:
            raise errors.UserError(
                f"This BERT reads {config.max_positions} tokens at most, not "
                f"{ids.shape[1]}."
            )
        ids, segments = ids.astype(jnp.int32), segments.astype(jnp.int32)
        embeddings = Embeddings(config, self.dtype, name="embeddings")
        layers = [embeddings(ids, segments, train=train)]
        for i in range(config.layers):
            layer = Layer(config, self.dtype, name=f"layer_{i}")
            layers.append(layer(layers[-1], mask, train=train))
        out = {"last": layers[-1], "layers": tuple(layers)}
        if self.pooler:
            first = _linear(config.hidden_size, self.dtype, "pooler")(layers[-1][:, 0])
            out["pooled"] = jnp.tanh(first)
        return out


def masked_mean(h: jax.Array, mask: jax.Array) -> jax.Array:
    """Averages `[B, L, D]` over the positions where `mask` `[B, L]` is 1.

    Returns:
      `[B, D]`, float32 or wider; zeros for a row that is all padding.
    """
    wide = jnp.promote_types(h.dtype, jnp.float32)
    mask = mask.astype(wide)[..., None]
    count = jnp.maximum(mask.sum(axis=1), 1)
    return (mask * h.astype(wide)).sum(axis=1) / count


def _table(flax: str, torch: str) -> torch_map.Leaf:
    path, name = f"params/{flax}/embedding", f"{torch}.weight"
    return torch_map.Leaf(path, (name,), torch_map.KEEP)


def _layer_leaves() -> list[torch_map.Leaf]:
    """Table of one layer, the official `BertLayer`."""
    leaves = []
    for name in ("query", "key", "value"):
        leaves += torch_map.linear(f"attention/{name}", f"attention.self.{name}")
    leaves += torch_map.linear("attention/out", "attention.output.dense")
    leaves += torch_map.layer_norm("attention_norm", "attention.output.LayerNorm")
    leaves += torch_map.linear("intermediate", "intermediate.dense")
    leaves += torch_map.linear("output", "output.dense")
    return leaves + torch_map.layer_norm("output_norm", "output.LayerNorm")


def torch_leaves(config: Config, *, pooler: bool = True) -> list[torch_map.Leaf]:
    """Table of Hugging Face's `BertModel`, without a prefix."""
    leaves = [
        _table("embeddings/word", "embeddings.word_embeddings"),
        _table("embeddings/position", "embeddings.position_embeddings"),
        _table("embeddings/segment", "embeddings.token_type_embeddings"),
    ]
    leaves += torch_map.layer_norm("embeddings/norm", "embeddings.LayerNorm")
    for i in range(config.layers):
        leaves += torch_map.nest(
            _layer_leaves(), flax=f"layer_{i}", torch=f"encoder.layer.{i}"
        )
    if pooler:
        leaves += torch_map.linear("pooler", "pooler.dense")
    return leaves


def standard_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Gives tensors today's names: no prefix `bert.`, no `LayerNorm.gamma` and `beta`.

    Raises:
      UserError: Two tensors would get the same name.
    """
    renamed: dict[str, np.ndarray] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix("bert.")
        for old, new in (("gamma", "weight"), ("beta", "bias")):
            if name.endswith(f"LayerNorm.{old}"):
                name = name.removesuffix(old) + new
        if name in renamed:
            raise errors.UserError(f"The BERT weights have {name} under two names.")
        renamed[name] = tensor
    return renamed


def shapes(config: Config, *, pooler: bool = True) -> dict[str, Any]:
    """Nested dicts like the variables, with shapes and types in place of arrays."""
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    init = functools.partial(Bert(config, pooler=pooler).init, train=False)
    return jax.eval_shape(init, jax.random.key(0), tokens, tokens, tokens)


def load(path: str | os.PathLike, config: Config) -> dict[str, Any]:
    """Reads published weights; no code in them is run.

    Args:
      path: A Hugging Face folder, or one file of any kind that `convert/files.py` reads.
      config: Of these weights, from `Config.from_folder`.

    Returns:
      Variables of `Bert(config)`, NumPy float32, or of `Bert(config, pooler=False)`
      for a file without a pooler: then `"pooler"` is not in `variables["params"]`.

    Raises:
      UserError: There is no such file, or it does not fit: one error names every
        tensor that is missing, left over or of another shape.
    """
    tables = {
        name: torch_table.Table(
            torch_leaves(config, pooler=name == "BertModel"), IGNORE
        )
        for name in ("BertModel", "BertModel without pooler")
    }
    tensors = hugging_face.load(path).tensors
    fit = torch_names.fit(tables, tensors, standard_names)
    variables, _ = torch_map.to_flax(
        tables[fit.table].leaves,
        fit.tensors,
        template=shapes(config, pooler=fit.table == "BertModel"),
        ignore=IGNORE,
    )
    return variables
