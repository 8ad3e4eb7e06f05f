"""What the files of a workdir hold beside its config and its checkpoints."""

import pathlib
from typing import Any

from mvjax.core import atomic
from mvjax.core import config as config_lib
from mvjax.core import dist
from mvjax.core import storage
from mvjax.train import checkpoint
from mvjax.train import run as run_lib
from mvjax.train import writers

RUN_FILE = "run.json"
_SCORES = {str: {str: float}}  # By evaluator and metric.
EVALUATION = {
    "step": int,
    "best_step?": (int, None),
    "results": _SCORES,
    "left_out?": {str: str},  # Reasons by evaluator, or by evaluator and part.
    "failed?": {str: str},  # Errors by evaluator.
    "seeds?": [int],
    "intervals?": {str: {str: [float, float]}},
    "each?": [_SCORES],
}
ABOUT = {
    "data?": {
        "name": str,
        "synthetic": bool,
        "views": {str: [int]},
        "records": {str: int},
        "fingerprint": {str: str},
    },
    "environment?": dict,
}


def read_evaluation(workdir: pathlib.Path) -> dict[str, Any]:
    """What `evaluation.json` holds.

    Raises:
      UserError: It is missing, damaged or edited to what it cannot hold.
    """
    return config_lib.read_json(workdir / run_lib.EVALUATION_FILE, EVALUATION)


def read_about(workdir: pathlib.Path) -> dict[str, Any]:
    """What `run.json` holds of a run's environment and data; `{}` without it.

    Raises:
      UserError: It is damaged or edited to what it cannot hold.
    """
    file = workdir / RUN_FILE
    return config_lib.read_json(file, ABOUT) if file.exists() else {}


def check(workdir: pathlib.Path) -> None:
    """Refuses a workdir in which a run could not write all that it will.

    Raises:
      UserError: Something else lies in the place of a file or folder of a run, or its
        evaluation, which decides whether there is to be another, is damaged.
    """
    for folder in (".", checkpoint.FOLDER, writers.EVENTS_FOLDER):
        storage.refuse_occupied(workdir / folder)
    if storage.is_remote(workdir) or not workdir.is_dir():
        return
    if not dist.is_main():  # It only reads there, and may be allowed no more.
        return
    evaluation = run_lib.EVALUATION_FILE
    for file in (run_lib.CONFIG_FILE, RUN_FILE, writers.METRICS_FILE, evaluation):
        atomic.check(workdir / file)
    if (workdir / evaluation).exists():
        read_evaluation(workdir)
