"""Gathers what the page of a run shows and has it written."""

from collections.abc import Sequence
import json
import pathlib
from typing import Any

import jax
import numpy as np

from mvjax.core import atomic
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.evaluators.common import features as features_lib
from mvjax.report import lettering
from mvjax.report import of
from mvjax.report import page
from mvjax.report import plots
from mvjax.report import run_neighbours
from mvjax.report import sentiment
from mvjax.report import splits
from mvjax.report import terminal
from mvjax.tracking import artifacts
from mvjax.tracking import writers
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import scoring as scoring_lib

SHOWN_CODES = 1000  # Samples of the scatter; t-SNE takes seconds for these.
SHOWN_IMAGES = 16
SHOWN_MAPS = 1  # Samples whose attention and transport are drawn.
SCORE = "score"  # What `predict` calls a prediction on a scale.
SIGNS = ("negative", "zero", "positive")


def write_page(
    workdir: pathlib.Path,
    cache: pathlib.Path | None = None,
    *,
    allow_code: Sequence[str] = (),
) -> pathlib.Path:
    """Writes `workdir/report/index.html` with its pictures; the run's trackers get both.

    Args:
      workdir: Of one run, or of the stages of `mvjax chain`.
      cache: Folder of downloaded data.
      allow_code: See `config.read`.

    Raises:
      UserError: There is no run.
    """
    folders, target = (
        workdir_lib.stages(workdir),
        (workdir / workdir_lib.REPORT_PAGE).parent,
    )
    for folder in folders.values():  # No folder is made where there is no run.
        config_lib.read_json(folder / workdir_lib.CONFIG_FILE)
    # Before the work, in case that is impossible.
    with storage.made(target), lettering.style():
        atomic.check(target / page.FILE)
        stages = [
            _stage(name, folder, cache, allow_code) for name, folder in folders.items()
        ]
        title = f"mvjax: {workdir.name}"
        written = page.write(target, title=title, stages=stages)
    names = (workdir_lib.CONFIG_FILE, workdir_lib.RUN_FILE, workdir_lib.EVALUATION_FILE)
    for folder, pictures in zip(folders.values(), written.pictures, strict=True):
        step = workdir_lib.read_evaluation(folder)["step"]
        files = [folder / name for name in names]
        artifacts.keep_report(folder, step, files, [written.page, *pictures])
    return written.page


def _stage(
    name: str, workdir: pathlib.Path, cache: Any, allow_code: Sequence[str]
) -> page.Stage:
    run = run_lib.Run.open(workdir, cache=cache, allow_code=allow_code)
    with run.checkpoints(workdir, read_only=True) as checkpoints:
        step = run.evaluated_step(checkpoints)
        variables, step = checkpoints.variables(step, run=run)
    evaluation = workdir_lib.read_evaluation(workdir)
    about = workdir_lib.read_about(workdir)
    data = about.get("data") or run.describe_data()
    facts = {
        "method": run.config.method.name,
        "data": f"{data['name']}{' (synthetic)' if data['synthetic'] else ''}",
        "steps": f"{step} of {run.total_steps}, batch {run.batch_size}",
        "seed": str(run.config.seed),
        "data hash": ", ".join(f"{k} {v}" for k, v in data["fingerprint"].items()),
    }
    scoring = scoring_lib.Scoring(program_lib.Program(run))
    results, features = evaluation["results"], scoring.features(variables)
    pictures = _by_evaluator(scoring, results, features)
    pictures |= _pictures(scoring, variables, features)
    pictures |= run_neighbours.figures(scoring, results, features)
    return page.Stage(
        name=name,
        summary=facts,
        history=_history(workdir),
        metrics=results,
        pictures=pictures,
        config=json.dumps(run.config.to_dict(), indent=2),
        environment=about.get("environment", {}),
        data=data,
        missing=terminal.missing(evaluation),
    )


def _history(workdir: pathlib.Path) -> dict[str, tuple[list, list]]:
    """Curves by metric: steps and values."""
    history: dict[str, tuple[list, list]] = {}
    for line in writers.read_lines(workdir / workdir_lib.METRICS_FILE):
        for name, value in line.items():
            if name not in ("step", "epoch"):
                steps, values = history.setdefault(name, ([], []))
                steps.append(line["step"])
                values.append(value)
    return {k: v for k, v in history.items() if len(v[0]) > 1}


def _by_evaluator(
    scoring: scoring_lib.Scoring,
    results: dict[str, dict],
    features: features_lib.Features,
) -> dict[str, Any]:
    """Pictures that belong to the evaluators, by caption, see `report.of`."""
    figures, made = {}, scoring.evaluators()
    for label, scores in results.items():
        if label not in made or not scores:  # It was when the run was evaluated.
            continue
        draw = of.find(scoring.run.config.evals[label].name)
        if draw is not None:
            figures |= draw(label, made[label], scores, features)
    return figures


