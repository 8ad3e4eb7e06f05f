"""Average precision of each label as bars."""

from collections.abc import Mapping
from typing import Any

from mvjax.evaluators import multilabel
from mvjax.report import classes


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Bars by caption, see `report.of`."""
    del samples  # The evaluator's split is shown.
    rows = features.get(evaluator.split, evaluator.output)
    truth = features.target(evaluator.split, evaluator.target)
    each = multilabel.per_label(multilabel.average_precision, rows, truth)
    caption = f"Average precision by label in the split {evaluator.split} ({label})"
    mean = scores.get("map_voc")
    # Scores of chance are the shares of the samples that have the label.
    figure = classes.bars(each, chance=truth.mean(axis=0), mean=mean, what="AP")
    return {caption: figure}
