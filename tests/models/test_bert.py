"""BERT equals a plain version, reads published files, and fails by name."""

import dataclasses
import functools
import json
import math
import os
import pathlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import hugging_face
from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import storage
from mvjax.models import bert

MINILM = storage.default_cache(os.environ) / "minilm" / "model"
RECORDING = pathlib.Path(__file__).with_name("minilm.npz")
CONFIG = bert.Config(
    vocab_size=20,
    hidden_size=12,
    layers=2,
    heads=3,
    intermediate_size=16,
    max_positions=8,
)
JSON = dict(
    model_type="bert",
    vocab_size=20,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=16,
    max_position_embeddings=8,
    hidden_act="gelu",
)
IDS = np.array([[2, 7, 9, 3, 0, 0], [2, 5, 5, 19, 0, 3], [4, 8, 1, 2, 6, 0]])
MASK = np.array([[1, 1, 1, 1, 0, 0], [1] * 6, [0] * 6])  # The last is all padding.
SEGMENTS = np.array([[0, 0, 1, 1, 0, 0], [0, 1, 0, 1, 0, 1], [0] * 6])
ROWS = (IDS, MASK, SEGMENTS)


def draw(*, pooler=True):
    """Variables that are not the neutral ones."""
    generator = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: generator.normal(0.1, 0.5, x.shape).astype(np.float32),
        bert.shapes(CONFIG, pooler=pooler),
    )


def tensors(*, pooler=True):
    """The same as a state dict."""
    leaves = bert.torch_leaves(CONFIG, pooler=pooler)
    return torch_map.to_torch(leaves, draw(pooler=pooler))


@functools.partial(jax.jit, static_argnames=("config", "dtype", "pooler", "train"))
def run(variables, ids, mask, segments, key=None, *, config=CONFIG, **options):
    train = options.pop("train", False)
    model = bert.Bert(config, **options)
    rngs = None if key is None else {"dropout": key}
    return model.apply(variables, ids, mask, segments, train=train, rngs=rngs)


def plain_bert(weights, activation):
    """The formulas of the paper for each token and head, float64, by PyTorch names."""
    w = {name: np.asarray(x, np.float64) for name, x in weights.items()}

    def linear(name, x):
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def norm(name, x):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(name, rows, mask):
        query, key, value = (
            [linear(f"{name}.{part}", x) for x in rows]
            for part in ("query", "key", "value")
        )
        out = np.zeros_like(rows)
        for t in range(len(rows)):
            for head in range(CONFIG.heads):
                block = slice(4 * head, 4 * head + 4)  # 12 channels, 3 heads.
                seen = [s for s in range(len(rows)) if mask[s] or not mask.any()]
                scores = [query[t][block] @ key[s][block] / 2 for s in seen]
                if not mask.any():  # Rounded away by the mask's huge number.
                    scores = [0.0] * len(seen)
                chance = np.exp(scores) / np.sum(np.exp(scores))
                out[t, block] = sum(p * value[s][block] for p, s in zip(chance, seen))
        return out

    batch = []
    for ids, mask, segments in zip(*ROWS):
        rows = [
            norm(
                "embeddings.LayerNorm",
                w["embeddings.word_embeddings.weight"][ids[t]]
                + w["embeddings.position_embeddings.weight"][t]
                + w["embeddings.token_type_embeddings.weight"][segments[t]],
            )
            for t in range(len(ids))
        ]
        for i in range(CONFIG.layers):
            name = f"encoder.layer.{i}"
            mixed = attend(f"{name}.attention.self", np.stack(rows), mask)
            for t, x in enumerate(rows):
                h = linear(f"{name}.attention.output.dense", mixed[t])
                x = norm(f"{name}.attention.output.LayerNorm", x + h)
                h = np.vectorize(activation)(linear(f"{name}.intermediate.dense", x))
                h = linear(f"{name}.output.dense", h)
                rows[t] = norm(f"{name}.output.LayerNorm", x + h)
        batch.append(np.stack(rows))
    last = np.stack(batch)
    return last, np.stack([np.tanh(linear("pooler.dense", h[0])) for h in last])


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
        ("relu", lambda x: max(x, 0.0)),
    ],
)
def test_equals_a_plain_version(name, activation):
    config = dataclasses.replace(CONFIG, activation=name)
    with jax.default_matmul_precision("highest"):
        out = run(draw(), *ROWS, config=config)
    last, pooled = plain_bert(tensors(), activation)
    # Float32 sums of a dozen terms in two layers, of numbers around 1.
    np.testing.assert_allclose(out["last"], last, atol=2e-5)
    np.testing.assert_allclose(out["pooled"], pooled, atol=2e-5)
    assert len(out["layers"]) == CONFIG.layers + 1
    np.testing.assert_array_equal(out["layers"][-1], out["last"])


