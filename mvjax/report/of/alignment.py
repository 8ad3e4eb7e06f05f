"""How the dimensions of two views' embeddings agree, their spectra, and where they lie."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.evaluators import alignment
from mvjax.report import plots
from mvjax.report import spectra

_DRAWN = 200  # Dimensions of each kind in the plane.


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """A histogram of each pair, the spectra, and t-SNE of dimensions, see `report.of`."""
    del scores, samples  # The scores sum up what is drawn here.
    embeddings = evaluator.embeddings(features)
    figures = {}
    size = len(next(iter(embeddings.values())))
    where = f"over {size} samples of the split {evaluator.split} ({label})"
    for (a, b), blocks in evaluator.blocks(embeddings).items():
        caption = f"Correlation of each dimension between {a} and {b} {where}"
        figures[caption] = spectra.histogram(blocks)
        both = {view: embeddings[view] for view in (a, b)}
        caption = f"Dimensions of {a} and {b} {where}"
        figures[caption] = _dimensions(both, blocks, evaluator.seed)
    singular = {
        view: alignment.singular_values(rows) for view, rows in embeddings.items()
    }
    figures[f"Singular values of the embeddings {where}"] = spectra.spectrum(singular)
    return figures


def _dimensions(
    embeddings: Mapping[str, np.ndarray], blocks: Mapping[str, np.ndarray], seed: int
) -> Any:
    """Dimensions of two embeddings in the plane, by what they are for the samples."""
    rng, drawn = np.random.default_rng(seed), {}
    start = 0
    for block, diagonal in blocks.items():  # The same of both views, which may meet.
        drawn[block] = start + rng.permutation(len(diagonal))[:_DRAWN]
        start += len(diagonal)
    points, kinds, names = [], [], []
    for view, rows in embeddings.items():
        held = alignment.standardise(rows).T
        for block, chosen in drawn.items():
            points.append(held[chosen])
            kinds.append(np.full(len(chosen), len(names)))
            names.append(f"{block} of {view}")
    return plots.scatter(
        np.concatenate(points), np.concatenate(kinds), "dimensions", names=names
    )
