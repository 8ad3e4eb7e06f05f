"""How far the ways to run a config are apart: devices, meshes, processes, feeds, resumes.

    python tests/agreement.py [CONFIG ...] [--only WAY]

Trains each config (by default every stage that is shipped, at its debug size) for a few
steps of SGD in every way, and prints the largest differences from one device: of the losses
relative to them, of the parameters relative to the largest one of their leaf. SGD, because
Adam turns the rounding of an exact zero gradient into whole steps.
"""

import argparse
import json
import logging
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEVICES = 8
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(DEVICES))
os.environ.setdefault(
    "NPROC", "24"
)  # Simulated devices wait for each other on threads.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

logging.getLogger("absl").setLevel(logging.CRITICAL)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from mvjax.core import config as config_lib  # noqa: E402
from mvjax.core import dist  # noqa: E402
from mvjax.core import errors  # noqa: E402
from mvjax.core import limits  # noqa: E402
from mvjax.core import process_settings  # noqa: E402
from mvjax.core import schema  # noqa: E402
from mvjax.core import tree  # noqa: E402
from mvjax.train import loop  # noqa: E402
from mvjax.train import optim  # noqa: E402
from mvjax.train import program as program_lib  # noqa: E402
from mvjax.train import run as run_lib  # noqa: E402

CONFIGS = (
    "configs/mrdd/consistency.py:debug",
    "configs/mrdd/disentangle.py:debug",
    "configs/dim/sdim.py:debug",
    "configs/dim/edim.py:debug",
    "configs/rerd/rerd.py:debug",
    "configs/mvmr/fashion.py:debug",
    "configs/mvmr/clip.py:debug",
    "configs/mvmr/semi.py:debug",
    "configs/decur/ssl4eo.py:debug",
    "configs/decur/ssl4eo.py:debug,objective=simclr",
    "configs/decur/ssl4eo.py:debug,objective=vicreg",
    "configs/decur/bigearthnet.py:debug",
)
COMMON = {"epochs": 3, "health_every_steps": 0, "log_every_steps": 1, "seed": 1}
SGD = {"name": "sgd", "lr": 1e-5}
BATCH, RECORDS = 16, 32


def mesh(data: int, fsdp: int, model: int) -> dict:
    return {"mesh": {"data": data, "fsdp": fsdp, "model": model}, "devices": DEVICES}


WAYS = {
    "8 devices, data 8": mesh(8, 1, 1),
    "8 devices, data 2 x fsdp 4": mesh(2, 4, 1),
    "8 devices, data 2 x fsdp 2 x model 2": mesh(2, 2, 2),
    "8 devices, model 8": mesh(1, 1, 8),
    "8 devices, pmap": mesh(8, 1, 1) | {"parallel": "pmap"},
    "2 processes x 4 devices": mesh(8, 1, 1) | {"processes": 2},
    "device-resident data": {"resident": True},
    "resumed after every epoch": {"resumed": True},
}


def descend(settings) -> None:
    """Makes plain descent of an optimiser's settings, or of those of a group."""
    known = limits.declared(optim.find(SGD["name"])) | limits.declared(schema.Optim)
    known |= limits.declared(schema.Group)
    for name in set(settings) - set(known):
        del settings[name]
    settings.update(SGD)


def make_config(spec: str, way: dict):
    """The config of a way, without a stage before and without evaluations."""
    config = config_lib.load(spec)
    with config.unlocked():
        config.update(COMMON)
        descend(config.optim)
        for group in config.optim.get("groups", {}).values():
            descend(group)
        schedule = config.optim.schedule
        # Not the length of a shorter run, which a resume would end.
        by_step = schedule.get("unit") == "step"
        schedule.length = COMMON["epochs"] * (RECORDS // BATCH if by_step else 1)
        config.warm_start, config.evals = {}, {}
        config.checkpoint.best = ""
        config.data.batch_size, config.data.limit = BATCH, RECORDS
        config.mesh.update(way.get("mesh", {}))
        config.parallel = way.get("parallel", "jit")
        config.data.device_resident = way.get("resident", False)
    return config


def train(spec: str, way: dict, workdir: pathlib.Path) -> None:
    """Trains in this process, which may be one of several."""
    devices = jax.devices()[: way.get("devices", 1)]
    lengths = (
        range(1, COMMON["epochs"] + 1) if way.get("resumed") else [COMMON["epochs"]]
    )
    for epochs in lengths:
        config = make_config(spec, way)
        config.epochs = epochs
        program = program_lib.Program(run_lib.Run(config), devices=devices)
        loop.train(program, workdir, progress=False)


def train_in_processes(spec: str, way: dict, workdir: pathlib.Path) -> None:
    """Trains in as many new processes, on loopback."""
    number = way["processes"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(DEVICES // number)}
    process_settings.order_collectives(environment)
    started = [
        subprocess.Popen(
            [sys.executable, __file__, spec, "--worker"]
            + [json.dumps([coordinator, number, i, way, str(workdir)])],
            env=environment,
            stdout=subprocess.DEVNULL,  # Gloo's greetings.
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(number)
    ]
    texts = [process.communicate()[1] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("\n".join(texts))


def read(spec: str, workdir: pathlib.Path) -> tuple[np.ndarray, dict]:
    """Losses and final parameters of a run."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = np.array([line["loss"] for line in lines if "loss" in line])
    run = run_lib.Run(make_config(spec, {}))
    with run.checkpoints(workdir, read_only=True) as saved:
        return losses, tree.flatten(saved.variables()[0]["params"])


def compare(one: tuple[np.ndarray, dict], other: tuple[np.ndarray, dict]) -> str:
    """Largest differences of losses and parameters, as a row of the table."""
    loss = np.max(np.abs(one[0] - other[0]) / np.abs(one[0]))
    shares = {
        path: np.abs(leaf - other[1][path]).max() / max(np.abs(leaf).max(), 1e-3)
        for path, leaf in one[1].items()
    }
    worst = max(shares, key=shares.get)
    return f"{loss:10.1e} {shares[worst]:12.1e}  {worst}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    parser.add_argument("--only", default="", help="ways whose name holds this text")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        coordinator, number, index, way, workdir = json.loads(args.worker)
        dist.initialize(coordinator=coordinator, processes=number, process_id=index)
        train(args.configs[0], way, pathlib.Path(workdir))
        return
    for spec in args.configs:
        print(f"\n{spec}\n{'way':38s} {'loss':>10s} {'parameters':>12s}  worst leaf")
        with tempfile.TemporaryDirectory() as folder:
            first = pathlib.Path(folder) / "one"
            train(spec, {}, first)
            one = read(spec, first)
            for name, way in WAYS.items():
                if args.only not in name:
                    continue
                workdir = pathlib.Path(folder) / name.replace(" ", "_")
                start = train_in_processes if "processes" in way else train
                try:
                    start(spec, way, workdir)
                except errors.UserError as error:
                    print(f"{name:38s} {error}")
                    continue
                print(f"{name:38s} {compare(one, read(spec, workdir))}", flush=True)


if __name__ == "__main__":
    main()
