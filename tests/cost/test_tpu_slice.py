"""`show --target`: what is measured of a step, and what is said of it."""

import json
import os
import pathlib
import subprocess
import types

import jax
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.cost import tpu_slice as target_lib
from mvjax.tracking import serve
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[2]
TOY = str(ROOT / "tests" / "toy" / "config.py")
SHIPPED = sorted((ROOT / "configs").glob("*/*.py"))
MIB = 2**20
FOUND = {
    "chips": 8,
    "mesh": {"data": 8, "fsdp": 1, "model": 1},
    "parameters": 2 * MIB,
    "optimiser": 4 * MIB,
    "rest": 0,
    "batch": MIB // 2,
    "activations": 1000 * MIB,
    "program": 17 * MIB,
    "peak": 4096 * MIB,
    "flops": 197e9,
    "bytes": 819e6 / 2,
    "loops": 0,
    "collectives": [dict(kind="all-reduce", group=8, count=2, bytes=8 * MIB)],
    "compiler": "libtpu 1.2",
    "seconds": 61.4,
}


def make_program(*overrides: str, devices: int = 8) -> program_lib.Program:
    config = config_lib.load(TOY, overrides)
    run = run_lib.Run(config, data_needed=False)
    return program_lib.Program(run, devices=jax.devices()[:devices])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v7:2x4", "Unknown TPU 'v7'.*v4, v5e, v5p, v6e"),
        ("v5e", "2 sides, such as v5e:4x8"),
        ("v5e:2x2x2", "2 sides, such as v5e:4x8"),
        ("v4:4x8", "3 sides, such as v4:2x2x2"),
        ("v5e:0x8", "2 sides"),
        ("v5e:2*4", "2 sides"),
    ],
)
def test_targets_that_are_none_are_named(name, message):
    with pytest.raises(errors.UserError, match=message):
        target_lib.parse(name)


def test_a_target_counts_its_chips():
    assert target_lib.parse("v5e:4x8").chips == 32
    assert target_lib.parse("v5p:2x2x4").chips == 16


def test_the_compiler_sees_no_flags_of_cpus():
    given = {"XLA_FLAGS": "--xla_cpu_x", "TPU_ACCELERATOR_TYPE": "v4", "HOME": "/h"}
    assert target_lib.clean_environment(given | {"JAX_PLATFORMS": "cuda"}) == {
        "HOME": "/h",
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }


def test_a_step_on_eight_devices_is_measured():
    program = make_program()
    found = target_lib.measure(program, "cpu")
    shapes = program.run.shapes["params"]
    params = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
    assert found["parameters"] == params
    assert 2 * params <= found["optimiser"] <= 2 * params + 64  # Adam's, and counts.
    # Two rows each of 2 x 6 float32, a label and an index.
    assert found["batch"] == 2 * (2 * 6 * 4 + 4 + 4)
    sums = [c for c in found["collectives"] if c["kind"] == "all-reduce"]
    assert {c["group"] for c in sums} == {8}
    assert sum(c["bytes"] for c in sums) >= params  # The gradients at least.
    assert found["flops"] > 0 and found["peak"] > found["parameters"]
    json.dumps(found)


def test_micro_batches_need_no_less_work_and_talk_more_often():
    one, four = (
        target_lib.measure(make_program("data.batch_size=32", f"accumulate={n}"), "cpu")
        for n in (1, 4)
    )
    assert four["flops"] >= one["flops"] and four["bytes"] >= one["bytes"]
    sums = [sum(c["count"] for c in found["collectives"]) for found in (one, four)]
    assert sums[1] == 4 * sums[0]  # Those of the statistics and of the gradients.


def test_sharded_parameters_count_in_part():
    whole = target_lib.chip_bytes(make_program().state_target.params)
    mesh = ("mesh.data=2", "mesh.fsdp=4")
    program = make_program(*mesh, "method.width=8")
    run = program.run
    split = target_lib.chip_bytes(program.state_target.params)
    # Two kernels 6 x 8 of 4 bytes divide by 4; biases and scales of 8 stay whole.
    leaves = jax.tree.leaves(run.shapes["params"])
    assert split == sum(x.size if x.ndim > 1 else 4 * x.size for x in leaves)
    assert whole == sum(
        4 * x.size for x in jax.tree.leaves(make_program().run.shapes["params"])
    )


