"""The dependence of codes on fixed representations as a heat map."""

from collections.abc import Mapping
from typing import Any

from mvjax.evaluators import dependence
from mvjax.report import retrieval


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """A heat map by caption, see `report.of`."""
    del samples  # The scores say it all.
    matrix = retrieval.read_matrix(scores, dependence.SCORE)
    if matrix is None:
        return {}
    size = min(evaluator.rows, features.size(evaluator.split))
    caption = (
        f"Distance correlation over {size} samples of the split {evaluator.split} "
        f"({label}), chance, untrained"
    )
    return {caption: retrieval.leakage_matrix(matrix)}
