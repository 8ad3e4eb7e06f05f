"""RERD beside the recordings: missing views, lengths, tokens, draws, bad configs."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.convert import torch_names
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.methods import rerd
from mvjax.models import prob_sparse
from mvjax.models.layers import dropout
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]

VIEWS = ("text", "audio")
# One attention layer, two views: the recordings test the whole, and compiling is slow.
SMALL = dict(
    views=VIEWS,
    active=VIEWS,
    dis_d_model=8,
    dis_n_heads=2,
    dis_e_layers=1,
    dis_d_ff=8,
    nlevels=1,
    out_dim=6,
)
SHAPES = {"text": (9, 4), "audio": (16, 3), "vision": (12, 5)}
SLOW = pytest.mark.slow  # Where another case shows the same.
KEY = jax.random.key(0)


def make_batch(size=4, seed=0, tokens=False):
    rng = np.random.default_rng(seed)
    views = {k: rng.normal(size=(size, *s)) for k, s in SHAPES.items()}
    views = {k: v.astype(np.float32) for k, v in views.items()}
    if tokens:
        mask = np.arange(9) < rng.integers(2, 9, size)[:, None]
        ids = rng.integers(1, 20, (size, 9)) * mask
        views["text"] = np.stack([ids, mask, 0 * ids], axis=1).astype(np.int32)
    return {
        "views": views,
        "label": rng.integers(0, 3, size).astype(np.int32),
        "index": np.arange(size, dtype=np.int32),
        "targets": {"score": rng.uniform(-3, 3, size).astype(np.float32)},
        "lengths": {k: np.full(size, s[0] // 2, np.int32) for k, s in SHAPES.items()},
    }


def make_spec(tokens=False):
    views = {k: batch_lib.ViewSpec(s, "float32", -9, 9) for k, s in SHAPES.items()}
    if tokens:
        views["text"] = batch_lib.ViewSpec((3, 9), "int32", 0, 19)
    return batch_lib.Spec(
        views, 3, targets={"score": batch_lib.TargetSpec(low=-3.0, high=3.0)}
    )


def gradients(method, batch):
    variables = method.init(KEY, batch)

    def loss(params, batch):
        return method.loss({**variables, "params": params}, batch, KEY)

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, aux), grads = run(variables["params"], batch)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    return value, aux, grads


def test_a_missing_view_changes_nothing_about_the_others():
    method, batch = rerd.Method(**SMALL), make_batch()
    variables = method.init(KEY, batch)
    predict = jax.jit(method.predict)
    here = {"audio": np.array([True, False, True, False])}
    without = predict(variables, batch | {"present": here})
    noise = dict(batch["views"], audio=np.full((4, 16, 3), 7, np.float32))
    changed = predict(variables, batch | {"views": noise, "present": here})
    np.testing.assert_array_equal(without["score"][1::2], changed["score"][1::2])
    assert np.all(without["score"][::2] != changed["score"][::2])


def test_padding_is_not_attended_to_with_lengths():
    batch = make_batch()
    other = {k: v.copy() for k, v in batch["views"].items()}
    for view, values in other.items():
        values[:, batch["lengths"][view][0] :] += 5
    predicted = {}
    for use in (True, False):
        fields = SMALL | dict(dis_e_layers=2)
        method = rerd.Method(use_lengths=use, eval_exact=True, **fields)
        variables = method.init(KEY, batch)
        run = jax.jit(method.predict)
        a, b = (run(variables, batch | {"views": v}) for v in (batch["views"], other))
        predicted[use] = np.abs(a["score"] - b["score"]).max()
    assert predicted[True] == 0 and predicted[False] > 0.01


def test_draws_are_seeded_averaged_and_their_spread_is_told():
    batch = make_batch()
    method = rerd.Method(eval_draws=2, **SMALL)
    variables = method.init(KEY, batch)
    out = jax.jit(method.predict)(variables, batch)
    singles = []
    for i in range(2):
        lengths = {k: s[0] for k, s in SHAPES.items()}
        sampled = rerd.rerd.draw_keys(method._eval_key(i), lengths, method.sizes)
        run = jax.jit(functools.partial(method.forward, sampled=sampled))
        singles.append(run(variables, batch)[0].prediction)
    np.testing.assert_allclose(out["score"], np.mean(singles, axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        out["score_spread"], np.std(singles, axis=0), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("sequence", [False, pytest.param(True, marks=SLOW)])
def test_tokens_reach_the_score_and_frozen_bert_gets_gradients_only_when_trained(
    sequence,
):
    method = rerd.Method(
        tokens="text",
        token_sequence=sequence,
        bert_sizes=(20, 8, 1, 2, 8, 16),
        objective="raw",
        **SMALL,
    )
    method.check(make_spec(tokens=True))
    batch = make_batch(tokens=True)
    _, aux, grads = gradients(method, batch)
    assert np.any(grads["bert"]["embeddings"]["word"]["embedding"])
    name = "project_text" if sequence else "text_head"
    assert name in grads and "l1" in aux.metrics
    tables = method.torch_tables()
    fresh = method.init(KEY, batch)
    if not sequence:
        weights = torch_map.to_torch(tables["rerd"], fresh)
        back, _ = torch_map.to_flax(tables["rerd"], weights, template=fresh)
        same = jax.tree.map(lambda a, b: np.array_equal(a, b), fresh, back)
        assert all(jax.tree.leaves(same))


def test_views_dropped_in_training_leave_each_sample_one():
    method = rerd.Method(modality_dropout=0.7, **SMALL)
    batch = make_batch(size=200)
    held = {"text": np.arange(200) % 2 == 0}
    kept = method._dropped(batch | {"present": held}, KEY)
    table = np.stack([np.asarray(kept[v]) for v in method.active], axis=1)
    assert np.all(table.any(axis=1))
    assert not np.any(table[1::2, 0]), "a view that was absent came back"
    assert 0.2 < table[::2].mean() < 0.6


def test_the_regulariser_leaves_absent_samples_out():
    method = rerd.Method(**SMALL)
    batch = make_batch()
    h = {
        v: np.random.default_rng(1).normal(size=(4, 7, 6)).astype(np.float32)
        for v in method.active
    }
    h["audio"] = h["audio"] * np.array([1, 5, 1, 5], np.float32)[:, None, None]
    here = {"audio": np.array([True, False, True, False])}
    cost, _ = method._regulariser(h, batch | {"present": here})
    _, transports = rerd.sinkhorn.multimodal(list(h.values()))
    np.testing.assert_allclose(cost, transports[0].cost[::2].mean(), rtol=1e-6)


@pytest.mark.slow
def test_classification_learns_from_labels():
    method = rerd.Method(task="classification", classes=3, **SMALL)
    batch = make_batch()
    value, aux, _ = gradients(method, batch)
    assert "cross_entropy" in aux.metrics
    assert jax.jit(method.predict)(method.init(KEY, batch), batch)["logits"].shape == (
        4,
        3,
    )


@pytest.mark.parametrize(
    ("mode", "layout"),
    [
        pytest.param(mode, layout, marks=() if layout == "transpose" else SLOW)
        for mode, layout in zip(
            rerd.SINKHORN, [*prob_sparse.HEAD_LAYOUTS, "official"], strict=True
        )
    ],
)
def test_modes_and_layouts_give_finite_gradients(mode, layout):
    method = rerd.Method(sinkhorn=mode, head_layout=layout, **SMALL)
    _, aux, grads = gradients(method, make_batch())
    assert aux.metrics["msd"] > 0
    assert np.any(grads["refine_audio"]["attention0"]["attention"]["query"]["kernel"])


@pytest.mark.slow
def test_eight_devices_give_the_loss_and_gradients_of_one():
    # All plans stop together, so the regulariser is of the global batch.
    assert jax.device_count() == 8
    method, batch = rerd.Method(sinkhorn="official", **SMALL), make_batch(size=16)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=auto)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one, one_aux, one_grads = gradients(method, batch)
    eight, eight_aux, eight_grads = gradients(method, jax.device_put(batch, rows))
    np.testing.assert_allclose(one, eight, rtol=1e-5)
    np.testing.assert_allclose(
        one_aux.metrics["msd"], eight_aux.metrics["msd"], rtol=1e-5
    )
    for a, b in zip(
        jax.tree.leaves(one_grads), jax.tree.leaves(eight_grads), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4 * np.abs(a).max() + 1e-7)


@pytest.mark.slow
def test_released_regulariser_replaces_the_task_loss():
    batch = make_batch()
    _, _, grads = gradients(rerd.Method(objective="reg_only", **SMALL), batch)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["head"]))
    _, aux, grads = gradients(rerd.Method(objective="raw", **SMALL), batch)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads["head"]))
    assert "msd" not in aux.metrics


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "both"}, "joint"),
        ({"sinkhorn": "fast"}, "exact_1d"),
        ({"views": ("text", "sound"), "active": ("text",)}, "sound"),
        ({"active": ()}, "must not be empty"),
        ({"active": ("text", "smell")}, "smell"),
        ({"target": "mood"}, "score"),
        ({"tokens": "text"}, "integers [3, L]"),
        (
            {"dis_n_heads": 3},
            "config.method.dis_n_heads: dis_d_model = 8 is no multiple of 3",
        ),
        ({"bert_sizes": (1, 2)}, "6 numbers"),
        ({"task": "classification", "classes": 2}, "the data have 3"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(errors.UserError) as caught:
        rerd.Method(**(SMALL | fields)).check(make_spec())
    assert message in str(caught.value)


def test_wrapped_and_old_files_are_read():
    method, batch = rerd.Method(**SMALL), make_batch()
    variables = method.init(KEY, batch)
    table = method.torch_tables()["rerd"]
    weights = torch_map.to_torch(table, variables)
    wrapped = {f"module.{k}": v for k, v in weights.items()}
    wrapped["module.bert_model.model.pooler.dense.bias"] = np.zeros(3)
    fit = torch_names.fit({"rerd": table}, wrapped, method.standard_names)
    found, _ = torch_map.to_flax(table, fit.tensors, template=variables)
    same = jax.tree.map(np.array_equal, variables, found)
    assert all(jax.tree.leaves(same))


def test_unused_weights_have_published_names_only():
    method = dataclasses.replace(
        rerd.Method(**SMALL), views=("text", "audio", "vision"), active=("audio",)
    )
    unused = method.init(KEY, make_batch())["unused"]
    assert "proj_l.weight" in unused and "temp_proj_v.weight" in unused
    assert not any(key.startswith("l_refine") for key in unused)
    np.testing.assert_array_equal(unused["cross_modal_fusion.version"], [2])


def test_dropout_masks_are_fair_and_differ_by_seed_layer_and_step():
    seed = jax.random.key_data(KEY)
    bits = np.asarray(dropout.random_bits(seed, 1, (256, 64)), np.float64) / 2**32
    assert abs(bits.mean() - 0.5) < 0.01 and abs(bits.std() - 12**-0.5) < 0.01
    neighbours = np.corrcoef(bits[:, :-1].ravel(), bits[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.03
    other = np.asarray(dropout.random_bits(seed, 2, (256, 64)), np.float64) / 2**32
    assert abs(np.corrcoef(bits.ravel(), other.ravel())[0, 1]) < 0.03
    moved = np.asarray(dropout.random_bits(seed + 1, 1, (256, 64)), np.float64)
    assert abs(np.corrcoef(bits.ravel(), moved.ravel())[0, 1]) < 0.03
    y = dropout.Dropout(0.25).apply({}, np.ones((256, 64), np.float32), seed)
    assert abs(float(np.mean(y)) - 1) < 0.02
    assert abs(float(np.mean(np.asarray(y) == 0)) - 0.25) < 0.01


def test_constants_replace_a_frozen_bert_bit_for_bit():
    fields = SMALL | dict(tokens="text", bert_sizes=(20, 8, 1, 2, 8, 16))
    method, batch = rerd.Method(**fields), make_batch(tokens=True)
    variables = method.init(KEY, batch)
    assert method.constants(variables, batch, frozen=()) == {}
    found = method.constants(variables, batch, frozen=("bert",))
    assert found["text"].shape == (4, 8)
    predict = jax.jit(method.predict)
    plain = predict(variables, batch)
    kept = predict(variables, batch | {"constant": found})
    np.testing.assert_allclose(plain["score"], kept["score"], rtol=1e-5, atol=1e-6)
    other = predict(variables, batch | {"constant": {"text": found["text"] + 1}})
    assert np.any(other["score"] != kept["score"]), "the constants were not read"
    released = rerd.Method(bert_train_dropout=True, **fields)
    assert released.constants(variables, batch, frozen=("bert",)) == {}


def test_bert_is_tuned_at_its_own_rate_when_asked():
    spec = f"{ROOT}/configs/rerd/rerd.py:dataset=sentences,debug"
    assert config_lib.load(spec).freeze == ("bert",)
    run = run_lib.Run(config_lib.load(f"{spec},bert_lr=2e-5"))
    assert run.method.bert_train_dropout and not run.constant_shapes
    rates = program_lib.Program(run).optimizers["main"].schedules
    assert float(rates["bert"](0)) == pytest.approx(2e-5)
    assert float(rates["rest"](0)) == pytest.approx(1e-3)
    for text in ("dataset=sentences,bert_lr=-1.0", "bert_lr=2e-5"):
        with pytest.raises(errors.UserError, match="bert_lr"):
            config_lib.load(f"{ROOT}/configs/rerd/rerd.py:{text}")


def test_a_tuned_bert_has_gradients():
    fields = SMALL | dict(tokens="text", bert_sizes=(20, 8, 1, 2, 8, 16))
    method = rerd.Method(bert_train_dropout=True, objective="raw", **fields)
    *_, grads = gradients(method, make_batch(tokens=True))
    kernel = grads["bert"]["layer_0"]["intermediate"]["kernel"]
    assert np.abs(kernel).max() > 0


def test_attention_and_plans_of_the_report_are_distributions():
    method, batch = rerd.Method(**SMALL), make_batch()
    found = jax.jit(method.explain)(method.init(KEY, batch), batch)
    attention = {k: v for k, v in found.items() if k.startswith("attention/")}
    assert len(attention) == 3, "two encoders' layers and one of the fusion"
    for values in attention.values():
        np.testing.assert_allclose(values.sum(axis=-1), 1, rtol=1e-5)
    fusion = attention["attention/fusion layer0"]
    assert not np.any(np.triu(fusion[0], 1)), "the fusion is causal"
    plan, points = found["plan/text-audio"], found["features/text"]
    assert plan.shape == (4, points.shape[1], found["features/audio"].shape[1])
    np.testing.assert_allclose(plan.sum(axis=(1, 2)), 1, rtol=1e-3)


def test_tokens_beyond_the_words_of_bert_are_refused():
    fields = SMALL | {"tokens": "text", "bert_sizes": (20, 8, 1, 2, 8, 16)}
    rerd.Method(**fields).check(make_spec(tokens=True))
    few = fields | {"bert_sizes": (19, *fields["bert_sizes"][1:])}
    with pytest.raises(errors.UserError, match=r"below 19: .* in 0\.\.19"):
        rerd.Method(**few).check(make_spec(tokens=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset=watch,views=text+audio", "views=text.*accelerometer.gyroscope"),
        ("dataset=watch,file=x.npz", "config.data.options 'file'.*folder"),
        ("dataset=mosi,bert=folder", "bert=folder.*text=bert"),
    ],
)
def test_config_arguments_that_nothing_would_read_are_refused(text, words):
    with pytest.raises(errors.UserError, match=words):
        config_lib.load(f"{ROOT}/configs/rerd/rerd.py:{text}")


def test_the_file_of_a_config_reaches_both_kinds_of_pickles():
    for name in ("mosi", "mult_mosi"):
        config = config_lib.load(
            f"{ROOT}/configs/rerd/rerd.py:dataset={name},file=x.pkl"
        )
        assert config.data.options.file == "x.pkl"


def test_classification_needs_labels():
    method = rerd.Method(views=("audio",), active=("audio",), task="classification")
    view = batch_lib.ViewSpec((9, 4), "float32", -1.0, 1.0)
    spec = batch_lib.Spec({"audio": view}, None)
    with pytest.raises(errors.UserError, match="no labels, which the task"):
        method.check(spec)
