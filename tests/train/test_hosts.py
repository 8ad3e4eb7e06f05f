"""Two processes train to the numbers of one; none outlives the death of another."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from mvjax.core import tree
from mvjax.train import run as run_lib
from mvjax.train import sharding
from tests.train import test_loop

TESTS = pathlib.Path(__file__).parents[1]
# Noisy enough that each sample which is not counted, or twice, moves the accuracies.
SETTINGS = (
    "--config.optim.name=sgd",
    "--config.evals.knn.every_epochs=2",
    "--config.data.options.noise=1.0",
)


def start(
    workdir: pathlib.Path, *settings: str, processes: int, devices: int
) -> list[subprocess.Popen]:
    """Starts the processes of one run on loopback, as a user would on two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "mvjax", "train", "--no-progress"]
    command += [f"--config={test_loop.CONFIG}", f"--workdir={workdir}", *settings]
    started = []
    for i in range(processes):
        flags = [f"--coordinator=127.0.0.1:{port}", f"--processes={processes}"]
        started.append(
            subprocess.Popen(
                [*command, *(flags if processes > 1 else []), f"--process-id={i}"]
                if processes > 1
                else command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def finish(started: list[subprocess.Popen], timeout: float = 240) -> list[str]:
    """Waits for processes; returns what they printed."""
    try:
        return [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()


def parameters(workdir: pathlib.Path) -> dict:
    run = run_lib.Run.open(workdir, allow_code=["toy"])
    with run.checkpoints(workdir, read_only=True) as saved:
        return tree.flatten(saved.variables()[0]["params"])


def assert_equal(one: pathlib.Path, two: pathlib.Path, *, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(
        test_loop.losses(one), test_loop.losses(two), rtol=1e-5, err_msg="losses"
    )
    mine, theirs = parameters(one), parameters(two)
    for path in mine:
        np.testing.assert_allclose(mine[path], theirs[path], atol=atol, err_msg=path)
    first, second = (
        json.loads((w / "evaluation.json").read_text())["results"] for w in (one, two)
    )
    assert first == second
    assert 0.2 < first["knn"]["raw/accuracy"] < 0.9


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param((), id="data", marks=pytest.mark.slow),
        pytest.param(("--config.mesh.data=2", "--config.mesh.fsdp=2"), id="fsdp"),
    ],
)
def test_two_processes_give_the_numbers_of_one(tmp_path, mesh):
    alone = start(tmp_path / "one", *SETTINGS, processes=1, devices=1)
    both = start(tmp_path / "two", *SETTINGS, *mesh, processes=2, devices=2)
    texts = finish(alone + both)
    assert [p.returncode for p in alone + both] == [0, 0, 0], "\n".join(texts)
    assert_equal(tmp_path / "one", tmp_path / "two")
    # Only the first of them writes and tells.
    assert "run starts from scratch" in texts[1]
    assert "run starts" not in texts[2] and "shared" not in texts[2]
    steps = [m["step"] for m in test_loop.lines(tmp_path / "two") if "loss" in m]
    assert steps == sorted(set(steps))


def wait_for_step(workdir: pathlib.Path, step: int) -> None:
    """Waits until a run has logged a step."""
    file, end = workdir / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < end:
        if file.exists() and any(m["step"] >= step for m in test_loop.lines(workdir)):
            return
        time.sleep(0.05)
    raise AssertionError(f"no step {step} in {workdir}")


LONG = (
    "--config.epochs=3000",
    "--config.optim.name=sgd",
    "--config.log_every_steps=10",
)


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_the_same_step(tmp_path):
    both = start(tmp_path, *LONG, processes=2, devices=1)
    wait_for_step(tmp_path, 50)
    both[1].send_signal(signal.SIGTERM)
    texts = finish(both, timeout=120)
    assert [p.returncode for p in both] == [143, 143], "\n".join(texts)
    stops = {
        text.split("Stopped and saved at step ")[1].split(";")[0] for text in texts
    }
    assert len(stops) == 1


@pytest.mark.slow
def test_the_death_of_one_ends_the_other_and_both_resume(tmp_path):
    both = start(tmp_path, *LONG, processes=2, devices=1)
    wait_for_step(tmp_path, 50)
    both[1].send_signal(signal.SIGKILL)
    died = time.monotonic()
    text = finish(both[:1], timeout=100)[0]
    assert time.monotonic() - died < 60
    assert both[0].returncode not in (0, None)
    # Ours, or that of JAX's coordination service, whichever notices first.
    assert "another one died" in text or "another task died" in text, text
    both[1].wait()
    again = start(tmp_path, *LONG, processes=2, devices=1)
    end = time.monotonic() + 120
    line = again[0].stdout.readline()
    while "run " not in line and time.monotonic() < end:
        line = again[0].stdout.readline()
    for process in again:
        process.kill()
        process.wait()
    assert "resumes from step" in line


class _Device:
    def __init__(self, process_index: int):
        self.process_index = process_index


class _Mesh:
    def __init__(self, processes: list, model: int):
        self.devices = np.array([_Device(p) for p in processes], object)
        self.shape = {"data": len(processes) // model, "fsdp": 1, "model": model}


@pytest.mark.parametrize(
    ("processes", "model", "shares"),
    [
        ([0, 0, 1, 1], 1, [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], 2, [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], 4, [(0, 1), (0, 1)]),
        ([0, 1, 2, 3], 2, [(0, 2), (0, 2), (1, 2), (1, 2)]),
    ],
)
def test_each_process_reads_the_rows_that_its_devices_hold(processes, model, shares):
    mesh = _Mesh(processes, model)
    assert [sharding.host_share(mesh, p) for p in sorted(set(processes))] == shares
