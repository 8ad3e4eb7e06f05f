"""Where in the views of a few samples the output comes from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.report import saliency

_SHOWN = 8  # Samples.


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Images above what their pixels add, see `report.of`."""
    del scores, samples  # The samples are those that the evaluator looks at.
    few = features.sampled(evaluator.split, _SHOWN, seed=evaluator.seed)
    batch, _ = next(few.batches(evaluator.split, ()))
    added, _ = evaluator.attribute(few, batch)
    images = {k: x for k, x in batch["views"].items() if np.ndim(x) == 4}
    if not images:
        return {}
    maps = {name: np.abs(added[name]).sum(axis=-1) for name in images}
    caption = (
        f"Samples of the split {evaluator.split} and where {evaluator.output} comes "
        f"from ({label})"
    )
    return {caption: saliency.beside(images, maps)}
