"""Outputs that cannot be written, and signals at bad moments: one line, right codes."""

import contextlib
import errno
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from mvjax import cli
from mvjax.convert import files
from mvjax.convert import torch_map
from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import lock
from mvjax.evaluators import knn
from mvjax.train import loop
from tests.train import test_loop


def end(*argv) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in argv])
    return stop.value.code


def places(folder: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Paths that no file can have, and what is told of them."""
    (folder / "file").write_text("text")
    (folder / "folder.npz").mkdir()
    return [
        (folder / "none" / "x.npz", "Cannot write .*no such folder"),
        (folder / "file" / "x.npz", "Cannot write .*(no such folder|is a file)"),
        (folder / "folder.npz", "Cannot write .*it is a folder"),
        (folder / ("x" * 300 + ".npz"), "the path, or a name in it, is too long"),
    ]


def test_paths_that_no_file_can_have_are_told_before_the_work(tmp_path):
    for path, message in places(tmp_path):
        for write in (atomic.check, lambda path: atomic.write_json(path, {})):
            with pytest.raises(errors.UserError, match=message):
                write(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_a_check_leaves_the_old_file_as_it_was(tmp_path):
    (tmp_path / "x.json").write_text("old")
    atomic.check(tmp_path / "x.json")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("old")

    def full(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(errors.UserError, match="Cannot write .*: the disk is full."):
        atomic.write_json(tmp_path / "x.json", {})
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_embed_and_convert_look_at_their_output_first(tmp_path, capsys):
    # There is no such workdir either, which would be told otherwise.
    workdir = f"--workdir={tmp_path}/none"
    for path, message in places(tmp_path):
        for command in (("embed", "--dataset=test"), ("convert", "--to=torch")):
            assert end(*command, workdir, f"--output={path}") == 2
            lines = capsys.readouterr().err.strip().splitlines()
            assert len(lines) == 1 and re.search(message, lines[0])


@pytest.mark.parametrize("command", [("data", "convert"), ("embed", "--workdir=none")])
def test_codes_and_conversions_end_in_npz_and_are_not_their_input(
    tmp_path, capsys, command
):
    source = tmp_path / "in.npz"
    source.write_text("mine")
    (tmp_path / "link.npz").symlink_to(source)
    for name, words in (
        ("in.npz", "is the --input"),
        ("link.npz", "is the --input"),
        ("out.pkl", "must end in .npz"),
    ):
        assert end(*command, f"--input={source}", f"--output={tmp_path / name}") == 2
        assert f"{name} {words}" in capsys.readouterr().err
    assert source.read_text() == "mine"
    assert not (tmp_path / "out.pkl").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_final_evaluation_stops_between_evaluators(
    tmp_path, monkeypatch, number
):
    run = knn.Evaluator.run

    def interrupted(self, features):
        os.kill(os.getpid(), number)
        return run(self, features)

    # The one evaluator is the last: what would follow the run is not to begin.
    monkeypatch.setattr(knn.Evaluator, "run", interrupted)
    with pytest.raises(loop.Interrupted) as stop:
        test_loop.train(tmp_path, "epochs=1")
    assert stop.value.code == 128 + number
    monkeypatch.undo()
    assert test_loop.train(tmp_path, "epochs=1").step == 3
    assert (tmp_path / "evaluation.json").is_file()


@pytest.mark.slow
def test_a_chain_that_is_told_to_stop_does_not_begin_its_next_stage(
    tmp_path, monkeypatch, capsys
):
    run = knn.Evaluator.run

    def interrupted(self, features):
        os.kill(os.getpid(), signal.SIGTERM)
        return run(self, features)

    argv = ["chain", "one=tests/toy/config.py:epochs=1", "two=tests/toy/config.py"]
    argv += [f"--workdir={tmp_path}/c", "--no-progress", "--two.epochs=1"]
    monkeypatch.setattr(knn.Evaluator, "run", interrupted)
    assert end(*argv) == 143
    assert not (tmp_path / "c" / "two").exists()
    monkeypatch.undo()
    assert end(*argv) == 0
    assert (tmp_path / "c" / "two" / "evaluation.json").is_file()
    assert "Traceback" not in capsys.readouterr().err


def test_a_signal_outside_the_loop_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(*unused, **more):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("mvjax.core.config.load", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        assert end("show", "--config=configs/mrdd/consistency.py:debug") == 130
    assert capsys.readouterr().err == "mvjax: interrupted\n"


TOY = "tests/toy/config.py:epochs=1"


def fails(capsys, *argv) -> str:
    """The one line of an expected mistake."""
    capsys.readouterr()
    assert end(*argv) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mvjax: error: ")
    return line


@pytest.fixture
def weights(tmp_path):
    run = test_loop.make_run()
    table = run.method.torch_tables()["toy"]
    tensors = torch_map.to_torch(table, run.fresh_variables())
    files.write(tmp_path / "weights.pth", tensors)
    return f"--input={tmp_path}/weights.pth"


def test_names_that_no_folder_can_have_are_one_line(tmp_path, capsys, weights):
    long = tmp_path / ("n" * 300)
    for argv in (
        ("train", f"--config={TOY}", f"--workdir={long}"),
        ("chain", f"one={TOY}", f"--workdir={long}"),
        ("convert", "--from=torch", f"--config={TOY}", weights, f"--workdir={long}"),
        ("report", long),
    ):
        line = fails(capsys, *argv)
        assert "the path, or a name in it, is too long." in line
        assert "goes on" not in line  # The same command never will.
    assert "No config file" in fails(capsys, "show", f"--config={long}.py")


def test_an_empty_workdir_is_not_the_folder_that_one_is_in(capsys):
    for argv in (("train", f"--config={TOY}", "--workdir="), ("report", "")):
        assert "it is empty; the folder you are in is '.'" in fails(capsys, *argv)


def test_a_link_to_nothing_is_told(tmp_path, capsys):
    (tmp_path / "link").symlink_to(tmp_path / "none")
    argv = ("train", f"--config={TOY}", f"--workdir={tmp_path}/link/w")
    assert fails(capsys, *argv).endswith(f"{tmp_path}/link is a link to nothing.")


def test_report_makes_no_folder_where_there_is_no_run(tmp_path, capsys):
    assert "is no workdir of mvjax" in fails(capsys, "report", tmp_path / "none")
    assert not any(tmp_path.iterdir())


def full(*unused, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_conversion_on_a_full_disk_leaves_nothing(
    tmp_path, capsys, monkeypatch, weights
):
    workdir = tmp_path / "w"
    argv = ("convert", "--from=torch", f"--config={TOY}", weights)
    argv += (f"--workdir={workdir}",)
    for place in ("Checkpoints.save", "Checkpoints.wait"):
        with monkeypatch.context() as patch:
            patch.setattr(f"mvjax.train.checkpoint.{place}", full)
            line = fails(capsys, *argv)
        assert line == f"mvjax: error: Cannot write {workdir}: the disk is full."
        assert not workdir.exists()
    # What a thread of the library leaves behind its failure is in nobody's way.
    (workdir / "checkpoints" / "0.orbax-checkpoint-tmp").mkdir(parents=True)
    assert end(*argv) == 0
    assert "holds checkpoints already" in fails(capsys, *argv)


def test_a_lock_on_a_full_disk_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "ftruncate", full)
    with lock.hold(tmp_path):
        with pytest.raises(errors.UserError, match="is in use"), lock.hold(tmp_path):
            pass


def test_overrides_that_a_command_has_no_use_for_are_refused(tmp_path, capsys):
    for argv in (
        ("report", tmp_path),
        ("data", "fetch", "mnist"),
        ("data", "convert", "--input=a.pkl", f"--output={tmp_path}/a.npz"),
    ):
        assert "override prefix 'config'" in fails(capsys, *argv, "--config.seed=1")


def test_a_terminal_that_does_not_know_a_sign_gets_it_written_out(tmp_path):
    (tmp_path / "c.py").write_text(
        '"""Sign \u00b1 5."""\nfrom toy.config import get_config  # noqa\n'
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mvjax",
            "show",
            "--settings",
            f"--config={tmp_path}/c.py",
        ],
        env=os.environ
        | {
            "PYTHONIOENCODING": "ascii",
            "PYTHONPATH": f"{pathlib.Path('tests').absolute()}",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Sign \\xb1 5.")
