"""Both stages of MRDD in the real trainer, at the debug size of their configs."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import tree
from mvjax.methods import mrdd_consistency
from mvjax.methods import mrdd_disentangle
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import sharding

ROOT = pathlib.Path(__file__).parents[2]


def make_program(stage: str, *overrides: str, devices: int = 1) -> program_lib.Program:
    config = config_lib.load(f"{ROOT}/configs/mrdd/{stage}.py:debug", overrides)
    run = run_lib.Run(config)
    return program_lib.Program(run, devices=jax.devices()[:devices])


def take_steps(program: program_lib.Program, steps: int = 2):
    """State before and after some steps, with the metrics of each."""
    run, state = program.run, program.initial_state()
    before = jax.device_get(state)
    rows = sharding.batch_sharding(program.mesh)
    metrics = []
    source = run.source("train")
    for i in range(steps):
        batch = source_batch(source, run.batch_size, i)
        batch = sharding.put_batch(batch, rows)
        state, found = program.step(state, batch, jax.random.key(0))
        metrics.append(jax.device_get(found))
    return before, jax.device_get(state), metrics


def source_batch(source, size: int, number: int) -> dict:
    records = [source[(number * size + i) % len(source)] for i in range(size)]
    return jax.tree.map(lambda *x: np.stack(x), *records)


def moved(before, after, collection: str) -> set[str]:
    """Components of which some leaf changed."""
    old, new = (
        tree.flatten(x.params if collection == "params" else x.model_state[collection])
        for x in (before, after)
    )
    return {
        path.split("/")[0] for path in old if not np.array_equal(old[path], new[path])
    }


@pytest.mark.slow
def test_eight_devices_give_the_losses_and_weights_of_one():
    _, one, first = take_steps(make_program("consistency"))
    _, eight, second = take_steps(make_program("consistency", "mesh.fsdp=2", devices=8))
    for a, b in zip(first, second, strict=True):
        for name in a:
            # Sums over a batch in another order, in float32.
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, err_msg=name)
    old, new = tree.flatten(one.params), tree.flatten(eight.params)
    # Weights with a well-conditioned gradient. Adam turns the rounding of a gradient
    # that is nearly zero into a step of the learning rate, so single entries may differ
    # by two steps; their mean may not.
    for path in old:
        if path.endswith("kernel"):
            difference = np.abs(old[path] - new[path])
            assert difference.mean() < 1e-5, path
            assert difference.max() < 2.1e-3, path


@pytest.mark.parametrize(
    ("objective", "trained", "statistics"),
    [
        pytest.param(
            ("method.objective=club",),
            {"encoders", "decoders", "estimators"},
            {"encoders", "decoders"},
            marks=pytest.mark.slow,  # It compiles the whole of stage 2.
        ),
        pytest.param(
            ("method.objective=released", "method.teacher_mode=train"),
            {"encoders", "estimators"},
            {"encoders", "teacher"},
            marks=pytest.mark.slow,  # The recorded trajectory shows it, too.
        ),
    ],
    ids=["club", "released"],
)
def test_what_stage_two_moves(objective, trained, statistics):
    one_level = ("method.ch_mult=(1,)", "method.specific_ch_mult=(1,)")
    program = make_program("disentangle", *objective, *one_level)
    before, after, metrics = take_steps(program)
    assert {n.split("_")[0] for n in moved(before, after, "params")} == trained
    found = {n.split("_")[0] for n in moved(before, after, "batch_stats")}
    assert found == statistics
    assert all(np.isfinite(v) for m in metrics for v in m.values())
    slots = jax.tree_util.tree_flatten_with_path(after.opt_state)[0]
    assert not any("teacher" in jax.tree_util.keystr(path) for path, _ in slots)


def small(kind, **fields):
    sizes = dict(image_size=8, hidden=4, ch_mult=(1,), num_res_blocks=1, c_dim=3)
    return kind(**sizes | fields)


def views(names, count=6, size=8, seed=0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "views": {
            n: rng.integers(0, 256, (count, size, size, 1), np.uint8) for n in names
        },
        "label": np.zeros(count, np.int32),
        "index": np.arange(count, dtype=np.int32),
    }


def test_estimator_steps_alternate():
    method = small(mrdd_disentangle.Method, specific_ch_mult=(1, 2), estimator_steps=3)
    names = [update.name for update in method.updates]
    assert names == ["estimator"] * 3 + ["main"]
    assert method.updates[0].trains == ("estimators_*",)
    assert method.updates[-1].trains == ("encoders_*", "decoders_*")


def test_the_alternating_parts_sum_to_the_joint_loss():
    fields = dict(
        specific_ch_mult=(1,),
        specific_hidden=4,
        specific_num_res_blocks=1,
        estimator_hidden=8,
    )
    method = small(mrdd_disentangle.Method, **fields)
    batch = views(method.views)
    variables = method.init(jax.random.key(0), batch)
    key = jax.random.key(1)
    whole, _ = method.loss(variables, batch, key)
    parts = [
        loss(variables, batch, key)[0]
        for loss in (method.encoder_loss, method.estimator_loss)
    ]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_views_and_the_discrete_code(count):
    names = tuple(f"view{i}" for i in range(count))
    method = small(mrdd_consistency.Method, views=names, categories=4, temperature=1.0)
    batch = views(names) | {"step": jnp.int32(0), "epoch": jnp.int32(5)}
    variables = method.init(jax.random.key(0), batch)
    loss, aux = method.loss(variables, batch, jax.random.key(1))
    assert np.isfinite(loss)
    assert aux.model_state["annealing"]["code"]["temperature"] < 1.0
    out = method.predict(variables, batch)
    assert out["shared"].shape == (6, 12)
    np.testing.assert_allclose(out["shared"].reshape(6, 3, 4).sum(-1), 1, rtol=1e-5)
    assert set(out) == {"shared", *(f"recon/{n}" for n in names)}


def test_an_absent_view_neither_shows_nor_costs():
    method = small(mrdd_consistency.Method)
    batch = views(method.views)
    other = views(method.views, seed=1)
    absent = np.zeros(6, bool)
    variables = method.init(jax.random.key(0), batch)
    results = []
    for edge in (batch["views"]["edge"], other["views"]["edge"]):
        mine = {
            **batch,
            "views": {**batch["views"], "edge": edge},
            "present": {"edge": absent},
        }
        loss, aux = method.loss(variables, mine, jax.random.key(1))
        results.append((loss, method.predict(variables, mine)["shared"]))
        assert aux.metrics["recon/edge"] == 0
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.slow
def test_bfloat16_stays_near_float32():
    key = jax.random.key(1)
    values = {}
    for dtype in ("float32", "bfloat16"):
        method = small(mrdd_consistency.Method, dtype=dtype, ch_mult=(1, 2))
        batch = views(method.views, count=16)
        variables = method.init(jax.random.key(0), batch)
        assert {x.dtype for x in jax.tree.leaves(variables["params"])} == {
            jnp.dtype("float32")
        }
        values[dtype], _ = method.loss(variables, batch, key)
    # bfloat16 carries 8 bits; the loss averages over thousands of pixels.
    np.testing.assert_allclose(values["bfloat16"], values["float32"], rtol=0.02)


@pytest.mark.slow
def test_masked_parts_of_the_batch_give_the_whole_sum():
    method = small(mrdd_consistency.Method)
    batch = views(method.views)
    variables = method.init(jax.random.key(0), batch)
    one, aux = method.loss(variables, batch, jax.random.key(1))
    two, parts = method.loss(variables, {**batch, "parts": 2}, jax.random.key(1))
    np.testing.assert_allclose(2 * aux.metrics["recon"], parts.metrics["recon"])
    np.testing.assert_allclose(aux.metrics["kl"], parts.metrics["kl"])
    assert two > one