def test_arguments_have_the_seeds_and_the_constants():
    state, batch, keys = make_program("seeds=3").step_arguments()
    assert keys.shape == (3,) and batch["views"]["left"].shape == (3, 16, 6)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state.params)} == {3}
    assert make_program().step_arguments()[2].shape == ()

    class Constant(type(make_program().run.method)):
        def constants(self, variables, batch, *, frozen):
            return {"codes": batch["views"]["left"][:, :2]}

    program = make_program()
    run = program.run
    run.__dict__["method"] = Constant()
    assert program.step_arguments()[1]["constant"]["codes"].shape == (16, 2)


def test_a_batch_that_does_not_divide_is_named():
    with pytest.raises(errors.UserError, match="data.batch_size 12 does not divide"):
        target_lib.measure(make_program("data.batch_size=12"), "cpu")


def test_memory_that_runs_out_is_named():
    target = target_lib.parse("v5e:2x4")
    line = target_lib.explain(
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for "
        "HLO temporaries (36.00G) exceeds available HBM (15.75G).\nmore",
        target,
    )
    assert "does not fit the memory of v5e:2x4: Ran out" in line
    assert "36.00G" in line and "config.data.batch_size" in line and "\n" not in line
    line = target_lib.explain("INTERNAL: no such thing\nand more", target)
    assert line == "libtpu cannot compile the step for v5e:2x4: no such thing"


def row(text: str, label: str) -> list[str]:
    (line,) = [x for x in text.splitlines() if x.startswith(label + "  ")]
    return line.split()


def test_the_tables_say_what_was_found():
    config = config_lib.load(TOY)
    text = target_lib.describe(FOUND, target_lib.parse("v5e:2x4"), config)
    assert "16, 2 for each chip" in text and "by libtpu 1.2 in 61 s" in text
    assert row(text, "activations, gradients")[-2:] == ["1000.00", "MiB"]
    assert "4096.00 MiB of 16384.00 MiB (25.0%)" in text
    # 2 * 7/8 of 8 MiB.
    assert row(text, "all-reduce") == ["all-reduce", "2", "8", "8.000", "14.000"]
    assert row(text, "compute")[1] == "1" and row(text, "memory")[1] == "0.5"
    # 14 MiB at 200 GB/s and 2 x 2 x 4 hops.
    assert row(text, "collectives")[1] == "0.0894"
    assert row(text, "apart")[1] == "1.089" and row(text, "together")[1] == "1"
    assert row(text, "8") == "8 1.089 ms 100.0% 1 ms 100.0%".split()
    # 15.94 MiB and 2 x 2 x 30 hops: 0.2036 ms.
    assert row(text, "256")[:4] == ["256", "1.204", "ms", "90.5%"]
    assert "Assumptions:" in text and "loops" not in text.split("Assumptions")[0]


def test_a_split_state_and_loops_are_told():
    mesh = {"data": 2, "fsdp": 4, "model": 1}
    text = target_lib.describe(
        FOUND | {"mesh": mesh, "loops": 3, "collectives": []},
        target_lib.parse("v5e:2x4"),
        config_lib.load(TOY),
    )
    assert "scaling: estimated only" in text and "of 3 loops" in text
    assert "no collectives" in text


