"""RERD: a score from unaligned text, audio and vision, regularised by transport.

Guo, Kong and Kot, "Deep Multimodal Sequence Fusion by Regularized Expressive
Representation Distillation", IEEE Transactions on Multimedia, 2022. It minimises

    mean |prediction - score| + reg_lambda * sum of transport costs between modalities

(`joint`); the released code only the second term if there is one (`reg_only`), else `raw`.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.core import tree
from mvjax.losses import classification
from mvjax.losses import sinkhorn
from mvjax.methods.checks import rerd as rerd_checks
from mvjax.models import bert
from mvjax.models import bert_config
from mvjax.models import prob_sparse
from mvjax.models import rerd
from mvjax.models.layers import initializers
from mvjax.ops import masking

OBJECTIVES = ("joint", "raw", "reg_only")
TASKS = ("regression", "classification")
SINKHORN = ("official", "converged", "exact_1d")
Arrays = dict[str, jax.Array]
# Pairs of modalities that the regulariser compares, by the number of modalities.
_PAIRS = {1: (), 2: ((0, 1),), 3: ((0, 1), (1, 2), (2, 0))}


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _features(outputs: rerd.Outputs) -> Arrays:
    """The representation of each view, flattened to `[B, D]`, as `features/<view>`."""
    found = outputs.representations.items()
    return {f"features/{view}": h.reshape(h.shape[0], -1) for view, h in found}


@dataclasses.dataclass(frozen=True)
class Method(method.Method):
    """RERD for one or more sequences; sizes have the names of the published flags.

    `views` are all views of the data in fusion order and `active` those that are used;
    the common length is the shortest distilled length of all, as released. `tokens`
    names a view `[3, L]` of BERT's tokens, mask and segments. Of it the fusion gets
    BERT's mean vector, or with `token_sequence` an encoded sequence like the others.
    """

    views: limits.Names = ("text", "audio", "vision")
    active: limits.Names = ("text", "audio", "vision")
    target: limits.Text = "score"
    task: limits.one_of(*TASKS) = "regression"
    classes: limits.Classes = 3  # The number of classes of the task "classification".
    tokens: str = ""
    token_sequence: bool = False
    # The numbers of words, width, layers, heads, hidden width and positions.
    bert_sizes: tuple[limits.Size, ...] = (30522, 768, 12, 12, 3072, 512)
    bert_type_vocab_size: limits.Size = 2  # Kinds of segments.
    bert_activation: limits.one_of(*bert_config.ACTIVATIONS) = "gelu"
    bert_eps: limits.Positive = 1e-12  # Epsilon of BERT's layer norms.
    bert_dropout: limits.Rate = 0.1  # This rate needs `bert_train_dropout`.
    bert_attention_dropout: limits.Rate = 0.1
    bert_pad_id: int = 0  # Token whose vector is never trained; -1 is none.
    bert_train_dropout: bool = False  # The released code sets it for frozen BERT too.
    out_dim: limits.Size = 30
    dis_d_model: limits.Size = 64
    dis_n_heads: limits.Size = 4
    dis_e_layers: limits.Layers = 2
    dis_d_ff: limits.Size = 64
    dis_factor: limits.Size = 3
    dis_dropout: limits.Rate = 0.2
    distil: bool = True
    head_layout: limits.one_of(*prob_sparse.HEAD_LAYOUTS) = "official"
    nlevels: limits.Layers = 5
    num_heads: limits.Size = 3
    attn_mask: bool = True
    attn_dropout: limits.Rate = 0.1
    relu_dropout: limits.Rate = 0.1
    res_dropout: limits.Rate = 0.1
    embed_dropout: limits.Rate = 0.25
    out_dropout: limits.Rate = 0.5
    use_lengths: bool = False  # Padded frames are not attended to.
    modality_dropout: limits.Share = 0.0  # Share of samples that lose a view.
    objective: limits.one_of(*OBJECTIVES) = "joint"
    reg_lambda: limits.Weight = 0.1
    sinkhorn: limits.one_of(*SINKHORN) = "official"  # Mode of `losses.sinkhorn`.
    sinkhorn_epsilon: limits.Positive = 0.5
    sinkhorn_iterations: limits.Runs = 30
    sinkhorn_threshold: limits.Weight = 0.1
    eval_seed: limits.Natural = 0  # Draws ProbSparse attention's keys in evaluation.
    eval_draws: limits.Runs = 1  # Predictions are averaged over so many draws.
    eval_exact: bool = False  # All keys are compared; nothing is drawn.
    dtype: limits.Dtype = "float32"

    @functools.cached_property
    def sizes(self) -> rerd.Sizes:
        """What the network is built from."""
        names = {f.name for f in dataclasses.fields(rerd.Sizes)}
        fields = {k: v for k, v in vars(self).items() if k in names}
        fields |= dict(
            tokens=self.tokens or None,
            outputs=1 if self.task == "regression" else self.classes,
            dtype=jnp.dtype(self.dtype),
        )
        return rerd.Sizes(**fields)

    @functools.cached_property
    def text(self) -> bert.Config | None:
        """BERT's sizes, if tokens are read."""
        if not self.tokens:
            return None
        return bert_config.from_fields(self, drop=self.bert_train_dropout)

    def check(self, spec: Any) -> None:
        super().check(spec)
        rerd_checks.check(self, spec)

    def view_shapes(self, batch: method.Batch) -> dict[str, tuple[int, int]]:
        """`(L, d)` of each view; d of tokens is BERT's width."""
        shapes = {v: tuple(batch["views"][v].shape[1:]) for v in self.views}
        if self.tokens:
            shapes[self.tokens] = (shapes[self.tokens][-1], self.text.hidden_size)
        return shapes

    def _view_lengths(self, batch: method.Batch) -> dict[str, int]:
        return {view: length for view, (length, _) in self.view_shapes(batch).items()}

    def init(self, rng: jax.Array, batch: method.Batch) -> method.Variables:
        shapes = self.view_shapes(batch)
        # The numbers come from NumPy; the network is only traced for their shapes.
        traced = jax.eval_shape(lambda: self._trace(batch))
        variables = initializers.torch_default(rng, traced, rerd.INITIAL)
        unused = rerd.unused(self.sizes, shapes, self.text)
        return variables | {"unused": rerd.initial_unused(unused, 0)}

    def _trace(self, batch: method.Batch) -> dict:
        key = jax.random.key(0)
        variables: dict[str, dict] = {"params": {}}
        if self.tokens in self.active:
            tokens = batch["views"][self.tokens]
            made = self._bert.init(key, *self._rows(tokens), train=False)
            variables["params"]["bert"] = made["params"]
        inputs = self._inputs(variables, batch, None)
        lengths = self._view_lengths(batch)
        sampled = rerd.draw_keys(key, lengths, self.sizes)
        length = rerd.common_length(lengths, self.sizes)
        net = rerd.Net(self.sizes)
        made = net.init(key, inputs, sampled, length=length, train=False)
        made["params"] |= variables["params"]
        return made

    @property
    def _bert(self) -> bert.Bert:
        return bert.Bert(self.text, dtype=jnp.dtype(self.dtype), pooler=False)

    def _rows(self, tokens: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Ids, mask and segments, `[B, L]` each, within BERT's tables."""
        words, kinds = self.text.vocab_size, self.text.type_vocab_size
        ids = jnp.clip(tokens[:, 0].astype(jnp.int32), 0, words - 1)
        segments = jnp.clip(tokens[:, 2].astype(jnp.int32), 0, kinds - 1)
        return ids, tokens[:, 1] > 0, segments

    def _inputs(
        self, variables: method.Variables, batch: method.Batch, rng: jax.Array | None
    ) -> Arrays:
        """What the network reads: sequences, and BERT's vectors for tokens."""
        inputs = {}
        for view in self.active:
            x = batch["views"][view]
            if view != self.tokens:
                inputs[view] = x.astype(jnp.dtype(self.dtype))
                continue
            if view in batch.get("constant", {}):
                inputs[view] = batch["constant"][view]
                continue
            ids, mask, segments = self._rows(x)
            drop = rng is not None and self.bert_train_dropout
            rngs = {"dropout": rng_lib.named(rng, "bert")} if drop else None
            mine = {"params": variables["params"]["bert"]}
            out = self._bert.apply(mine, ids, mask, segments, train=drop, rngs=rngs)
            out = out["last"]
            if not self.token_sequence:
                inputs[view] = bert.masked_mean(out, mask)
            else:
                inputs[view] = out * mask[..., None].astype(out.dtype)
        return inputs

    def constants(
        self, variables: method.Variables, batch: method.Batch, *, frozen: tuple
    ) -> Arrays:
        """BERT's mean vectors `[B, D]`, if it is frozen, deterministic and pooled."""
        vector = not (self.token_sequence or self.bert_train_dropout)
        read = {*self.active} & {*batch["views"]}
        if self.tokens not in read or not (vector and tree.matches("bert", frozen)):
            return {}
        return {self.tokens: self._inputs(variables, batch, None)[self.tokens]}

    def _lengths(self, batch: method.Batch) -> Arrays | None:
        if not self.use_lengths:
            return None
        lengths = dict(batch.get("lengths", {}))
        if self.tokens:
            mask = batch["views"][self.tokens][:, 1] > 0
            lengths[self.tokens] = jnp.sum(mask, axis=1)
        return lengths

    def forward(
        self,
        variables: method.Variables,
        batch: method.Batch,
        rng: jax.Array | None = None,
        *,
        sampled: Any = None,
        present: Any = None,
        inspect: bool = False,
    ) -> tuple[rerd.Outputs, method.Variables]:
        """Runs the network.

        Args:
          variables: All components.
          batch: Views, see `check`.
          rng: Key of a training step; None: evaluation mode.
          sampled: Keys for ProbSparse attention; None: drawn from `rng`, or from
            `eval_seed`.
          present: Samples that have a view; None: as the batch says.
          inspect: Whether to return attention too, in evaluation mode.

        Returns:
          The outputs, and the statistics that moved (in training) or attention.
        """
        train = rng is not None
        lengths = self._view_lengths(batch)
        if sampled is None:
            key = rng_lib.named(rng, "keys") if train else self._eval_key(0)
            sampled = rerd.draw_keys(key, lengths, self.sizes)
        net = rerd.Net(self.sizes)
        mine = {k: v for k, v in variables.items() if k in ("params", "batch_stats")}
        mine["params"] = {k: v for k, v in mine["params"].items() if k != "bert"}
        arguments = dict(
            length=rerd.common_length(lengths, self.sizes),
            lengths=self._lengths(batch),
            present=batch.get("present") if present is None else present,
            train=train,
        )
        inputs = self._inputs(variables, batch, rng)
        if not train:
            # Attention is kept only for `explain`.
            kept = ["intermediates"] if inspect else False
            found = net.apply(mine, inputs, sampled, **arguments, mutable=kept)
            return found if inspect else (found, {})
        seed = jax.random.key_data(rng_lib.named(rng, "dropout"))
        arguments |= dict(seed=seed, mutable=["batch_stats"])
        return net.apply(mine, inputs, sampled, **arguments)

    def _eval_key(self, draw: int) -> jax.Array | None:
        if self.eval_exact:
            return None
        return jax.random.fold_in(jax.random.key(self.eval_seed), draw)

    def loss(
        self,
        variables: method.Variables,
        batch: method.Batch,
        rng: jax.Array,
        *,
        sampled: Any = None,
    ) -> tuple[jax.Array, method.Aux]:
        present = self._dropped(batch, rng_lib.named(rng, "modalities"))
        outputs, moved = self.forward(
            variables, batch, rng, sampled=sampled, present=present
        )
        task = self._task_loss(_wide(outputs.prediction), batch)
        metrics = {"l1" if self.task == "regression" else "cross_entropy": task}
        total = task
        if self.objective != "raw":
            cost, more = self._regulariser(outputs.representations, batch)
            metrics |= more
            total = self.reg_lambda * cost
            if self.objective == "joint":
                total = total + task
        return total, method.Aux(metrics, dict(moved))

    def _task_loss(self, prediction: jax.Array, batch: method.Batch) -> jax.Array:
        if self.task == "classification":
            return classification.cross_entropy(prediction, batch["label"])
        truth = batch["targets"][self.target]
        return jnp.mean(jnp.abs(prediction[:, 0] - truth))

    def _transport(self, representations: Arrays) -> tuple[jax.Array, list[Any]]:
        """Transport between the active views' H_m, `[B, T, out_dim]` each."""
        return sinkhorn.multimodal(
            [_wide(representations[v]) for v in self.active],
            mode=self.sinkhorn,
            epsilon=self.sinkhorn_epsilon,
            max_iterations=self.sinkhorn_iterations,
            threshold=self.sinkhorn_threshold,
        )

    def _regulariser(
        self, representations: Arrays, batch: method.Batch
    ) -> tuple[jax.Array, Arrays]:
        """Summed transport costs and their diagnostics; absent views count nothing."""
        views = self.active
        msd, transports = self._transport(representations)
        present = batch.get("present")
        if present and transports:
            msd = jnp.zeros(())
            for (i, j), transport in zip(_PAIRS[len(views)], transports, strict=True):
                both = jnp.ones_like(transport.cost)
                for view in (views[i], views[j]):
                    both = both * present.get(view, 1)
                msd += jnp.sum(both * transport.cost) / jnp.maximum(jnp.sum(both), 1)
        metrics = {"msd": msd}
        if transports:
            for name in ("iterations", "marginal_error"):
                values = [jnp.mean(getattr(t, name)) for t in transports]
                metrics[f"sinkhorn_{name}"] = sum(values) / len(values)
        return msd, metrics

    def _dropped(self, batch: method.Batch, key: jax.Array) -> Any:
        """Presence with views dropped at random; every sample keeps one that it has."""
        present = batch.get("present")
        if not self.modality_dropout or len(self.active) < 2:
            return present
        rows = {view: batch["views"][view].shape[0] for view in self.active}
        rate = self.modality_dropout
        return masking.drop_modalities(key, rows, present or {}, rate=rate)

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns `score` `[B, 1]` (or `logits`), `shared`, the fused sequence
        flattened, and `features/<view>`; with several draws also `score_spread`, their
        standard deviation."""
        draws = 1 if self.eval_exact else self.eval_draws
        lengths = self._view_lengths(batch)
        predictions = []
        for i in range(draws):
            sampled = rerd.draw_keys(self._eval_key(i), lengths, self.sizes)
            outputs, _ = self.forward(variables, batch, sampled=sampled)
            predictions.append(_wide(outputs.prediction))
        name = "score" if self.task == "regression" else "logits"
        stacked = jnp.stack(predictions)
        out = {name: jnp.mean(stacked, axis=0), "shared": outputs.fused}
        if draws > 1:
            out[f"{name}_spread"] = jnp.std(stacked, axis=0)
        return out | _features(outputs)

    def explain(self, variables: method.Variables, batch: method.Batch) -> Arrays:
        """Attention of all layers and the transport plans between modalities."""
        outputs, found = self.forward(variables, batch, inspect=True)
        out = {}
        for path, (attention,) in tree.flatten(found["intermediates"]).items():
            name = path.removesuffix("/weights").replace("/", " ")
            out[f"attention/{name}"] = attention
        if len(self.active) not in _PAIRS:
            return out
        _, transports = self._transport(outputs.representations)
        pairs = _PAIRS[len(self.active)]
        for (a, b), transport in zip(pairs, transports, strict=True):
            out[f"plan/{self.active[a]}-{self.active[b]}"] = transport.plan
        return out | _features(outputs)

    def weight_fields(self) -> dict[str, tuple[str, ...]]:
        return {
            "bert": bert_config.WEIGHT_FIELDS,
            "refine_*": ("dis_n_heads", "dis_factor", "head_layout", "use_lengths"),
            "fusion": ("active", "num_heads", "attn_mask"),
            "head": ("active",),
        }

    def torch_tables(self) -> dict[str, torch_table.Table]:
        tables = {"rerd": rerd.torch_leaves(self.sizes, self.text)}
        if self.text is not None:
            leaves = bert.torch_leaves(self.text, pooler=False)
            tables["bert"] = torch_map.nest(leaves, flax="bert")
        return {name: torch_table.Table(leaves) for name, leaves in tables.items()}

    def check_published(self, table: str, config: dict[str, Any]) -> None:
        if table == "bert":
            bert_config.check_same(self, config)

    def torch_notes(self) -> dict[str, str]:
        return {} if self.text else {"rerd": rerd.WITHOUT_BERT}

    def standard_names(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return rerd.standard_names(tensors, self.text)
