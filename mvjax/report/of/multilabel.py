"""Average precision of each label as bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.evaluators import multilabel
from mvjax.report import classes


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Bars by caption, see `report.of`."""
    del samples  # The evaluator's split is shown.
    rows, truth = evaluator.read(features)
    each = multilabel.per_label(multilabel.average_precision, rows, truth)
    caption = f"Average precision by label in the split {evaluator.split} ({label})"
    mean = scores.get("map_voc")
    # Scores of chance are the shares of the samples that have the label.
    known = np.maximum(multilabel.is_known(truth).sum(axis=0), 1)
    chance = (truth == 1).sum(axis=0) / known
    spec = features.spec(evaluator.split)
    names = evaluator.class_names(spec) if spec else ()
    figure = classes.bars(each, chance=chance, mean=mean, what="AP", names=names)
    return {caption: figure}
