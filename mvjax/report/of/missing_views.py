"""Bars of the scores without some of the views."""

from collections.abc import Mapping
from typing import Any

from mvjax.report import sentiment


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Bars by caption, see `report.of`."""
    del evaluator, features, samples  # The scores say it all.
    table = sentiment.read_subsets(scores)
    if table is None:
        return {}
    return {f"Scores without some views ({label})": sentiment.subsets(table)}
