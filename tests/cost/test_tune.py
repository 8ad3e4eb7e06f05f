"""`mvjax train --auto-lr --auto-batch-size`: what is used, kept and never looked for again."""

import json
import pathlib

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import tree
from mvjax.cost import batch_size
from mvjax.cost import compiled
from mvjax.cost import lr_range
from mvjax.cost import tune
from mvjax.report import run_page
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

CONFIG = str(pathlib.Path(__file__).parents[1] / "toy" / "config.py")
BOTH = ("--auto-lr", "--auto-batch-size")


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    devices = jax.devices()
    monkeypatch.setattr("jax.devices", lambda *args: devices[:1])


def train(workdir: pathlib.Path, *argv: str, epochs: int = 2) -> int:
    with pytest.raises(SystemExit) as stop:
        command = [
            "train",
            f"--config={CONFIG}",
            f"--workdir={workdir}",
            "--no-progress",
        ]
        common = [f"--config.epochs={epochs}", "--config.log_every_steps=1"]
        cli.main([*command, *common, *argv])
    return stop.value.code


def read(workdir: pathlib.Path, name: str) -> dict:
    return json.loads((workdir / name).read_text())


def losses(workdir: pathlib.Path) -> list[float]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(x)["loss"] for x in lines if "loss" in json.loads(x)]


def variables(workdir: pathlib.Path) -> dict:
    run = run_lib.Run.open(workdir, allow_code=("toy",))
    with run.checkpoints(workdir, read_only=True) as checkpoints:
        return tree.flatten(checkpoints.variables()[0])


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> pathlib.Path:
    """A workdir whose rate and batch were found."""
    workdir, devices = tmp_path_factory.mktemp("tuned") / "w", jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jax.devices", lambda *args: devices[:1])
        patch.setattr(lr_range, "STEPS", 30)
        need = batch_size.need
        patch.setattr(batch_size, "limit", lambda mesh: 10**9)
        # As if there were room for eight rows.
        patch.setattr(
            batch_size, "need", lambda p: need(p) if p.run.batch_size < 9 else None
        )
        assert train(workdir, *BOTH) == 0
    return workdir


def test_what_is_found_stands_in_the_workdir(tuned):
    config, about = read(tuned, "config.json"), read(tuned, "run.json")
    assert config["data"]["batch_size"] == about["batch_size_suggested"] == 8
    assert config["optim"]["lr"] == about["lr_suggested"]
    points = [lr_range.Point(*point) for point in about["lr_range"]]
    assert lr_range.suggest(points) == about["lr_suggested"]
    assert len(losses(tuned)) == about["total_steps"] == 2 * 6


@pytest.mark.slow
def test_training_is_that_of_a_run_with_these_settings_by_hand(tuned, tmp_path, capsys):
    about = read(tuned, "run.json")
    settings = (
        f"--config.optim.lr={about['lr_suggested']}",
        f"--config.data.batch_size={about['batch_size_suggested']}",
    )
    assert train(tmp_path / "w", *settings) == 0
    assert losses(tmp_path / "w") == losses(tuned)
    mine, theirs = variables(tuned), variables(tmp_path / "w")
    assert mine.keys() == theirs.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    # The test of rates saw the first batch of the config's own size.
    assert train(tmp_path / "first", epochs=1) == 0
    assert losses(tmp_path / "first")[0] == about["lr_range"][0][1]
    # What was begun without a flag does not go on with it.
    assert train(tmp_path / "first", "--auto-lr") == 2
    assert "was begun without --auto-lr" in capsys.readouterr().err


def test_a_resumed_run_keeps_what_was_found(tuned, monkeypatch, capsys):
    def never(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(lr_range, "measure", never)
    monkeypatch.setattr(batch_size, "need", never)
    before = read(tuned, "run.json")
    assert train(tuned, *BOTH, epochs=3) == 0
    after = read(tuned, "run.json")
    assert after["from_step"] == 12 and after["total_steps"] == 18
    for name in ("lr_suggested", "batch_size_suggested", "lr_range"):
        assert after[name] == before[name]
    assert read(tuned, "config.json")["optim"]["lr"] == before["lr_suggested"]
    capsys.readouterr()
    # Without the flag the config's rate is used, which is told.
    assert train(tuned, "--auto-batch-size", epochs=4) == 0
    assert "begun with --auto-lr, which chose" in capsys.readouterr().err
    assert read(tuned, "config.json")["optim"]["lr"] == 1e-2
    assert read(tuned, "run.json")["lr_suggested"] == before["lr_suggested"]


def test_the_report_shows_the_range_test(tuned):
    stage = run_page._stage("w", tuned, None, ("toy",))
    (caption,) = [name for name in stage.pictures if "--auto-lr" in name]
    smoothed = stage.pictures[caption].axes[0].lines[1].get_xydata()
    about = read(tuned, "run.json")
    np.testing.assert_array_equal(smoothed, np.array(about["lr_range"])[:, [0, 2]])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--auto-lr", "--config.checkpoint.best=knn"), "checkpoint.best"),
        (("--auto-batch-size", "--config.data.limit=1"), "smallest batch, 2"),
        (("--auto-lr", "--config.method.break_at=7"), "after 7 steps, too few"),
    ],
)
def test_mistakes_leave_nothing(tmp_path, capsys, argv, message):
    assert train(tmp_path / "w", *argv) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_no_batch_fits_a_device_without_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(batch_size, "limit", lambda mesh: 10)
    asked = []
    monkeypatch.setattr(compiled, "measure", _counted(compiled.measure, asked))
    assert train(tmp_path / "w", "--auto-batch-size") == 2
    assert "not even a batch of 2 fits" in capsys.readouterr().err
    assert asked == [2]


def _counted(measure, asked):
    def counted(program):
        asked.append(program.run.batch_size)
        return measure(program)

    return counted


@pytest.mark.slow
def test_eight_devices_get_a_batch_that_divides(tmp_path, monkeypatch):
    devices, told = jax.local_devices(), []
    monkeypatch.setattr("jax.devices", lambda *args: devices)
    settings = ("mesh.data=4", "mesh.fsdp=2", "accumulate=2")

    def load(*more):
        return config_lib.load(CONFIG, [*settings, *more])

    found = tune.find(load, tmp_path / "w", [tune.BATCH], say=told.append)
    assert found == {"batch_size_suggested": 32}  # Of 48 records.
    assert "of 16 to at most 32 items" in told[0]
    config = load(*tune.overrides(found))
    assert program_lib.Program(run_lib.Run(config)).mesh.size == 8