def test_what_stands_in_padding_does_not_matter():
    other = np.where(MASK, IDS, (IDS + 11) % 20)
    before, after = (run(draw(), x, MASK, SEGMENTS)["last"] for x in (IDS, other))
    real = MASK == 1
    np.testing.assert_array_equal(before[real], after[real])
    assert np.all(np.any(before[~real] != after[~real], axis=-1))


def test_only_training_drops():
    config = dataclasses.replace(CONFIG, layers=1)
    key, other = jax.random.split(jax.random.key(0))
    still = run(draw(), *ROWS, config=config)["last"]
    drop = functools.partial(run, draw(), *ROWS, train=True)
    first = drop(key, config=config)["last"]
    np.testing.assert_array_equal(first, drop(key, config=config)["last"])
    assert np.abs(first - still).max() > 0.1
    assert np.abs(first - drop(other, config=config)["last"]).max() > 0.1
    for rates in (dict(dropout=0.0), dict(attention_dropout=0.0)):  # One is enough.
        config = dataclasses.replace(config, **rates)
        change = np.abs(drop(key, config=config)["last"] - still).max()
        assert change > 0.1 if "dropout" in rates else change < 1e-5
    with pytest.raises(flax.errors.InvalidRngError):
        drop(config=CONFIG)


def test_word_vector_of_padding_gets_no_gradient():
    def loss(params, pad_id):
        config = dataclasses.replace(CONFIG, pad_id=pad_id)
        layer = bert.Embeddings(config)
        h = layer.apply({"params": params}, IDS, SEGMENTS, train=False)
        return jnp.sum(jnp.sin(h))

    params = draw()["params"]["embeddings"]
    fixed, free = (jax.grad(loss)(params, pad_id) for pad_id in (0, None))
    fixed, free = (np.array(x["word"]["embedding"]) for x in (fixed, free))
    assert not np.any(fixed[0]) and np.any(free[0])
    np.testing.assert_allclose(fixed[1:], free[1:], rtol=1e-5, atol=1e-6)


def test_unknown_ids_are_nan_and_long_texts_an_error():
    ids = np.where(IDS == 19, 20, IDS)
    bad = np.isnan(run(draw(), ids, MASK, SEGMENTS)["layers"][0]).any(axis=-1)
    np.testing.assert_array_equal(bad, ids == 20)
    long = np.zeros((1, 9), np.int32)
    with pytest.raises(errors.UserError, match="8 tokens at most, not 9"):
        run(draw(), long, long, long)


def test_bfloat16_stays_close():
    exact, rough = run(draw(), *ROWS), run(draw(), *ROWS, dtype=jnp.bfloat16)
    assert rough["last"].dtype == jnp.bfloat16
    # 8 bits of mantissa through two layers of numbers around 1.
    np.testing.assert_allclose(
        rough["last"].astype(np.float32), exact["last"], atol=0.2
    )
    assert bert.masked_mean(rough["last"], MASK).dtype == jnp.float32


def test_masked_mean_leaves_padding_out():
    h = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    expected = [h[0, :4].mean(axis=0), h[1].mean(axis=0), np.zeros(4)]
    np.testing.assert_allclose(bert.masked_mean(h, MASK), expected, atol=1e-6)


