"""The trainer: same numbers everywhere, resumed or not; nothing is lost."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import tree
from mvjax.cost import compiled
from mvjax.train import health
from mvjax.train import log
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

CONFIG = str(pathlib.Path(__file__).parents[1] / "toy" / "config.py")


def make_run(*overrides: str) -> run_lib.Run:
    return run_lib.Run(config_lib.load(CONFIG, overrides))


def make_program(*overrides: str, devices: int = 1) -> program_lib.Program:
    return program_lib.Program(make_run(*overrides), devices=jax.devices()[:devices])


def train(workdir: pathlib.Path, *overrides: str, devices: int = 1):
    program = make_program(*overrides, devices=devices)
    state = loop.train(program, workdir, progress=False)
    return jax.device_get(state)


def lines(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir: pathlib.Path) -> np.ndarray:
    return np.array([m["loss"] for m in lines(workdir) if "loss" in m])


def assert_near(one, other, *, atol: float, skip: tuple[str, ...] = ()) -> None:
    """Equal parameters, but for leaves whose exact gradient is zero."""
    flat, theirs = tree.flatten(one), tree.flatten(other)
    assert flat.keys() == theirs.keys()
    for path in flat.keys() - set(skip):
        np.testing.assert_allclose(flat[path], theirs[path], atol=atol, err_msg=path)


def assert_same_bits(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_training_lowers_the_loss_and_leaves_a_whole_workdir(tmp_path):
    train(tmp_path, "epochs=20")
    assert losses(tmp_path)[-1] < 0.5 * losses(tmp_path)[0]
    for name in ("config.json", "run.json", "evaluation.json", "metrics.jsonl"):
        assert (tmp_path / name).is_file()
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["step"] == 60
    assert "shared/accuracy" in evaluation["results"]["knn"]


def test_resume_equals_uninterrupted_to_the_bit(tmp_path):
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", "epochs=2")
    resumed = train(tmp_path / "parts")
    assert_same_bits(whole, resumed)


def test_evaluators_run_every_so_many_epochs(tmp_path):
    train(tmp_path, "evals.knn.every_epochs=2")
    found = [m["step"] for m in lines(tmp_path) if "knn/shared/accuracy" in m]
    assert found == [6, 12]


def test_health_looks_at_the_codes_and_at_the_metrics(tmp_path, monkeypatch, capsys):
    seen = {}

    def observe(watch, step, metrics):
        seen[step] = dict(metrics)
        return [f"step {step}: all is lost"]

    monkeypatch.setattr(health.Watch, "observe", observe)
    train(tmp_path, "health_every_steps=6", "log_every_steps=4")
    assert list(seen) == [6, 12]
    logged = {m["step"]: m["loss"] for m in lines(tmp_path) if "loss" in m}
    assert seen[6]["loss"] == logged[4] and "health/shared/rank" in seen[6]
    assert "step 6: all is lost" in capsys.readouterr().err


def test_a_finished_run_does_nothing(tmp_path):
    first = train(tmp_path)
    log = (tmp_path / "metrics.jsonl").read_text()
    assert_same_bits(first, train(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_text() == log


def test_a_kill_before_the_last_evaluation_is_written_doubles_no_line(tmp_path):
    train(tmp_path, "evals.knn.every_epochs=2", "epochs=2")
    log = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "evaluation.json").unlink()
    train(tmp_path, "evals.knn.every_epochs=2", "epochs=2")
    assert (tmp_path / "metrics.jsonl").read_text() == log
    assert (tmp_path / "evaluation.json").is_file()


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param((8, 1, 1), id="8x1x1", marks=pytest.mark.slow),
        pytest.param((2, 2, 2), id="2x2x2"),  # It splits by all three.
        pytest.param((1, 4, 2), id="1x4x2", marks=pytest.mark.slow),
        pytest.param((1, 1, 8), id="1x1x8", marks=pytest.mark.slow),
    ],
)
def test_eight_devices_give_the_numbers_of_one(tmp_path, mesh):
    one = train(tmp_path / "one")
    names = ("data", "fsdp", "model")
    sizes = [f"mesh.{n}={s}" for n, s in zip(names, mesh, strict=True)]
    eight = train(tmp_path / "eight", *sizes, devices=8)
    np.testing.assert_allclose(
        losses(tmp_path / "one"), losses(tmp_path / "eight"), rtol=1e-5
    )
    # A bias in front of batch norm has no gradient; Adam makes steps of its rounding.
    assert_near(one.params, eight.params, atol=2e-5, skip=("left/bias",))


def test_a_run_resumes_on_other_devices(tmp_path):
    whole = train(tmp_path / "whole", "optim.name=sgd")
    train(tmp_path / "parts", "optim.name=sgd", "epochs=2")
    mesh = ("mesh.data=2", "mesh.fsdp=4")
    parts = train(tmp_path / "parts", "optim.name=sgd", *mesh, devices=8)
    assert parts.step == whole.step
    assert_near(whole.params, parts.params, atol=2e-5)


def test_parameters_and_optimiser_state_are_sharded():
    program = make_program("mesh.data=2", "mesh.fsdp=4", devices=8)
    state = program.initial_state()
    kernel = state.params["left"]["kernel"]
    assert kernel.shape == (6, 4)
    assert {s.data.shape for s in kernel.addressable_shards} == {(6, 1)}
    table = compiled.state_table(program)
    assert "parameters" in table and "mesh: data 2 x fsdp 4 x model 1" in table
    moments = [x for x in jax.tree.leaves(state.opt_state) if x.shape == (6, 4)]
    assert moments
    for leaf in moments:
        assert {s.data.shape for s in leaf.addressable_shards} == {(6, 1)}


def test_accumulated_gradients_are_those_of_the_batch(tmp_path):
    # Without the batch norm's side, whose statistics are of the micro-batch.
    frozen = ("freeze=('left','norm')", "epochs=1", "optim.name=sgd", "optim.lr=1e-4")
    whole = train(tmp_path / "whole", *frozen)
    parts = train(tmp_path / "parts", *frozen, "accumulate=4")
    moved = np.abs(whole.params["right"]["kernel"]).max()
    assert moved > 0
    # Dropout draws another mask for each micro-batch: only the scale must agree.
    np.testing.assert_allclose(
        losses(tmp_path / "whole"), losses(tmp_path / "parts"), rtol=0.5
    )
    assert parts.step == whole.step


def test_frozen_components_stay_bit_identical(tmp_path):
    program = make_program("freeze=('left','norm')")
    before = jax.device_get(program.initial_state())
    after = train(tmp_path, "freeze=('left','norm')")
    for name in ("left", "norm"):
        assert_same_bits(before.params[name], after.params[name])
    assert_same_bits(before.model_state, after.model_state)
    assert not np.array_equal(
        before.params["right"]["kernel"], after.params["right"]["kernel"]
    )
    slots = tree.flatten({"opt": _as_dict(after.opt_state)})
    assert not any("left" in path for path in slots)


def _as_dict(state):
    paths = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}


def test_alternating_updates_own_an_optimiser_each(tmp_path):
    state = train(tmp_path, "method.alternate=True")
    assert set(state.opt_state) == {"left", "right"}


def test_moving_average_follows_the_parameters(tmp_path):
    state = train(tmp_path, "ema_decay=0.5", "epochs=2")
    kernel, average = (x["right"]["kernel"] for x in (state.params, state.ema))
    distance = np.abs(kernel - average).max()
    assert 0 < distance < 0.1
    with make_run("ema_decay=0.5").checkpoints(tmp_path, read_only=True) as saved:
        variables, _ = saved.variables()
    np.testing.assert_array_equal(variables["params"]["right"]["kernel"], average)


EVALUATED = (
    "checkpoint.best=knn/shared/accuracy",
    "checkpoint.best_mode=max",
    "evals.knn.every_epochs=1",
)


@pytest.mark.parametrize(
    ("at", "settings"),
    [  # It is heard one step later.
        pytest.param(5, (), id="end of an epoch", marks=pytest.mark.slow),
        pytest.param(4, (), id="within one"),
        pytest.param(
            *(1, EVALUATED),
            id="before the metric of the best checkpoint is known",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_signal_saves_and_stops_and_the_run_resumes_to_the_same_bits(
    tmp_path, monkeypatch, at, settings
):
    whole = train(tmp_path / "whole", *settings)
    add, taken = log.Log.add, []

    def interrupt(self, metrics, steps):
        add(self, metrics, steps)
        taken.append(metrics)
        if len(taken) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(log.Log, "add", interrupt)
    with pytest.raises(loop.Interrupted) as stop:
        train(tmp_path / "parts", *settings)
    assert stop.value.code == 143
    monkeypatch.undo()
    resumed = train(tmp_path / "parts", *settings)
    assert_same_bits(whole, resumed)
    one, other = (lines(tmp_path / name) for name in ("whole", "parts"))
    for line in (*one, *other):
        line.pop("items_per_second", None)
    assert one == other
    with (
        make_run(*settings).checkpoints(tmp_path / "whole", read_only=True) as one,
        make_run(*settings).checkpoints(tmp_path / "parts", read_only=True) as other,
    ):
        assert one.best_step() == other.best_step()


def test_nan_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(errors.UserError, match="not finite at step"):
        train(tmp_path, "method.break_at=7")
    with make_run().checkpoints(tmp_path, read_only=True) as saved:
        variables, step = saved.variables()
    assert step == 6
    assert np.isfinite(variables["params"]["left"]["kernel"]).all()


def test_a_bad_step_may_be_skipped(tmp_path, capsys):
    skip = "nonfinite=skip"
    state = train(tmp_path / "skip", "method.break_at=7", skip, "log_every_steps=3")
    assert state.step == 12
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
    logged = [m for m in lines(tmp_path / "skip") if m["step"] == 9]
    assert np.isfinite(logged[0]["loss"])
    assert "step 9: 1 of 3 steps were skipped" in capsys.readouterr().err
    # Nothing but the count of steps moved in it.
    program = make_program("method.break_at=0", skip)
    run = program.run
    before = program.initial_state()
    kept = jax.device_get(before)
    batch = run.example()
    after, metrics = program.step(before, batch, jax.random.key(0))
    assert not np.isfinite(metrics["loss"])
    assert_same_bits(jax.device_get(after), kept.replace(step=kept.step + 1))


def test_a_bad_first_of_several_updates_is_skipped_too():
    # The second update's loss and gradient are finite.
    program = make_program(
        "method.alternate=True", "method.break_at=0", "nonfinite=skip"
    )
    run = program.run
    before = program.initial_state()
    kept = jax.device_get(before)
    after, metrics = program.step(before, run.example(), jax.random.key(0))
    assert not np.isfinite(metrics["loss"])
    for name in ("right/loss", "right/grad_norm"):
        assert np.isfinite(metrics[name])
    assert_same_bits(jax.device_get(after), kept.replace(step=kept.step + 1))


def test_a_run_of_bad_steps_stops_all_the_same(tmp_path):
    with pytest.raises(errors.UserError, match="at step 8, so .* all 1 steps") as stop:
        train(tmp_path, "method.break_at=7", "nonfinite=skip", "log_every_steps=1")
    assert "nonfinite=skip." not in str(stop.value)  # It is no advice here.


def test_the_bad_step_is_named(tmp_path):
    with pytest.raises(errors.UserError, match="not finite at step 8"):
        train(tmp_path, "method.break_at=7", "log_every_steps=6")


@pytest.mark.slow
def test_a_file_size_limit_ends_the_run_in_one_line(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from mvjax import cli\n"
        f"cli.main(['train', '--config={CONFIG}', '--workdir={tmp_path}/run'])\n"
    )
    tests = str(pathlib.Path(CONFIG).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": tests, "JAX_ENABLE_COMPILATION_CACHE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    # What else there is comes from threads that orbax leaves behind.
    line = f"mvjax: error: Cannot write {tmp_path}/run: a file would become larger"
    assert line in done.stderr
    assert "in end_together" not in done.stderr  # No traceback of ours.


def test_another_config_in_the_same_workdir_is_refused(tmp_path):
    train(tmp_path, "epochs=1")
    with pytest.raises(errors.UserError, match="config.seed"):
        train(tmp_path, "epochs=1", "seed=1")
    with pytest.raises(errors.UserError, match="config.method"):
        train(tmp_path, "epochs=1", "method.width=8")


def test_a_truncated_checkpoint_is_one_clear_error(tmp_path):
    train(tmp_path, "epochs=1")
    for file in (tmp_path / "checkpoints" / "3" / "state").rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[:50])
    for _ in range(2):  # Nor does asking again start from scratch.
        with pytest.raises(errors.UserError, match="damaged"):
            train(tmp_path, "epochs=2")


def test_the_best_checkpoint_is_kept_beside_the_latest(tmp_path):
    overrides = ("checkpoint.keep=1", "epochs=6", "optim.lr=0.3")
    train(tmp_path, *overrides)
    with make_run(*overrides).checkpoints(tmp_path) as saved:
        best, steps = saved.best_step(), saved.steps()
    by_step = {m["step"]: m["loss"] for m in lines(tmp_path) if "loss" in m}
    saved_steps = [s for s in by_step if s % 3 == 0]
    assert best == min(saved_steps, key=by_step.get)
    assert steps == sorted({best, 18})


def test_a_metric_named_like_an_evaluator_is_not_taken_for_its_score(
    tmp_path, monkeypatch
):
    toy = make_run().method
    plain = type(toy).loss

    def loss(*args):
        value, aux = plain(*args)
        return value, aux._replace(metrics=aux.metrics | {"knn/loss": value})

    monkeypatch.setattr(type(toy), "loss", loss)
    train(tmp_path, *EVALUATED[:2], "evals.knn.every_epochs=2", "log_every_steps=3")
    assert "best_step" in json.loads((tmp_path / "evaluation.json").read_text())


def test_a_run_stops_where_nothing_improves_and_its_best_step_is_evaluated(tmp_path):
    overrides = (
        "epochs=30",
        "evals.knn.every_epochs=1",
        "checkpoint.best=knn/shared/accuracy",
        "checkpoint.best_mode=max",
        "checkpoint.evaluate=best",
        "control.metric=knn/shared/accuracy",
        "control.mode=max",
        "control.stop_after=2",
    )
    state = train(tmp_path, *overrides)
    assert state.step < 90
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    run = make_run(*overrides)
    with run.checkpoints(
        tmp_path, read_only=True
    ) as saved:  # As other commands see it.
        assert run.evaluated_step(saved) == evaluation["best_step"]
    name = "shared/accuracy"
    seen = {m["step"]: m[f"knn/{name}"] for m in lines(tmp_path) if f"knn/{name}" in m}
    best = evaluation["best_step"]
    assert evaluation["results"]["knn"][name] == seen[best] == max(seen.values())
    assert_same_bits(state, train(tmp_path, *overrides))  # It stays stopped.


def test_a_lowered_learning_rate_scales_every_update(tmp_path):
    overrides = ("control.metric=knn/shared/accuracy", "evals.knn.every_epochs=1")
    settings = (*overrides, "control.mode=max", "control.threshold=9.0")
    state = train(tmp_path, *settings, "control.lower_after=1", "control.factor=0.0")
    with make_run(*settings).checkpoints(tmp_path, read_only=True) as saved:
        before, _ = saved.variables(9)  # Two epochs without a ninefold accuracy.
    assert state.lr_scale == 0
    assert_same_bits(state.params, before["params"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.batch_size=64", "48 records, fewer .* Set that to 48 or less"),
        ("mesh.data=3", "does not fit 1 devices"),
        ("freeze=('lefft',)", "Did you mean 'left'"),
        ("checkpoint.best=knn/acc", "metric in config.checkpoint.best"),
        ("method.name=toy.nothing", "Unknown methods"),
        ("method.name=agrement", "Unknown methods 'agrement'"),
        ("data.name=digitz", "Did you mean 'digits'"),
        ("optim.name=adamm", "Did you mean 'adam'"),
        ("optim.schedule.name=consine", "Did you mean 'cosine'"),
        ("evals.knn.features=('shard',)", "Did you mean 'shared'"),
        ("freeze=('a',)", "component pattern of config.freeze 'a'"),
    ],
)
def test_mistakes_name_the_culprit_and_the_choices(tmp_path, override, message):
    with pytest.raises(errors.UserError, match=message):
        train(tmp_path, override)


def test_nothing_is_written_where_the_batches_do_not_fit(tmp_path):
    settings = ("data.last_batch=keep", "data.batch_size=10")
    with pytest.raises(errors.UserError, match="reads whole batches only"):
        train(tmp_path / "w", "data.device_resident=True", *settings)
    assert not (tmp_path / "w").exists()


def test_a_source_of_weights_that_is_missing_is_told_before_anything_is_made():
    program = make_program()
    run = program.run
    with run.config.unlocked():
        run.config.warm_start = {"a": {"source": "nowhere", "take": {"left": "left"}}}
    with pytest.raises(errors.UserError, match="warm_start.a: there is no .* nowhere"):
        program.initial_state()


def test_groups_of_no_component_are_refused():
    program = make_program()
    run = program.run
    with run.config.unlocked():
        run.config.optim.groups = {"a": {"match": "lefft"}, "rest": {}}
    with pytest.raises(errors.UserError, match="groups.a.match 'lefft'.*'left'"):
        _ = program.optimizers


def test_a_state_larger_than_the_machine_is_refused_before_it_is_made():
    program = make_program()
    run = program.run
    run.method = dataclasses.replace(run.method, width=2**34)  # Beyond the limits.
    with pytest.raises(errors.UserError, match="state need .* GiB, but cpu has"):
        program.initial_state()


def test_more_steps_than_the_state_can_count_are_refused():
    run = make_run("epochs=2147483647")
    with pytest.raises(errors.UserError, match="config.epochs means .* too many"):
        _ = run.total_steps
