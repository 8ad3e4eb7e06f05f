"""Runs that an earlier version of mvjax has left go on in this one.

`golden/workdirs/sdim_debug.tar.xz` holds what commit c3664c7 wrote for
`train --config=configs/dim/sdim.py:debug` with small networks, and then for `embed`.
"""

import json
import pathlib
import tarfile

import jax
import numpy as np
import pytest

from mvjax import cli
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.train import feed as feed_lib
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[1]
FILE = ROOT / "tests/golden/workdirs/sdim_debug.tar.xz"


@pytest.fixture
def workdir(tmp_path) -> pathlib.Path:
    with tarfile.open(FILE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "sdim_debug"


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0


def sizes(workdir: pathlib.Path) -> list[str]:
    """Overrides with which today's config is that of the run."""
    held = json.loads((workdir / "config.json").read_text())["method"]
    names = ("filters", "shared_dim", "critic_hidden")
    return [f"method.{name}={held[name]}" for name in names]


def test_its_settings_are_read_as_those_of_today(workdir):
    """The method painted the digits itself: `colours`, `redraw` and `color_seed`."""
    stored = config_lib.read(workdir / "config.json")
    today = config_lib.load(f"{ROOT}/configs/dim/sdim.py:debug", sizes(workdir))
    assert stored.method.to_dict() == today.method.to_dict()
    assert stored.data.device_policy.to_dict() == today.data.device_policy.to_dict()
    assert stored.data.device_policy.name == "colouring"
    loop.refuse_other_run(today, workdir)  # It may go on.
    today.data.device_policy.seed = 1
    with pytest.raises(errors.UserError, match="device_policy.seed: 0 there, 1 here"):
        loop.refuse_other_run(today, workdir)


@pytest.mark.slow
def test_its_steps_have_the_numbers_that_they_had(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()[:2]
    config = config_lib.read(workdir / "config.json")
    program = program_lib.Program(run_lib.Run(config), devices=jax.devices()[:1])
    state = program.initial_state()
    with feed_lib.make(program, 0) as feed:
        for line in map(json.loads, lines):
            state, metrics, _ = feed.advance(state, 1)
            known = {name: float(metrics[name]) for name in set(metrics) & set(line)}
            assert {"loss", "color_bg_accuracy", "grad_norm"} <= set(known)
            for name, value in known.items():
                # Compilers of other versions and options round otherwise.
                assert value == pytest.approx(line[name], rel=1e-3, abs=1e-5), name


def test_its_codes_and_scores_are_what_they_were(workdir, tmp_path):
    output = tmp_path / "codes.npz"
    command("embed", f"--workdir={workdir}", "--dataset=test", f"--output={output}")
    with np.load(output) as after, np.load(workdir / "codes.npz") as before:
        assert set(before.files) <= set(after.files)
        for name in before.files:
            np.testing.assert_allclose(after[name], before[name], atol=1e-4)
    before = json.loads((workdir / "evaluation.json").read_text())["results"]
    command("evaluate", f"--workdir={workdir}")
    after = json.loads((workdir / "evaluation.json").read_text())["results"]
    assert {k: set(v) for k, v in after.items()} == {
        k: set(v) for k, v in before.items()
    }
    for name, value in before["leakage"].items():
        assert after["leakage"][name] == pytest.approx(value, abs=0.1), name


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(workdir, capsys):
    train = ["train", f"--config={ROOT}/configs/dim/sdim.py:debug"]
    train += [f"--workdir={workdir}", "--config.epochs=2"]
    train += [f"--config.{override}" for override in sizes(workdir)]
    command(*train)
    assert "resumes from step 2" in capsys.readouterr().err
    assert json.loads((workdir / "evaluation.json").read_text())["step"] == 4


@pytest.mark.slow
def test_its_page_is_drawn(workdir):
    command("report", str(workdir))
    assert (workdir / "report" / "index.html").is_file()
