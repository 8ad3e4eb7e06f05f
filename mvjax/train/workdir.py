"""What the files of a workdir hold beside its config and its checkpoints."""

import pathlib
from typing import Any

from mvjax.core import config as config_lib
from mvjax.train import run as run_lib

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
