"""Gathers what the page of a run shows and has it written."""

from collections.abc import Sequence
import contextlib
import json
import pathlib
from typing import Any

import jax
import numpy as np

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.evaluators.common import features as features_lib
from mvjax.report import lettering
from mvjax.report import of
from mvjax.report import page
from mvjax.report import plots
from mvjax.report import samples as samples_lib
from mvjax.report import splits
from mvjax.report import terminal
from mvjax.report import workings
from mvjax.tracking import artifacts
from mvjax.tracking import writers
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import scoring as scoring_lib

SHOWN_CODES = 1000  # Samples of the scatter; t-SNE takes seconds for these.
SHOWN_MAPS = 8  # Samples whose maps are drawn; of attention and transport the first.
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
        workdir_lib.read_json(folder / workdir_lib.CONFIG_FILE)
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
    pictures = _pictures(scoring, variables, features, results)
    if points := about.get("lr_range"):
        caption = "Loss, and smoothed loss, at the rates that --auto-lr tried"
        chosen = about.get("lr_suggested", run.config.optim.lr)
        pictures[caption] = plots.range_test(points, chosen)
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
        class_names=scoring.class_names(),
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


def _pictures(
    scoring: scoring_lib.Scoring,
    variables: dict[str, Any],
    features: features_lib.Features,
    results: dict[str, dict],
) -> dict[str, Any]:
    """What the evaluators show, the inner workings of the method, scatters of codes."""
    run = scoring.run
    names = {label: fields.name for label, fields in run.config.evals.items()}
    drawn = of.Drawn(names, scoring.evaluators(), results)
    samples = samples_lib.Samples(run, splits.shown(features))
    pictures = drawn.pictures(features, samples)
    batch, _ = next(features.batches(samples.split, ()))
    few = {k: jax.tree.map(lambda x: x[:SHOWN_MAPS], v) for k, v in batch.items()}
    inner = jax.jit(run.method.explain)(variables, samples.transformed(few))
    inner, seen = jax.device_get(inner), samples.seen(few)
    pictures |= workings.figures(inner, samples.split, views=seen)
    table = features.table(samples.split).items()
    codes = {k: v for k, v in table if v.ndim == 2}
    factors = drawn.factors(codes)
    codes = {name: codes[name] for name in factors}
    return pictures | _scatters(features, samples.split, codes, factors)


def _scatters(
    features: features_lib.Features,
    split: str,
    codes: dict[str, np.ndarray],
    factors: dict[str, str],
) -> dict[str, Any]:
    """Each code in the plane, its classes those of the factor that it should hold.

    Codes without a factor that all samples have show the labels.
    """
    labels, label_names = _labels(features, split)
    pictures = {}
    for name, rows in codes.items():
        shown, names = labels, label_names
        caption, title, factor = f"{name} of {split} samples", name, factors[name]
        if factor in features.factor_names(split):
            # Some samples may lack the class.
            with contextlib.suppress(features_lib.Insufficient):
                shown = features.factor(split, factor)
                names = features.class_names(split, factor)
                caption, title = f"{caption} by {factor}", f"{name} by {factor}"
        pictures[caption] = plots.scatter(
            rows[:SHOWN_CODES], shown[:SHOWN_CODES], title, names=names
        )
    return pictures


def _labels(features: features_lib.Features, split: str) -> tuple[np.ndarray, Any]:
    """Labels of a split and names of the classes, if they have any.

    Without labels the signs of the first target take their place, and without that 0.
    """
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
