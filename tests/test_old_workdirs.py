"""Runs that an earlier version of mvjax has left go on in this one.

`golden/workdirs/sdim_debug.tar.xz` holds what commit c3664c7 wrote for
`train --config=configs/dim/sdim.py:debug` with small networks, and then for `embed`.
"""

import json
import pathlib
import tarfile

import numpy as np
import pytest

from mvjax import cli

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


def test_it_goes_on_where_it_stopped(workdir, capsys):
    sizes = json.loads((workdir / "config.json").read_text())["method"]
    small = (f"--config.method.{k}={sizes[k]}" for k in ("filters", "shared_dim"))
    command(
        "train",
        f"--config={ROOT}/configs/dim/sdim.py:debug",
        f"--workdir={workdir}",
        "--config.epochs=2",
        f"--config.method.critic_hidden={sizes['critic_hidden']}",
        *small,
    )
    assert "resumes from step 2" in capsys.readouterr().err
    assert json.loads((workdir / "evaluation.json").read_text())["step"] == 4


@pytest.mark.slow
def test_its_page_is_drawn(workdir):
    command("report", str(workdir))
    assert (workdir / "report" / "index.html").is_file()
