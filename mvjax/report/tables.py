"""Metric tables: flat scores sorted into rows of features and columns of metrics.

Scores of an evaluator are `{"<feature expression>/<metric>": mean}` with the deviation
over runs, where there is one, under `"<feature expression>/<metric>_std"`.
"""

from collections.abc import Mapping
import math
from typing import NamedTuple

_STD = "_std"
# Errors; all other metrics are better when they are larger. An error belongs to one
# target, so it is compared with that of the baseline for the same target only.
LOWER_IS_BETTER = frozenset({"mse", "mae", "nll", "loss", "error"})
# What others are measured against; there is no best one.
REFERENCES = frozenset({"chance"})
# What each row says of another target; rows cannot be compared.
_UNLIKE = frozenset({"dcor"})
# Ends of intervals and differences; there is no best one either.
_BESIDE = ("_low", "_high", "_change")
# Predictors that saw no input, then what they predicted.
_BLIND = ("mean_predictor/", "majority_class/")


class Cell(NamedTuple):
    """One number of a table."""

    mean: float
    std: float | None  # None: there were no repeated runs.
    best: bool  # Nothing that it competes with is better as printed.


class Table(NamedTuple):
    """The scores of one evaluator."""

    rows: tuple[str, ...]  # Feature expressions, baselines last.
    columns: tuple[str, ...]  # Metrics.
    cells: dict[tuple[str, str], Cell]


def is_baseline(expression: str) -> bool:
    """Whether a row owes nothing to training.

    So do `raw`, `raw/<view>`, `untrained:...`, `mean_predictor/...`,
    `majority_class/...`.
    """
    if expression.startswith(("untrained:", *_BLIND)):
        return True
    parts = (part.strip() for part in expression.split("+"))
    return all(part == "raw" or part.startswith("raw/") for part in parts)


def build(scores: Mapping[str, float]) -> Table:
    """Sorts the scores of one evaluator into a table, in the order they came in."""
    means = {
        key: value
        for key, value in scores.items()
        if not (key.endswith(_STD) and key.removesuffix(_STD) in scores)
    }
    places = {key: tuple(key.rpartition("/")[::2]) for key in means}
    rows = dict.fromkeys(row for row, _ in places.values())
    columns = dict.fromkeys(column for _, column in places.values())
    cells = {
        place: Cell(
            float(means[key]),
            float(scores[key + _STD]) if key + _STD in scores else None,
            number(means[key], place[1]) == _best(place, places, means),
        )
        for key, place in places.items()
    }
    return Table(tuple(sorted(rows, key=is_baseline)), tuple(columns), cells)


def split_numbered(
    scores: Mapping[str, float],
) -> tuple[dict[str, float], dict[str, dict[int, float]]]:
    """Takes scores of numbered classes, such as `iou/3`, out of the others.

    Returns:
      The others; and values by number, by what stands before it. Deviations go with
      the values and are left out.
    """
    rest, numbered = {}, {}
    for key, value in scores.items():
        row, _, column = key.rpartition("/")
        if row and column.removesuffix(_STD).isdecimal():
            if not column.endswith(_STD):
                numbered.setdefault(row, {})[int(column)] = value
        else:
            rest[key] = value
    return rest, numbered


def number(value: float, metric: str) -> str:
    """A value as the tables print it; a dash where it is not a number."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.4g}" if metric in LOWER_IS_BETTER else f"{value:.3f}"


def text(cell: Cell, metric: str) -> str:
    """A cell as `mean ± deviation`."""
    mean = number(cell.mean, metric)
    return mean if cell.std is None else f"{mean} ± {number(cell.std, metric)}"


def _best(
    place: tuple[str, str],
    places: Mapping[str, tuple[str, str]],
    means: Mapping[str, float],
) -> str | None:
    """The best value, as printed, of those that compete with a place.

    None if there is nothing to compare.
    """
    values = [
        means[key]
        for key, other in places.items()
        if _contest(other) == _contest(place) and math.isfinite(means[key])
    ]
    beside = place[1] in REFERENCES | _UNLIKE or place[1].endswith(_BESIDE)
    if len(values) < 2 or beside:
        return None
    choose = min if place[1] in LOWER_IS_BETTER else max
    return number(choose(values), place[1])


def _contest(place: tuple[str, str]) -> tuple[str, str]:
    """Equal for places whose values may be compared."""
    row, column = place
    if column not in LOWER_IS_BETTER:
        return "", column
    for prefix in ("untrained:", *_BLIND):
        row = row.removeprefix(prefix)
    return row, column
