"""Predictions on a scale against the truth, and their errors by the samples' lengths."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.evaluators import sentiment
from mvjax.report import plots
from mvjax.report import sentiment as report


def codes(evaluator: sentiment.Evaluator) -> dict[str, None]:
    """The prediction is no code, and neither is its spread over draws."""
    task = _task(evaluator)
    return {} if task.kind == "classification" else {f"{task.feature}*": None}


def pictures(
    label: str,
    evaluator: sentiment.Evaluator,
    scores: Mapping[str, float],
    features: Any,
    samples: Any,
) -> dict[str, Any]:
    """Dots and curves by caption, see `report.of`; none of classes."""
    del label, scores  # The pictures are of the samples.
    task, split = _task(evaluator), samples.split
    score = features.table(split).get(task.feature)
    if task.kind == "classification" or score is None or score[0].size != 1:
        return {}
    truth = plots.drawable(features.target(split, task.target))
    score = plots.drawable(score.reshape(-1))
    known = np.isfinite(truth) & np.isfinite(score)
    if not known.any():
        return {}
    truth, score = truth[known], score[known]
    figure = report.predictions(score, truth, title=task.target)
    found = {f"Predictions of {split} samples against {task.target}": figure}
    lengths = {view: features.lengths(split, view) for view in features.views(split)}
    lengths = {k: v[known] for k, v in lengths.items() if v is not None}
    if lengths:
        figure = report.error_by_length(lengths, np.abs(score - truth))
        found[f"Error of {split} samples by length"] = figure
    return found


def _task(evaluator: sentiment.Evaluator) -> sentiment.Task:
    return sentiment.Task(evaluator.kind, evaluator.target, evaluator.output)
