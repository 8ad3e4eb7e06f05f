"""Gathers what the page of a run shows and has it written."""

import json
import pathlib
from typing import Any

import numpy as np

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.evaluators.common import features as features_lib
from mvjax.report import page
from mvjax.report import plots
from mvjax.report import retrieval
from mvjax.train import chain
from mvjax.train import loop
from mvjax.train import run as run_lib
from mvjax.train import writers

SHOWN_CODES = 1000  # Samples of the scatter; t-SNE takes seconds for these.
SHOWN_IMAGES = 16


def write_page(
    workdir: pathlib.Path, cache: pathlib.Path | None = None
) -> pathlib.Path:
    """Writes `workdir/report/index.html` with its pictures.

    Args:
      workdir: Of one run, or of the stages of `mvjax chain`.
      cache: Folder of downloaded data.

    Raises:
      UserError: There is no run.
    """
    stages = [
        _stage(name, folder, cache) for name, folder in chain.stages(workdir).items()
    ]
    return page.write(workdir / "report", title=f"mvjax: {workdir.name}", stages=stages)


def _stage(name: str, workdir: pathlib.Path, cache: Any) -> page.Stage:
    run = run_lib.Run.open(workdir, cache=cache)
    with run.checkpoints(workdir, read_only=True) as checkpoints:
        variables, step = checkpoints.variables()
    evaluation = config_lib.read_json(workdir / run_lib.EVALUATION_FILE)
    about: dict[str, Any] = {}
    if (workdir / loop.RUN_FILE).exists():
        about = config_lib.read_json(workdir / loop.RUN_FILE)
    data = about.get("data") or run.data_report()
    summary = {
        "method": run.config.method.name,
        "data": f"{data['name']}{' (synthetic)' if data['synthetic'] else ''}",
        "steps": f"{step} of {run.total_steps}, batch {run.batch_size}",
        "seed": str(run.config.seed),
        "data hash": ", ".join(f"{k} {v}" for k, v in data["fingerprint"].items()),
    }
    return page.Stage(
        name=name,
        summary=summary,
        history=_history(workdir),
        metrics=evaluation["results"],
        pictures=_matrices(run, evaluation["results"]) | _pictures(run, variables),
        config=json.dumps(run.config.to_dict(), indent=2),
        environment=about.get("environment", {}),
        data=data,
    )


def _history(workdir: pathlib.Path) -> dict[str, tuple[list, list]]:
    """Curves by metric: steps and values."""
    history: dict[str, tuple[list, list]] = {}
    for line in writers.read_lines(workdir / "metrics.jsonl"):
        for name, value in line.items():
            if name not in ("step", "epoch"):
                steps, values = history.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return {k: v for k, v in history.items() if len(v[0]) > 1}


def _matrices(run: run_lib.Run, results: dict[str, dict]) -> dict[str, Any]:
    """Heat maps of leakage evaluators, by caption."""
    figures = {}
    for label, scores in results.items():
        matrix = retrieval.read_matrix(scores)
        if matrix:
            wanted = run.config.evals[label].get("wanted", ())
            figures[f"Leakage matrix ({label}): accuracy, chance, untrained"] = (
                retrieval.leakage_matrix(matrix, wanted=wanted)
            )
    return figures


def _pictures(run: run_lib.Run, variables: Any) -> dict[str, Any]:
    """Reconstructions and scatters of the test split, by caption."""
    features = run.features(variables)
    batch, outputs = next(features.batches("test"))
    pictures = {}
    images = {
        view: (x[:SHOWN_IMAGES], outputs[f"recon/{view}"][:SHOWN_IMAGES])
        for view, x in batch["views"].items()
        if f"recon/{view}" in outputs and x.ndim == 4
    }
    if images:
        pictures["Reconstructions of test samples"] = plots.reconstructions(
            {view: pair[0] for view, pair in images.items()},
            {view: pair[1] for view, pair in images.items()},
        )
    codes = {k: v for k, v in features.table("test").items() if v.ndim == 2}
    labels = _labels(features)
    for name, rows in codes.items():
        shown = labels[:SHOWN_CODES]
        pictures[f"{name} of test samples"] = plots.scatter(
            rows[:SHOWN_CODES], shown, name
        )
    return pictures


def _labels(features: features_lib.Features) -> np.ndarray:
    """Labels of the test split; all 0 where the data have none."""
    try:
        return features.labels("test")
    except errors.UserError:
        return np.zeros(len(features.get("test", "raw")), np.int32)
