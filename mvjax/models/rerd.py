"""The network of RERD: distilling encoders, fusion transformer and head.

Guo, Kong and Kot, "Deep Multimodal Sequence Fusion by Regularized Expressive
Representation Distillation", IEEE Transactions on Multimedia, 2022. Each modality is
projected, encoded and brought to one common length by a projection of the time axis;
BERT's pooled vector stands for the text where tokens are given.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple
import zlib

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import tree
from mvjax.models import bert
from mvjax.models import cross_modal
from mvjax.models import prob_sparse
from mvjax.models.layers import dropout
from mvjax.models.layers import initializers
from mvjax.models.layers import linear
from mvjax.models.layers import sequence

HIDDEN = 90  # Width between the two layers that project BERT's vector.
POSITIONS = 5000  # Rows of the published tables of positions.
BERT_PREFIX = "bert_model.model"  # Of BERT in the published state dict.
WITHOUT_BERT = (  # About files of a network that reads no tokens.
    "the published class also holds bert_model.*; what loads strictly into it needs the "
    "config argument text=bert."
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes and dropout rates, under the names of the published flags.

    Their defaults stand in `methods/rerd.py`.
    """

    views: tuple[str, ...]  # All, in fusion order.
    active: tuple[str, ...]
    tokens: str | None  # The view of BERT tokens, if any.
    token_sequence: bool  # BERT's sequence is encoded, not its mean.
    out_dim: int  # Width of each modality's representation.
    dis_d_model: int
    dis_n_heads: int
    dis_e_layers: int
    dis_d_ff: int
    dis_factor: int
    dis_dropout: float
    distil: bool
    head_layout: str
    nlevels: int
    num_heads: int
    attn_mask: bool
    attn_dropout: float
    relu_dropout: float
    res_dropout: float
    embed_dropout: float
    out_dropout: float
    outputs: int
    dtype: Any

    @property
    def encoded(self) -> tuple[str, ...]:
        """Active views that pass through a distilling encoder."""
        return tuple(v for v in self.active if v != self.tokens or self.token_sequence)


class Outputs(NamedTuple):
    """What the network returns."""

    prediction: jax.Array  # [B, outputs]
    fused: jax.Array  # [B, T * C], C = out_dim * number of active views.
    representations: dict[str, jax.Array]  # H_m, [B, T, out_dim] by active view.


class TimeProjection(nn.Module):
    """A linear map of the time axis without bias; `params` kernel `[T, features]`."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, T, C]` to `[B, features, C]`."""
        init = initializers.torch_uniform(x.shape[1])
        kernel = self.param("kernel", init, (x.shape[1], self.features))
        return jnp.einsum(
            "btc,ts->bsc", x.astype(self.dtype), kernel.astype(self.dtype)
        )


class TextHead(nn.Module):
    """Two linear maps without bias of BERT's mean vector, nothing between them."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Maps `[B, D]` to `[B, features]`."""
        for i, width in enumerate((HIDDEN, self.features)):
            layer = linear.Linear(
                width, use_bias=False, dtype=self.dtype, name=f"linear{i}"
            )
            z = layer(z)
        return z


class Head(nn.Module):
    """Two layers and the output layer on the flattened fusion."""

    channels: int
    outputs: int = 1
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, seed: jax.Array | None = None) -> jax.Array:
        """Maps `[B, T * C]` to `[B, outputs]`; for `seed` see `dropout.Dropout`."""
        x = nn.relu(linear.Linear(x.shape[-1], dtype=self.dtype, name="linear1")(x))
        x = dropout.Dropout(self.dropout, name="dropout")(x, seed)
        x = linear.Linear(self.channels, dtype=self.dtype, name="linear2")(x)
        return linear.Linear(self.outputs, dtype=self.dtype, name="out")(x)


def common_length(lengths: Mapping[str, int], sizes: Sizes) -> int:
    """T*, the shortest distilled length of ALL views, active or not, as released."""
    layers, distil = sizes.dis_e_layers, sizes.distil
    return min(
        prob_sparse.lengths_of(n, layers, distil=distil)[-1] for n in lengths.values()
    )


def draw_keys(
    key: jax.Array | None, lengths: Mapping[str, int], sizes: Sizes
) -> dict[str, list[jax.Array]]:
    """Keys that ProbSparse attention samples, by view; see `prob_sparse.draw_keys`."""
    drawn = {}
    for i, view in enumerate(sizes.encoded):
        drawn[view] = prob_sparse.draw_keys(
            None if key is None else jax.random.fold_in(key, i),
            lengths[view],
            layers=sizes.dis_e_layers,
            factor=sizes.dis_factor,
            distil=sizes.distil,
        )
    return drawn


def _distilling(sizes: Sizes, **options: Any) -> prob_sparse.DistillingEncoder:
    """The distilling encoder of one modality."""
    return prob_sparse.DistillingEncoder(
        out_features=sizes.out_dim,
        width=sizes.dis_d_model,
        heads=sizes.dis_n_heads,
        hidden=sizes.dis_d_ff,
        layers=sizes.dis_e_layers,
        factor=sizes.dis_factor,
        dropout=sizes.dis_dropout,
        distil=sizes.distil,
        head_layout=sizes.head_layout,
        dtype=sizes.dtype,
        **options,
    )