def _pictures(
    scoring: scoring_lib.Scoring,
    variables: dict[str, Any],
    features: features_lib.Features,
) -> dict[str, Any]:
    """Reconstructions, predictions, inner workings and scatters of some samples."""
    split = splits.shown(features)
    run = scoring.run
    batch, outputs = next(features.batches(split))
    pictures = {}
    images = {
        view: (x[:SHOWN_IMAGES], outputs[f"recon/{view}"][:SHOWN_IMAGES])
        for view, x in batch["views"].items()
        if f"recon/{view}" in outputs and x.ndim == 4
    }
    if images:
        pictures[f"Reconstructions of {split} samples"] = plots.reconstructions(
            {view: pair[0] for view, pair in images.items()},
            {view: pair[1] for view, pair in images.items()},
        )
    predictions = _predictions(scoring, features)
    pictures |= predictions
    few = {k: jax.tree.map(lambda x: x[:SHOWN_MAPS], v) for k, v in batch.items()}
    if run.inputs.transform:
        few = run.inputs.transform(few, None)
    inner = jax.jit(run.method.explain)(variables, few)
    pictures |= sentiment.maps(jax.device_get(inner))
    codes = {k: v for k, v in features.table(split).items() if v.ndim == 2}
    if predictions:  # Which show the score; its spread over draws is no code either.
        codes = {k: v for k, v in codes.items() if not k.startswith(SCORE)}
    return pictures | _scatters(run, features, codes)


def _scatters(
    run: run_lib.Run, features: features_lib.Features, codes: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Each code in the plane, its classes those of the factor that it should hold.

    Codes of which no leakage matrix wants a factor show the labels.
    """
    split = splits.shown(features)
    wanted: dict[str, str] = {}
    for fields in run.config.evals.values():
        for pair in fields.get("wanted", ()):
            code, _, factor = pair.partition(":")
            wanted.setdefault(code, factor)
    labels, label_names = _labels(features)
    pictures = {}
    for name, rows in codes.items():
        shown, names = labels, label_names
        caption, title, factor = f"{name} of {split} samples", name, wanted.get(name)
        if factor in features.factor_names(split):
            shown = features.factor(split, factor)
            names = features.class_names(split, factor)
            caption, title = f"{caption} by {factor}", f"{name} by {factor}"
        pictures[caption] = plots.scatter(
            rows[:SHOWN_CODES], shown[:SHOWN_CODES], title, names=names
        )
    return pictures


def _predictions(
    scoring: scoring_lib.Scoring, features: features_lib.Features
) -> dict[str, Any]:
    """Predictions on a scale against the truth of a split, by caption."""
    split = splits.shown(features)
    targets, score = (
        features.score_names(split),
        features.table(split).get(SCORE),
    )
    if not targets or score is None or score[0].size != 1:
        return {}
    asked = [getattr(made, "target", "") for made in scoring.evaluators().values()]
    target = next((name for name in asked if name in targets), targets[0])
    truth = plots.drawable(features.target(split, target))
    score = plots.drawable(score.reshape(-1))
    known = np.isfinite(truth) & np.isfinite(score)
    if not known.any():
        return {}
    truth, score = truth[known], score[known]
    pictures = {
        f"Predictions of {split} samples against {target}": sentiment.predictions(
            score, truth, title=target
        )
    }
    views = features.views(split)
    lengths = {view: features.lengths(split, view) for view in views}
    lengths = {k: v[known] for k, v in lengths.items() if v is not None}
    if lengths:
        pictures[f"Error of {split} samples by length"] = sentiment.error_by_length(
            lengths, np.abs(score - truth)
        )
    return pictures


def _labels(features: features_lib.Features) -> tuple[np.ndarray, Any]:
    """Labels of the split that is shown and names of the classes, if they have any.

    Without labels the signs of the first target take their place, and without that 0.
    """
    split = splits.shown(features)
    try:
        labels = features.labels(split)
        return labels, features.class_names(split, features_lib.LABEL)
    except errors.UserError:
        targets = features.score_names(split)
    if targets:
        truth = features.target(split, targets[0])
        signs = np.sign(np.nan_to_num(truth)).astype(np.int32) + 1
        return np.where(np.isfinite(truth), signs, -1), SIGNS
    sizes = [len(rows) for rows in features.table(split).values()]
    return np.zeros(max(sizes, default=0), np.int32), None
