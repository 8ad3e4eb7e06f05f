"""A run that is killed fifty times at any moment ends as if nothing had happened.

python -m pytest -m slow tests/train/test_kills.py -s
"""

import os
import pathlib
import random
import re
import subprocess
import sys
import time

import pytest

from tests.train import test_loop

KILLS = 50
SETTINGS = ("epochs=400", "checkpoint.keep=3")


def start(workdir: pathlib.Path) -> subprocess.Popen:
    tests = pathlib.Path(test_loop.CONFIG).parents[1]
    command = [sys.executable, "-m", "mvjax", "train", "--no-progress"]
    command += [f"--config={test_loop.CONFIG}", f"--workdir={workdir}"]
    return subprocess.Popen(
        [*command, *(f"--config.{text}" for text in SETTINGS)],
        env=os.environ
        | {"PYTHONPATH": f"{tests}:{tests.parent}", "JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def saved_steps(workdir: pathlib.Path) -> list[int]:
    folder = workdir / "checkpoints"
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())


def begun(process: subprocess.Popen) -> str:
    """What a run says when it begins; all that came before if it never does."""
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("run "):
            return line
    return said


@pytest.mark.slow
def test_fifty_kills_lose_nothing(tmp_path):
    began = time.monotonic()
    whole = test_loop.train(tmp_path / "whole", *SETTINGS)
    # Lives after a run has begun to train: on any machine half of the whole in all.
    longest = (time.monotonic() - began) / KILLS
    workdir, rng = tmp_path / "killed", random.Random(0)
    kills, during_saves = 0, 0
    while kills < KILLS:
        known = (saved_steps(workdir) or [0])[-1]
        process = start(workdir)
        line = begun(process)
        if known:
            found = re.search(r"(?:resumes from|is finished at) step (\d+)", line)
            assert found, line
            assert int(found.group(1)) == known
        else:
            assert "starts from scratch" in line
        assert "finished" not in line, "the run is too short for so many kills"
        time.sleep(rng.uniform(0, longest))
        process.kill()
        process.wait()
        kills += 1
        folder = workdir / "checkpoints"
        during_saves += any("tmp" in p.name for p in folder.glob("*"))
    process = start(workdir)
    line = begun(process)
    said = process.stderr.read()
    assert process.wait() == 0, line + said
    with test_loop.make_run(*SETTINGS).checkpoints(workdir, read_only=True) as saved:
        variables, step = saved.variables()
    assert step == whole.step
    test_loop.assert_same_bits(whole.params, variables["params"])
    test_loop.assert_same_bits(
        whole.model_state["batch_stats"], variables["batch_stats"]
    )
    steps = [m["step"] for m in test_loop.lines(workdir) if "loss" in m]
    assert steps == sorted(set(steps))
    print(
        f"{kills} kills within {longest:.1f} s of training, "
        f"{during_saves} of them in the middle of a save"
    )