def answer(monkeypatch, found: dict | None, stderr: str = ""):
    """Has the process that compiles answer so; returns what it was given."""
    given = {}

    def run(command, *, env, **_):
        given.update(config=json.loads(pathlib.Path(command[3]).read_text()), env=env)
        if found is not None:
            pathlib.Path(command[5]).write_text(json.dumps(found))
        return types.SimpleNamespace(returncode=-6, stderr=stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return given


def test_the_report_is_that_of_another_process(monkeypatch):
    given = answer(monkeypatch, FOUND)
    target, config = target_lib.parse("v5e:2x4"), config_lib.load(TOY, ["seed=9"])
    text = target_lib.report(config, target, environment={"XLA_FLAGS": "x"})
    assert text == target_lib.describe(FOUND, target, config)
    assert given["config"]["seed"] == 9 and "XLA_FLAGS" not in given["env"]
    assert "quickly" not in text and not set(target_lib.QUICK) & set(given["env"])
    text = target_lib.report(config, target, environment={}, quick=True)
    assert "61 s, quickly: activations" in text
    assert set(target_lib.QUICK.items()) <= set(given["env"].items())


def show(*argv: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["show", *argv])
    return stop.value.code


def test_a_suite_has_a_line_for_each_stage(monkeypatch, tmp_path, capsys):
    """Three stages, of which the second does not fit and the third has no such memory."""
    file = tmp_path / "suite.py"
    stages = {name: (TOY, (f"seed={i}",)) for i, name in enumerate("abc")}
    file.write_text(f"def get_suite(arg): return {stages}")
    slow = FOUND | {"bytes": 819e7, "peak": 20 * 2**30}
    results = [FOUND, {"error": "The step does not fit."}, slow]

    def run(command, **_):
        seed = json.loads(pathlib.Path(command[3]).read_text())["seed"]
        pathlib.Path(command[5]).write_text(json.dumps(results[seed]))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(target_lib, "check_installed", lambda: None)
    assert show(f"--suite={file}", "--target=v5e:2x4", "--quick") == 1
    told = capsys.readouterr()
    cells = "a 16 yes 4.0 of 16 GiB 1.089 ms 1 ms compute".split()
    assert row(told.out, "a") == cells
    assert row(told.out, "b") == "b failed: The step does not fit.".split()
    assert row(told.out, "c")[2:] == ("no 20.0 of 16 GiB 10.09 ms 10 ms memory".split())
    assert "mvjax: stage 2 of 3, b failed" in told.err
    assert show(f"--suite={file}", "--target=v5e:2x4", "--only=a") == 0
    capsys.readouterr()
    for argv, message in (
        ([f"--suite={file}"], "needs --target"),
        ([f"--suite={file}", "--target=v5e:2x4", "--no-compile"], "needs --target"),
        ([f"--suite={file}", "--target=v5e:2x4", "--only=d"], "Unknown stage 'd'"),
        ([f"--suite={file}", f"--config={TOY}"], "not allowed with"),
        ([f"--config={TOY}", "--only=a"], "--only goes with --suite"),
    ):
        assert show(*argv) == 2
        assert message in capsys.readouterr().err


def test_settings_of_quick_compilation_are_known_to_jax():
    (name,) = target_lib.QUICK
    assert name.lower() in jax.config.values


@pytest.mark.parametrize(
    ("found", "message"),
    [({"error": "It does not fit."}, "does not fit"), (None, "with -6.*: lock held")],
)
def test_what_the_other_process_cannot_do_is_one_line(monkeypatch, found, message):
    answer(monkeypatch, found, stderr="noise\nlock held\n\n")
    target, config = target_lib.parse("v5e:2x4"), config_lib.load(TOY)
    with pytest.raises(errors.UserError, match=message):
        target_lib.report(config, target, environment={})


def test_without_libtpu_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.UserError, match=r"pip install 'mvjax\[tpu\]'"):
        target_lib.check_installed()


@pytest.mark.slow
@pytest.mark.skipif(not serve.installed("libtpu"), reason="needs the extra tpu")
@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_shipped_configs_compile_for_a_slice(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    target = target_lib.parse("v5e:2x2")
    config = config_lib.load(f"{file}:debug")
    config.data.batch_size += -config.data.batch_size % target.chips
    text = target_lib.report(config, target, environment=os.environ)
    assert float(row(text, "parameters")[1]) > 0
    assert row(text, "all-reduce")[2] == "4"
    assert "peak memory" in text
