"""The leakage matrix as a heat map, one for each probe but k-NN."""

from collections.abc import Mapping
from typing import Any

from mvjax.report import retrieval


def codes(evaluator: Any) -> dict[str, str]:
    """The factor that each code should hold, the first of several."""
    pairs = [pair.partition(":")[::2] for pair in evaluator.wanted]
    return dict(reversed(pairs))


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Heat maps by caption, see `report.of`."""
    del features, samples  # The scores say it all.
    probes = [probe for probe in evaluator.probes if probe != "knn"]
    figures = {}
    for probe in probes:
        matrix = retrieval.read_matrix(scores, probe)
        if matrix:
            what = label if len(probes) == 1 else f"{label}, {probe}"
            figures[f"Leakage matrix ({what}): accuracy, chance, untrained"] = (
                retrieval.leakage_matrix(matrix, wanted=evaluator.wanted)
            )
    return figures
