"""The measurements of `mvjax bench`: what they are of, not how long they take."""

import contextlib
import json
import pathlib
import time
import types

import jax
import ml_collections
import numpy as np
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.cost import bench
from mvjax.cost import bench_tables as report_lib
from mvjax.cost import compiled
from mvjax.train import constants
from mvjax.train import feed
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = str(ROOT / "tests" / "toy" / "config.py")


def make_program(*overrides: str, devices: int = 1, **data) -> program_lib.Program:
    config = config_lib.load(CONFIG, overrides)
    with config.unlocked():
        config.data.update(data)
    run = run_lib.Run(config)
    return program_lib.Program(run, devices=jax.devices()[:devices])


def cost(program: program_lib.Program) -> float:
    return compiled.measure(program).work.flops


def test_a_report_holds_every_sample_and_where_it_was_taken():
    found = bench.measure(make_program(), steps=10, name="toy.py", overrides=["seed=0"])
    counts = {name: len(samples) for name, samples in found["samples"].items()}
    assert counts == {"input": 10, "put": 10, "step": 10, "loop": 2}
    again = report_lib.figures({}, found["samples"], found["amounts"])
    assert again.items() <= found["figures"].items()
    assert set(report_lib.FIGURES) - set(found["figures"]) == {
        "constants_seconds",  # The toy keeps none.
        "peak_share",  # And this is a CPU.
        "device_peak_bytes",
    }
    assert found["amounts"]["items"] == 16
    assert found["environment"]["device"] == jax.devices()[0].device_kind
    assert found["config"]["values"]["optim"]["name"] == "adamw"
    assert json.loads(json.dumps(found)) == found
    assert "toy.py --config.seed=0" in report_lib.table(found)


def test_steps_are_timed_alone_and_compiled_before():
    told = []

    @contextlib.contextmanager
    def alone():
        told.append("alone")
        yield
        told.append("no more")

    bench.measure(make_program(), steps=1, say=told.append, alone=alone)
    start = told.index("compiles the step")
    assert told[start + 1] == "alone"
    assert told[-2:] == ["no more", "reads the step from the cache"]


def test_steps_must_be_positive():
    with pytest.raises(errors.UserError, match="--steps"):
        bench.measure(make_program(), steps=0)


def test_seeds_and_data_on_the_device_are_fed_as_in_training():
    found = bench.measure(make_program("seeds=2", device_resident=True), steps=6)
    # Of log_every_steps 2 in one program; two of these make a sample, one is over.
    assert len(found["samples"]["loop"]) == 1
    assert "16 items a step for each of 2 seeds" in report_lib.table(found)


def test_untrained_variables_serve_and_their_constants_are_kept(monkeypatch):
    def keep(self, variables, batch, *, frozen):
        return {"double": 2 * batch["views"]["left"]}

    program = make_program()
    run = program.run
    with run.config.unlocked():
        run.config.warm_start = ml_collections.ConfigDict(
            dict(before=dict(source="previous", take=dict(left="left")))
        )
    with pytest.raises(errors.UserError, match="stage before"):
        program.initial_state()
    assert type(run.method).constants is method_lib.Method.constants
    monkeypatch.setattr(type(run.method), "constants", keep)
    assert bench.measure(program, steps=1)["figures"]["constants_seconds"] > 0
    assert constants.KEY in run.training_source("train")[0]


def test_work_is_that_of_the_whole_batch_on_all_devices():
    one = cost(make_program())
    rows, width, inputs = 16, 4, 6
    products = 2 * 2 * rows * inputs * width  # Of two views.
    # Forward, and gradients of the kernels but not of the input; the rest is small fry.
    assert 2 * products < one < 10 * products
    # Sums of gradients and metrics of so small a model come to a few per cent.
    assert cost(make_program("accumulate=2")) == pytest.approx(one, rel=0.05)
    assert cost(make_program(devices=8)) == one
    assert cost(make_program("data.batch_size=32")) > 1.4 * one


def test_the_peak_of_a_known_chip_is_of_the_compute_type(monkeypatch):
    class Device:
        device_kind = "NVIDIA H100 80GB HBM3"

    settings = ml_collections.ConfigDict(dict(method=dict(dtype="bfloat16")))

    class Known:
        run = types.SimpleNamespace(config=settings)
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), "data")

    assert bench._peak(Known) is None
    Known.mesh = type("Mesh", (), {"devices": np.array([Device()])})
    assert bench._peak(Known)["flops"] == pytest.approx(989e12)
    settings.method.dtype = "float32"
    assert bench._peak(Known)["flops"] == pytest.approx(494e12)