@pytest.mark.parametrize("name", [*hugging_face.FILES, "weights.npz"])
def test_every_kind_of_file_gives_the_same_variables(tmp_path, name):
    saved = {f"bert.{key}": x for key, x in tensors().items()}
    saved = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for key, x in saved.items()
    }
    saved["bert.embeddings.position_ids"] = np.arange(8)[None]
    saved["cls.predictions.bias"] = np.zeros(20, np.float32)
    files.write(tmp_path / name, saved)
    loaded = bert.load(
        tmp_path if name in hugging_face.FILES else tmp_path / name, CONFIG
    )
    assert_same(loaded, draw())


def test_wrapped_weights_in_shards_are_the_same(tmp_path):
    saved = {f"module._orig_mod.bert.{key}": x for key, x in tensors().items()}
    places = {}
    for i, key in enumerate(saved):
        places[key] = f"pytorch_model-0000{i % 2 + 1}-of-00002.bin"
    for name in set(places.values()):
        part = {key: saved[key] for key in saved if places[key] == name}
        files.write(tmp_path / name, part)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert_same(bert.load(tmp_path, CONFIG), draw())


def test_a_file_without_pooler(tmp_path):
    path = tmp_path / "a.safetensors"
    files.write(path, tensors(pooler=False))
    loaded = bert.load(path, CONFIG)
    assert "pooler" not in loaded["params"]
    assert_same(loaded, draw(pooler=False))
    assert "pooled" not in run(loaded, *ROWS, pooler=False)


def test_half_precision_becomes_float32(tmp_path):
    path = tmp_path / "a.pth"
    files.write(path, {key: x.astype(np.float16) for key, x in tensors().items()})
    expected = jax.tree.map(lambda x: x.astype(np.float16).astype(np.float32), draw())
    assert_same(bert.load(path, CONFIG), expected)


def test_table_loses_and_invents_nothing():
    weights = tensors()
    leaves = bert.torch_leaves(CONFIG)
    variables, report = torch_map.to_flax(leaves, weights)
    assert len(report.matched) == len(weights) == 5 + 16 * CONFIG.layers + 2
    again = torch_map.to_torch(leaves, variables)
    assert list(again) == list(weights)
    assert all(again[key].tobytes() == x.tobytes() for key, x in weights.items())


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_array_equal(a, b, strict=True)


def spoil_missing(weights):
    del weights["encoder.layer.1.output.dense.bias"]


def spoil_shape(weights):
    weights["embeddings.word_embeddings.weight"] = np.zeros((21, 12), np.float32)


def spoil_more(weights):
    weights["encoder.layer.2.output.dense.bias"] = np.zeros(12, np.float32)


def spoil_pooler(weights):
    del weights["pooler.dense.bias"]


def spoil_twice(weights):
    weights["bert.pooler.dense.bias"] = weights["pooler.dense.bias"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_missing, "missing keys: encoder.layer.1.output.dense.bias"),
        (spoil_shape, r"word_embeddings.weight: file has \(21, 12\), model wants"),
        (spoil_more, "left-over keys: encoder.layer.2.output.dense.bias"),
        (spoil_pooler, "missing keys: pooler.dense.bias"),
        (spoil_twice, "pooler.dense.bias under two names"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, spoil, message):
    weights = tensors()
    spoil(weights)
    files.write(tmp_path / "model.safetensors", weights)
    with pytest.raises(errors.UserError, match=message):
        bert.load(tmp_path, CONFIG)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(
        errors.UserError,
        match="has no model.safetensors and no model.safetensors.index",
    ):
        bert.load(tmp_path, CONFIG)