class Net(nn.Module):
    """Components `project_<view>`, `refine_<view>`, `time_<view>`, `<tokens>_head`,
    `fusion` and `head`, of the active views only."""

    sizes: Sizes

    @nn.compact
    def __call__(
        self,
        views: Mapping[str, jax.Array],
        sampled: Mapping[str, Sequence[jax.Array]],
        *,
        length: int,
        lengths: Mapping[str, jax.Array] | None = None,
        present: Mapping[str, jax.Array] | None = None,
        train: bool,
        seed: jax.Array | None = None,
    ) -> Outputs:
        """Predicts from sequences.

        Args:
          views: Active views, `[B, L, d]`, and BERT's mean vector `[B, D]` for tokens.
          sampled: Keys for ProbSparse attention, see `draw_keys`.
          length: T*, see `common_length`.
          lengths: Frames that are not padding, `[B]` by view; None: all are data.
          present: Samples that have a view, `[B]` bool by view; the representation of
            a missing view is zero.
          train: Whether statistics are the batch's.
          seed: Of dropout, `[2]` uint32; None: none.
        """
        s = self.sizes
        parts, fused = {}, []
        for view in s.active:
            if view in s.encoded:
                valid = (lengths or {}).get(view)
                encode = self._encoder(view, length)
                h = encode(views[view], sampled[view], valid, train=train, seed=seed)
            else:
                head = TextHead(s.out_dim, dtype=s.dtype, name=f"{view}_head")
                z = head(views[view])[:, None]  # The same vector at all positions.
                h = jnp.broadcast_to(z, (z.shape[0], length, z.shape[2]))
            parts[view] = h
            here = (present or {}).get(view)
            if here is not None:
                h = h * here[:, None, None].astype(h.dtype)
            fused.append(h)
        x = jnp.concatenate(fused, axis=-1)  # [B, T, C]
        transformer = cross_modal.Transformer(
            s.num_heads,
            s.nlevels,
            s.attn_dropout,
            s.relu_dropout,
            s.res_dropout,
            s.embed_dropout,
            s.attn_mask,
            s.dtype,
            name="fusion",
        )
        channels = x.shape[-1]
        x = transformer(x, seed=seed).reshape(x.shape[0], -1)
        head = Head(channels, s.outputs, s.out_dropout, s.dtype, name="head")
        return Outputs(head(x, seed=seed), x, parts)

    def _encoder(self, view: str, length: int) -> Callable[..., jax.Array]:
        """The layers between a sequence and its H_m, `[B, T, out_dim]`."""
        s = self.sizes
        # The text; the other inputs get no dropout.
        rate = s.embed_dropout if view == s.views[0] else 0.0
        drop = dropout.Dropout(rate, name=f"dropout_{view}")
        project = linear.Linear(
            s.dis_d_model, use_bias=False, dtype=s.dtype, name=f"project_{view}"
        )
        refine = _distilling(s, name=f"refine_{view}")
        shorten = TimeProjection(length, dtype=s.dtype, name=f"time_{view}")

        def encode(x, sampled, lengths, *, train, seed):
            x = project(drop(x, seed))
            return shorten(refine(x, sampled, lengths, train=train, seed=seed))

        return encode


# Where the published module departs from PyTorch's default initial values.
INITIAL = {
    "params/refine_*/embed/kernel": initializers.kaiming_normal,
    "params/fusion/*/bias": initializers.zeros,
    "params/fusion/*/kernel": initializers.xavier_uniform,
    "params/bert/*/kernel": initializers.small_normal,
    "params/bert/*/embedding": initializers.small_normal,
    "params/bert/*/bias": initializers.zeros,
}


