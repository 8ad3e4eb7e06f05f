"""The dependence of codes on fixed representations as a heat map."""

from collections.abc import Mapping
from typing import Any

from mvjax.evaluators import dependence
from mvjax.report import retrieval


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """A heat map by caption, see `report.of`."""
    del features, samples  # The scores say it all.
    matrix = retrieval.read_matrix(scores, dependence.SCORE)
    if matrix is None:
        return {}
    caption = (
        f"Distance correlation with {scores[dependence.SAMPLES]:.0f} samples of the "
        f"split {evaluator.split} ({label}): with training, by chance, untrained"
    )
    return {caption: retrieval.leakage_matrix(matrix)}