def test_compilation_is_measured_with_an_empty_cache_and_with_a_full_one(monkeypatch):
    events, measured = [], []
    kinds = ("compile_requests_use_cache", "cache_hits", "cache_misses")

    def listen(name: str, **unused: object) -> None:
        events.append(name.removeprefix("/jax/compilation_cache/"))

    def measure(program, arguments):
        program.step.lower(*arguments)  # Compiles small programs of its own.
        events.clear()
        step = plain(program, arguments)
        measured.append((step, [events.count(kind) for kind in kinds]))
        return step

    def take_steps(program, state, batch, keys, *unused):
        events.clear()
        state, _ = program.step(state, batch, keys)
        assert kinds[0] not in events  # The step needs no further compilation.
        return state, [1.0]

    folder = jax.config.jax_compilation_cache_dir
    plain = compiled.measure
    monkeypatch.setattr(compiled, "measure", measure)
    monkeypatch.setattr(bench, "_time_step", take_steps)
    jax.monitoring.register_event_listener(listen)
    try:
        found = bench.measure(make_program(), steps=1)["figures"]
        (first, cold), (later, warm) = measured
        assert cold == [1, 0, 1] and warm == [1, 1, 0]
        assert found["compile_seconds"] == first.compile_seconds
        assert found["warm_compile_seconds"] == later.compile_seconds
        assert jax.config.jax_compilation_cache_dir == folder
        events.clear()
        jax.jit(lambda x: x + 17)(1.0)
        assert kinds[0] in events  # The cache of the user is on again.
    finally:
        jax.monitoring.unregister_event_listener(listen)


def test_warm_up_is_left_out():
    calls = []
    assert len(bench._time(lambda: calls.append(0), 4)) == 4
    assert len(calls) == 4 + bench.WARM_UP


def test_no_step_of_the_loop_is_left_out(monkeypatch):
    seconds = 0.01

    class Feed:
        def advance(self, state, limit):
            time.sleep(seconds)  # As a device that sends no step off before its end.
            return state, {}, 1

    monkeypatch.setattr(feed, "make", lambda *unused: contextlib.nullcontext(Feed()))
    samples = bench._time_loop(make_program(), None, 9)
    assert len(samples) == 2 and min(samples) >= seconds


def test_loop_samples_are_means_between_marks():
    marks = [(3, 10.0), (4, 11.0), (5, 13.0), (6, 14.0), (7, 15.0), (8, 99.0)]
    assert bench._intervals(marks, 2) == [1.5, 1.0]
    assert bench._intervals([(3, 0.0), (20, 34.0), (23, 37.0)], 2) == [2.0, 1.0]


def test_missing_files_say_how_to_do_without(tmp_path):
    config = config_lib.load(str(ROOT / "configs/mrdd/disentangle.py"))
    run = run_lib.Run(config, cache=tmp_path)
    hint = "--config.data.synthetic=True --config.data.limit=2048"
    with pytest.raises(errors.UserError, match=hint):
        bench.measure(program_lib.Program(run))


def command(*argv: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", f"--config={CONFIG}", *map(str, argv)])
    return stop.value.code


def test_the_command_writes_and_compares(tmp_path, capsys, monkeypatch):
    file = tmp_path / "a.json"
    assert command("--steps=2", f"--output={file}", "--config.seed=3") == 0
    assert "trace and lower" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["config"]["values"]["seed"] == 3
    assert found["environment"]["mesh"] == {"data": 8, "fsdp": 1, "model": 1}
    later = json.loads(file.read_text())
    later["config"]["values"]["seed"] = 0
    monkeypatch.setattr(bench, "measure", lambda *args, **options: later)
    assert command(f"--compare={file}") == 0
    out = capsys.readouterr().out
    assert "warning: another config: seed 3 -> 0\n" in out
    assert "another environment" not in out
    assert "new/old" in out


def test_mistakes_come_before_the_measurement(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "measure", None)
    file = tmp_path / "a.json"
    file.write_text("{}")
    for option, message in (
        (f"--compare={file}", "no report of `mvjax bench`"),
        (f"--compare={tmp_path}/b.json", "No such file"),
        (f"--output={tmp_path}/nowhere/a.json", "no such folder"),
    ):
        assert command(option) == 2
        assert message in capsys.readouterr().err