def torch_leaves(sizes: Sizes, text: bert.Config | None = None) -> list[torch_map.Leaf]:
    """Table of the published module's state dict.

    What the module holds and never uses (the decoder's embedding of each encoder, the
    layers of inactive views, constant buffers) lies as it is in the collection `unused`,
    under its own key; see `unused`.

    Args:
      sizes: Sizes; the views are in the published order l, a, v.
      text: BERT's sizes; None: the file has no BERT.
    """
    nest, leaves = torch_map.nest, []
    for letter, view in zip("lav", sizes.views, strict=False):
        if view not in sizes.encoded:
            continue
        leaves += torch_map.pointwise1d(f"project_{view}", f"proj_{letter}", bias=False)
        leaves += torch_map.pointwise1d(
            f"time_{view}", f"temp_proj_{letter}", bias=False
        )
        refine = prob_sparse.torch_leaves(sizes.dis_e_layers, distil=sizes.distil)
        leaves += nest(refine, flax=f"refine_{view}", torch=f"{letter}_refine")
    if sizes.tokens in sizes.active and not sizes.token_sequence:
        for i in range(2):
            flax, torch = (
                f"{sizes.tokens}_head/linear{i}",
                f"bert_feature_projection.{i}",
            )
            leaves += torch_map.pointwise1d(flax, torch, bias=False)
    leaves += nest(
        cross_modal.torch_leaves(sizes.nlevels),
        flax="fusion",
        torch="cross_modal_fusion",
    )
    for flax, torch in (
        ("linear1", "proj1"),
        ("linear2", "proj2"),
        ("out", "out_layer"),
    ):
        leaves += torch_map.linear(f"head/{flax}", torch)
    if text is not None:
        table = bert.torch_leaves(text, pooler=False)
        leaves += nest(table, flax="bert", torch=BERT_PREFIX)
    for key in unused(sizes, dict.fromkeys(sizes.views, (16, 1)), text):  # The keys.
        counter = key.endswith("num_batches_tracked")
        layout = torch_map.COUNT if counter else torch_map.KEEP
        leaves.append(torch_map.Leaf(f"unused/{key}", (key,), layout))
    return leaves


def standard_names(
    tensors: Mapping[str, Any], text: bert.Config | None
) -> dict[str, Any]:
    """Accepts old names, and BERT where nothing reads tokens."""
    ignored = ["*embeddings.position_ids", "cls.*", "pooler.*"]
    if text is None:  # Released: always there, and used for tokens only.
        ignored.append(f"{BERT_PREFIX}.*")
    return {
        key: x
        for key, x in bert.standard_names(tensors).items()
        if not tree.matches(key, ignored)
    }


def unused(
    sizes: Sizes, shapes: Mapping[str, tuple[int, ...]], text: bert.Config | None
) -> dict[str, tuple[int, ...]]:
    """Shapes of what the published module holds and never uses, by its key."""
    width, out = sizes.dis_d_model, sizes.out_dim
    found: dict[str, tuple[int, ...]] = {"cross_modal_fusion.version": (1,)}
    common = common_length({v: shape[0] for v, shape in shapes.items()}, sizes)
    for letter, view in zip("lav", sizes.views, strict=False):
        refine, active = f"{letter}_refine", view in sizes.active
        if active:
            for part, channels in (("enc", width), ("dec", out)):
                name = f"{refine}.{part}_embedding"
                found[f"{name}.position_embedding.pe"] = (1, POSITIONS, width)
                if part == "dec":
                    conv = f"{name}.value_embedding.tokenConv"
                    found[f"{conv}.weight"] = (width, channels, 3)
                    found[f"{conv}.bias"] = (width,)
        if view in sizes.encoded:
            continue
        length = prob_sparse.lengths_of(
            shapes[view][0], sizes.dis_e_layers, distil=sizes.distil
        )[-1]
        found[f"proj_{letter}.weight"] = (width, shapes[view][1], 1)
        found[f"temp_proj_{letter}.weight"] = (common, length, 1)
        if active:  # BERT's text: its encoder exists and is not run.
            found |= _encoder_shapes(sizes, refine)
    if text is not None:
        found[f"{BERT_PREFIX}.pooler.dense.weight"] = (text.hidden_size,) * 2
        found[f"{BERT_PREFIX}.pooler.dense.bias"] = (text.hidden_size,)
    return found


def _encoder_shapes(sizes: Sizes, prefix: str) -> dict[str, tuple[int, ...]]:
    """Published shapes of a whole encoder."""
    module = _distilling(sizes)
    sampled = prob_sparse.draw_keys(
        None, 16, layers=sizes.dis_e_layers, factor=1, distil=sizes.distil
    )
    x = jnp.zeros((1, 16, sizes.dis_d_model))
    made = jax.eval_shape(
        lambda: module.init(jax.random.key(0), x, sampled, train=False)
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), made)
    table = prob_sparse.torch_leaves(sizes.dis_e_layers, distil=sizes.distil)
    tensors = torch_map.to_torch(table, zeros)
    return {f"{prefix}.{key}": tensor.shape for key, tensor in tensors.items()}


def initial_unused(
    shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, np.ndarray]:
    """Initial values of the unused tensors, PyTorch's defaults, by key."""
    arrays = {}
    for key, shape in shapes.items():
        generator = np.random.default_rng((seed, zlib.crc32(key.encode())))
        if key.endswith(".version"):
            arrays[key] = np.full(shape, 2, np.float32)
        elif key.endswith(".pe"):
            arrays[key] = sequence.sinusoids(*shape[1:])[None]
        elif key.endswith("num_batches_tracked"):
            arrays[key] = np.zeros(shape, np.int32)
        elif "norm" in key:
            one = key.endswith(("weight", "running_var"))
            arrays[key] = np.full(shape, float(one), np.float32)
        else:
            weight = shapes.get(key.removesuffix("bias") + "weight", shape)
            bound = np.prod(weight[1:]) ** -0.5
            arrays[key] = generator.uniform(-bound, bound, shape).astype(np.float32)
    return arrays
