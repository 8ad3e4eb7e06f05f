"""Workdirs: claimed last, nobody's without a checkpoint, told in one line when damaged."""

import json
import os
import pathlib
import platform
import shutil
import subprocess

import pytest

from mvjax import cli
from mvjax.core import errors
from mvjax.core import json_value
from mvjax.core import workdir as workdir_lib
from mvjax.train import checkpoint
from mvjax.train import integrity
from mvjax.train import search
from tests.train import test_loop

CONFIG = "--config=tests/toy/config.py"
ALLOW = "--allow-code=toy"


def fails(capsys, *argv) -> str:
    """The one line of a command that is refused."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in argv])
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert stop.value.code == 2 and lines[-1].startswith("mvjax: error: "), lines
    return lines[-1]


def listing(folder: pathlib.Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "toy"
    test_loop.train(workdir, "epochs=2")
    return workdir


@pytest.mark.parametrize(
    "mistake",
    [
        "--config.evals.knn.name=knnn",
        "--config.data.batch_size=1000",
        "--config.mesh.data=3",
        "--config.freeze=('*',)",
        "--config.data.options.noise=loud",
    ],
)
def test_a_refused_attempt_leaves_nothing_behind(tmp_path, capsys, mistake):
    fails(capsys, "train", CONFIG, f"--workdir={tmp_path}/a/b", mistake)
    assert listing(tmp_path) == []


def test_a_folder_without_a_checkpoint_is_nobodys(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 7, "method": {"name": "other"}}')
    (tmp_path / "checkpoints").mkdir()
    assert test_loop.train(tmp_path, "epochs=1").step == 3


def test_a_mismatch_names_the_field_and_both_values(trained, capsys):
    before = listing(trained)
    line = fails(
        capsys, "train", CONFIG, f"--workdir={trained}", "--config.method.width=5"
    )
    assert "config.method.width: 4 there, 5 here" in line
    assert listing(trained) == before


def test_a_chain_refuses_a_mistake_of_its_last_stage_before_the_first(tmp_path, capsys):
    line = fails(
        capsys,
        *("chain", "one=tests/toy/config.py", "two=tests/toy/config.py"),
        *(f"--workdir={tmp_path}/chain", "--two.freeze=('*',)"),
    )
    assert "config.freeze leaves nothing to train" in line
    assert listing(tmp_path) == []


@pytest.mark.parametrize("command", ["evaluate", "embed", "report", "convert"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\x00\x01", "config.json is damaged"),
        (b"[1, 2]", "it holds a list [...], not an object"),
        (b'{"method": 3}', "config.json: config lacks 'optim'"),
        (b'{"a.b": 3}', "config.json: "),
        (b"[" * 5000, "config.json is damaged"),
    ],
)
def test_a_damaged_config_is_one_line(
    trained, tmp_path, capsys, command, content, words
):
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_bytes(content)
    workdir = f"--workdir={tmp_path}/run"
    more = {
        "evaluate": (workdir,),
        "embed": (workdir, "--dataset=test", f"--output={tmp_path}/c.npz"),
        "report": (f"{tmp_path}/run",),
        "convert": ("--to=torch", workdir, f"--output={tmp_path}/c.npz"),
    }[command]
    assert words in fails(capsys, command, *more, ALLOW)


def test_a_setting_of_another_type_is_told(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"method": 3}))
    line = fails(capsys, "evaluate", f"--workdir={tmp_path}/run", ALLOW)
    assert "config.method is 3; it must hold settings" in line


def test_a_pipe_among_the_files_of_a_run_is_not_waited_for(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    newest = max((tmp_path / "run" / "checkpoints").iterdir(), key=lambda p: p.name)
    for file, argv in (
        (tmp_path / "run/metrics.jsonl", ("report", f"{tmp_path}/run")),
        (newest / "digest.json", ("evaluate", f"--workdir={tmp_path}/run")),
    ):
        file.unlink()
        os.mkfifo(file)
        assert file.name in fails(capsys, *argv, ALLOW)


def test_foreign_code_of_a_workdir_needs_leave(trained, capsys):
    line = fails(capsys, "evaluate", f"--workdir={trained}")
    assert "'toy.method', code outside mvjax" in line and "--allow-code=toy" in line


def test_a_workdir_whose_shapes_differ_names_the_leaf(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    values = json.loads(file.read_text())
    values["method"]["width"] = 5
    file.write_text(json.dumps(values))
    for command in (("evaluate",), ("convert", "--to=torch", "--output=x.npz")):
        line = fails(capsys, *command, f"--workdir={tmp_path}/run", ALLOW)
        assert "params/left/bias has shape (4,) there, (5,) here" in line


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_file_in_place_of_a_workdir_is_told(tmp_path, capsys, command):
    (tmp_path / "f").write_text("text")
    config = (CONFIG,) if command == "train" else ()
    for place in ("f", "f/run"):
        line = fails(capsys, command, *config, f"--workdir={tmp_path}/{place}")
        assert "is a file" in line
    assert (tmp_path / "f").read_text() == "text"


@pytest.mark.parametrize(
    "name",
    ["config.json", "run.json", "metrics.jsonl", "evaluation.json", "checkpoints"],
)
def test_what_lies_in_the_place_of_a_runs_files_is_told_first(
    trained, tmp_path, capsys, name
):
    workdir = shutil.copytree(trained, tmp_path / "run")
    path = workdir / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.write_text("text") if name == "checkpoints" else path.mkdir()
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    line = fails(capsys, "train", CONFIG, f"--workdir={workdir}")
    assert f"{path}: it is a f" in line
    after = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    assert before.keys() == after.keys()
    assert {p.name for p in after if before[p] != after[p]} <= {".lock"}


def test_damaged_scores_are_told_before_a_run_goes_on(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained, tmp_path / "run")
    (workdir / "evaluation.json").write_text("{")
    config = (workdir / "config.json").stat().st_mtime_ns
    line = fails(capsys, "train", CONFIG, f"--workdir={workdir}")
    assert "evaluation.json is damaged" in line
    assert (workdir / "config.json").stat().st_mtime_ns == config
    assert "evaluation.json is damaged" in fails(capsys, "report", workdir, ALLOW)
    assert not (workdir / "report").exists()


def test_a_type_that_a_setting_cannot_have_is_told_by_its_key(
    trained, tmp_path, capsys
):
    workdir = shutil.copytree(trained, tmp_path / "run")
    file = workdir / "config.json"
    values = json.loads(file.read_text())
    for key, value in (("seed", "0"), ("freeze", 3), ("warm_start", [1])):
        file.write_text(json.dumps(values | {key: value}))
        assert f"config.{key} is " in fails(
            capsys, "evaluate", f"--workdir={workdir}", ALLOW
        )
    values["checkpoint"] |= {"best": "", "evaluate": "best"}
    file.write_text(json.dumps(values))
    line = fails(capsys, "evaluate", f"--workdir={workdir}", ALLOW)
    assert "checkpoint.evaluate=best needs a metric in config.checkpoint.best" in line


def test_scores_of_an_evaluator_that_went_do_not_end_the_report(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    file = workdir / "evaluation.json"
    found = json.loads(file.read_text())
    found["results"]["before"] = {"shared/accuracy": 1.0}
    file.write_text(json.dumps(found))
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", str(workdir), ALLOW])
    assert not stop.value.code
    assert "before" in (workdir / "report" / "index.html").read_text()


@pytest.mark.parametrize("broken", ["empty", "garbage", "metadata"])
def test_a_broken_step_names_the_others(trained, tmp_path, capsys, broken):
    shutil.copytree(trained, tmp_path / "run")
    step = tmp_path / "run" / "checkpoints" / "6"
    if broken == "metadata":
        (step / "state" / "_METADATA").write_bytes(b"{")
    else:
        shutil.rmtree(step)
        step.mkdir()
    if broken == "garbage":
        (step / "state").write_bytes(b"garbage")
    line = fails(capsys, "evaluate", f"--workdir={tmp_path}/run", ALLOW)
    assert "is damaged" in line and "--step=3" in line


def test_what_a_kill_left_of_a_deleted_checkpoint_is_collected(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    half = folder / "3"
    (half / integrity.FILE).unlink()
    for file in (half / "state").rglob("*"):
        if file.is_file():
            file.unlink()
    (folder / "9.orbax-checkpoint-tmp-0").mkdir()
    test_loop.train(tmp_path / "run", "epochs=3")
    assert sorted(p.name for p in folder.iterdir()) == ["6", "9"]
    assert not (tmp_path / "run" / integrity.DAMAGED).exists()


def test_what_a_kill_left_of_files_is_collected(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    ended = subprocess.Popen(["true"])
    ended.wait()
    for file in ("config.json", "metrics.jsonl", f"checkpoints/3/{integrity.FILE}"):
        path = tmp_path / "run" / file
        here = platform.node()[:40]
        for node, number in (
            (here, ended.pid),
            (here, os.getppid()),
            (f"{here}-2", ended.pid),
        ):
            path.with_name(f".{path.name}.{node}.{number}.tmp").write_text("{")
    test_loop.train(tmp_path / "run", "epochs=2")
    # These may be writing: a process that lives, and one of another machine.
    left = {path.name.split(f"{here}", 1)[1] for path in tmp_path.rglob(".*.tmp")}
    assert left == {f".{os.getppid()}.tmp", f"-2.{ended.pid}.tmp"}
    assert len(list(tmp_path.rglob(".*.tmp"))) == 6


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([0.5, float("nan"), 0.4], "max", 1),
        ([float("nan"), 0.5, 0.4], "max", 2),
        ([0.5, 0.5, 0.4], "max", 1),  # The earlier one of equals.
        ([0.5, None, 0.4], "min", 3),
        ([None, float("nan")], "min", None),
    ],
)
def test_the_best_is_never_nan_and_the_first_of_equals(values, mode, best):
    found = {i + 1: {} if v is None else {"m": v} for i, v in enumerate(values)}
    assert checkpoint.choose_best(found, "m", mode) == best


def test_the_best_checkpoint_survives_a_nan(tmp_path):
    program = test_loop.make_program("checkpoint.keep=1", "checkpoint.best=m")
    run = program.run
    run.config.checkpoint.best_mode = "max"
    state = program.initial_state()
    with run.checkpoints(tmp_path) as checkpoints:
        for step, value in enumerate([0.5, float("nan"), 0.4], start=1):
            checkpoints.save(state.replace(step=state.step + step), {}, {"m": value})
        checkpoints.wait()
        assert checkpoints.steps() == [1, 3] and checkpoints.best_step() == 1


def test_lists_of_stages_and_trials_are_checked(tmp_path):
    (tmp_path / "chain.json").write_text('["../elsewhere"]')
    with pytest.raises(errors.UserError, match="names no stage"):
        workdir_lib.stages(tmp_path)
    for text, words in (("[]", "it names no stage"), ('["a", "a"]', "a stage twice")):
        (tmp_path / "chain.json").write_text(text)
        with pytest.raises(errors.UserError, match=words):
            workdir_lib.stages(tmp_path)
    (tmp_path / "chain.json").write_text('{"a": 1}')
    with pytest.raises(errors.UserError, match=r"an object \{...\}, not a list"):
        workdir_lib.stages(tmp_path)
    (tmp_path / "search.json").write_text('{"trials": [{"name": 3}]}')
    with pytest.raises(errors.UserError, match=r"trials\[0\].name is 3, not a text"):
        search.find_trials(tmp_path, {})
    (tmp_path / "evaluation.json").write_text('{"step": "x", "results": {}}')
    with pytest.raises(errors.UserError, match="step is 'x', not a whole number"):
        workdir_lib.read_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("value", "form", "fault"),
    [
        ({"a": 1}, {"a": int}, ""),
        ({}, {"a": int}, "a is missing"),
        ({}, {"a?": int}, ""),
        ({"a": True}, {"a": int}, "a is True, not a whole number"),
        ([1, "x"], [int], "[1] is 'x', not a whole number"),
        ([1], [int, int], "it has 1 items, not 2"),
        ({"k": {"m": None}}, {str: {str: float}}, "k.m is null, not a number"),
        (None, (int, None), ""),
    ],
)
def test_forms_of_json(value, form, fault):
    assert json_value.find_fault(value, form) == fault
