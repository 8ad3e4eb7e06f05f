"""The confusion matrix of a classifier."""

from collections.abc import Mapping
from typing import Any

from mvjax.report import classes


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """A heat map by caption, see `report.of`."""
    del scores, samples  # The scores sum up what is counted here.
    counts = features.sums(evaluator)["confusion"]
    names = features.class_names(evaluator.split, evaluator.factor)
    caption = f"Truth and guess in the split {evaluator.split} ({label})"
    return {caption: classes.confusion(counts, names)}
