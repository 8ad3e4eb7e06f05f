"""A few images with true and predicted maps, and the classes' scores as bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.evaluators.common import confusion
from mvjax.evaluators.common import export
from mvjax.report import classes

_SHOWN = 6  # Images.


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Maps and bars by caption, see `report.of`."""
    del samples  # The evaluator's split is shown.
    counts = features.sums(evaluator)["confusion"]
    each = np.where(
        np.arange(len(counts)) == evaluator.ignore, np.nan, confusion.iou(counts)
    )
    share = counts.sum(axis=1) / max(counts.sum(), 1)
    spec = features.spec(evaluator.split)
    bars = classes.bars(
        each,
        chance=share,
        mean=scores.get("miou"),
        what="IoU",
        names=evaluator.class_names(spec),
    )
    found = {f"IoU by class in the split {evaluator.split} ({label})": bars}
    batch, outputs = next(export.gathered(evaluator, features))
    truth = batch["targets"][evaluator.target][:_SHOWN]
    guess = np.argmax(outputs[evaluator.output][:_SHOWN], axis=-1)
    views = batch["views"].items()
    images = {name: view[:_SHOWN] for name, view in views if view.ndim == 4}
    caption = f"Images, truth and guess in the split {evaluator.split} ({label})"
    maps = classes.maps(
        images,
        truth,
        guess,
        len(counts),
        ignore=evaluator.ignore,
        channels=spec.channel_names,
    )
    return found | {caption: maps}