def test_config_comes_from_a_folder(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(JSON))
    assert bert.Config.from_folder(tmp_path) == CONFIG
    more = dict(layer_norm_eps=1e-5, hidden_dropout_prob=0.3, type_vocab_size=1)
    more |= dict(attention_probs_dropout_prob=0.2, hidden_act="relu", pad_token_id=None)
    path.write_text(json.dumps(JSON | more | {"torch_dtype": "float32"}))
    config = bert.Config.from_folder(tmp_path)
    expected = dict(eps=1e-5, dropout=0.3, attention_dropout=0.2, type_vocab_size=1)
    expected |= dict(activation="relu", pad_id=None)
    assert config == dataclasses.replace(CONFIG, **expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', must be 'bert'"),
        ({"position_embedding_type": "relative_key"}, "must be 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"hidden_act": "gleu"}, "hidden_act 'gleu'. Did you mean 'gelu'"),
        ({"num_attention_heads": 5}, "12 is no multiple of its 5 heads"),
        ({"hidden_size": "12"}, "hidden_size must be a positive integer, got '12'"),
        ({"vocab_size": True}, "vocab_size must be a positive integer, got True"),
        ({"hidden_act": ["gelu"]}, r"hidden_act \"\['gelu'\]\""),
        ({"hidden_act": None}, "hidden_act 'None'"),
        ({"layer_norm_eps": "1e-5"}, "eps must be a number from 0 to below 1, got '1e"),
        ({"layer_norm_eps": float("nan")}, "eps must be a number .* got nan"),
        ({"hidden_dropout_prob": 1.0}, "dropout must be a number .* got 1.0"),
        ({"attention_probs_dropout_prob": None}, "attention_dropout must .* got None"),
        ({"pad_token_id": 20}, "pad_id must be one of its 20 words or nothing, got 20"),
        ({"pad_token_id": [0]}, r"pad_id must be .* got \[0\]"),
        ({"pad_token_id": True}, "pad_id must be .* got True"),
        ({"num_hidden_layers": 2**70}, "a whole number of 22 digits"),
        ({"num_hidden_layers": 2**62}, "larger than any"),
        ({"hidden_size": 3 * 2**40}, "larger than any"),
        ({"type_vocab_size": 0}, "type_vocab_size must be a positive integer"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': \\[1\\]}, must be {}"),
    ],
)
def test_other_models_are_refused(tmp_path, change, message):
    (tmp_path / "config.json").write_text(json.dumps(JSON | change))
    with pytest.raises(errors.UserError, match=message) as caught:
        bert.Config.from_folder(tmp_path)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("architectures", "good"),
    [(["BertModel"], True), (["RobertaModel"], False), (None, True), ("x", False)],
)
def test_the_class_tells_where_no_model_type_does(architectures, good):
    content = {k: v for k, v in JSON.items() if k != "model_type"}
    content["architectures"] = architectures
    if good:
        assert bert.Config.from_json(content) == CONFIG
    else:
        with pytest.raises(errors.UserError, match="no plain BERT: architectures"):
            bert.Config.from_json(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Cannot read .*config.json"),
        ("{", "is no JSON file"),
        ("[]", "holds no JSON object"),
        ('{"vocab_size": 20, "hidden_size": 12}', "lacks num_hidden_layers, num_att"),
    ],
)
def test_a_damaged_config_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(errors.UserError, match=message):
        bert.Config.from_folder(tmp_path)


@pytest.mark.realdata
def test_published_weights_give_the_recorded_outputs():
    if not (MINILM / "model.safetensors").is_file():
        pytest.skip(f"{MINILM} is missing: run `mvjax data fetch minilm`")
    config = bert.Config.from_folder(MINILM)
    with np.load(RECORDING) as recorded, jax.default_matmul_precision("highest"):
        tokens = recorded["tokens"]
        out = run(bert.load(MINILM, config), *tokens.swapaxes(0, 1), config=config)
        # Float32 rounding in six layers of numbers up to 10, here and in PyTorch.
        last = out["last"][..., :: config.hidden_size // recorded["last"].shape[-1]]
        np.testing.assert_allclose(last, recorded["last"], atol=2e-5)
        pooled = out["pooled"][:, :: config.hidden_size // recorded["pooled"].shape[-1]]
        np.testing.assert_allclose(pooled, recorded["pooled"], atol=2e-5)
        mean = bert.masked_mean(out["last"], tokens[:, 1])
        np.testing.assert_allclose(mean, recorded["mean"], atol=1e-5)
    a, b = mean[:2] / jnp.linalg.norm(mean[:2], axis=1, keepdims=True)
    assert abs(a @ b - 0.7553) < 5e-5  # As its publishers print for these two.
