"""The folder of a run, or of the stages of a chain: what it holds and under which names."""

from collections.abc import Iterable
import json
import pathlib
import re
from typing import Any

from mvjax.core import atomic
from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import json_value
from mvjax.core import storage

# A run's own files and folders.
CONFIG_FILE = "config.json"  # The resolved config.
RUN_FILE = "run.json"  # The environment and the data.
EVALUATION_FILE = "evaluation.json"  # The final scores.
METRICS_FILE = "metrics.jsonl"  # One line for each step that was logged.
EVENTS_FOLDER = "tensorboard"
CHECKPOINTS = "checkpoints"
FROZEN = "frozen"  # What no step changes, once for all checkpoints.
MLFLOW_FILE = "mlflow.json"  # Which run of the MLflow store it is.
WANDB_FILE = "wandb.json"  # Which run of Weights & Biases it is, and how far it got.
# A folder of several runs.
CHAIN_FILE = "chain.json"  # The order of the stages.
SEARCH_FILE = "search.json"  # The trials of a random search.
REPORT_PAGE = "report/index.html"  # Of either kind of folder.

STAGE_NAME = re.compile(r"\w[\w-]*")

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
    # What `mvjax train --auto-lr --auto-batch-size` found.
    "lr_suggested?": float,
    "batch_size_suggested?": int,
    "lr_range?": [[float, float, float]],  # Rate, loss and smoothed loss of each step.
}


def read_json(file: pathlib.Path, form: Any = dict) -> Any:
    """Reads a JSON file of a workdir.

    Args:
      file: The file.
      form: What it holds, see `json_value.find_fault`.

    Raises:
      UserError: It is missing or damaged, or holds something else.
    """
    try:
        file_kind.refuse_special(file)
        value = json_value.parse(file.read_bytes())
    except FileNotFoundError:
        raise errors.UserError(
            f"{file.parent} is no workdir of mvjax, or its run has not got so far: "
            f"{file.name} is missing."
        ) from None
    except NotADirectoryError:
        raise errors.UserError(f"{file.parent} is a file, not a workdir.") from None
    except OSError as error:
        raise errors.UserError(f"Cannot read {file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{file} is damaged: {error}{file_kind.clause(file)}."
        ) from None
    if fault := json_value.find_fault(value, form):
        raise errors.UserError(f"{file} is damaged: {fault}.")
    return value


def read_evaluation(workdir: pathlib.Path) -> dict[str, Any]:
    """What `evaluation.json` holds.

    Raises:
      UserError: It is missing, damaged or edited to what it cannot hold.
    """
    return read_json(workdir / EVALUATION_FILE, EVALUATION)


def read_about(workdir: pathlib.Path) -> dict[str, Any]:
    """What `run.json` holds of a run's environment and data; `{}` without it.

    Raises:
      UserError: It is damaged or edited to what it cannot hold.
    """
    file = workdir / RUN_FILE
    return read_json(file, ABOUT) if file.exists() else {}


def check(workdir: pathlib.Path) -> None:
    """Refuses a workdir in which a run could not write all that it will.

    Raises:
      UserError: Something else lies in the place of a file or folder of a run, or its
        evaluation, which decides whether there is to be another, is damaged.
    """
    for folder in (".", CHECKPOINTS, FROZEN, EVENTS_FOLDER):
        storage.refuse_occupied(workdir / folder)
    if storage.is_remote(workdir) or not workdir.is_dir():
        return
    if not dist.is_main():  # It only reads there, and may be allowed no more.
        return
    for file in (CONFIG_FILE, RUN_FILE, METRICS_FILE, EVALUATION_FILE):
        atomic.check(workdir / file)
    if (workdir / EVALUATION_FILE).exists():
        read_evaluation(workdir)


def write_stages(stages: Iterable[str], workdir: pathlib.Path) -> None:
    """Writes the order of the stages of a chain, for the report."""
    storage.make(workdir)
    with atomic.replace(workdir / CHAIN_FILE) as stream:
        stream.write((json.dumps(list(stages)) + "\n").encode())


def stages(workdir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Workdirs of the stages below a folder, or the folder itself.

    Raises:
      UserError: The folder is in an object store that cannot be reached, or its list of
        stages is damaged.
    """
    storage.reach(workdir)
    file = workdir / CHAIN_FILE
    if not file.exists():
        return {workdir.name: workdir}
    names = read_json(file, [str])
    for name in names:
        if not STAGE_NAME.fullmatch(name):
            raise errors.UserError(f"{file} is damaged: {name!r} names no stage.")
    if not names or len(set(names)) < len(names):
        fault = "holds a stage twice" if names else "names no stage"
        raise errors.UserError(f"{file} is damaged: it {fault}.")
    return {name: workdir / name for name in names}
