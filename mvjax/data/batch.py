"""Records and batches: what a data set hands over and what it promises about it.

A record is `{"views": {name: array}, "label": int32, "index": int32}`, optionally with
`"present": {name: bool}` for samples that lack a view and `"factors": {name: int32}`,
what else is known to vary, such as a colour; label and factors are -1 where they are
unknown. A batch holds the same with a leading axis B.
"""

from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors

Record = dict[str, Any]


class ViewSpec(NamedTuple):
    """One view of a record."""

    shape: tuple[int, ...]  # Without the batch axis; images are (H, W, C).
    dtype: str  # NumPy name, such as "uint8" or "float32".
    low: float  # Smallest and greatest value that may occur.
    high: float


class Spec(NamedTuple):
    """What every record of a source looks like."""

    views: dict[str, ViewSpec]
    classes: int | None  # Labels are 0..classes-1, or -1; None: there are no labels.
    factors: dict[str, int] = {}  # Number of classes of each factor, by name.


def example(spec: Spec, batch_size: int) -> Record:
    """Returns a batch of zeros, for model initialisation and shape work.

    Args:
      spec: The data set's promise.
      batch_size: B.

    Returns:
      Views `[B, *shape]` in their dtypes, `label` and `index` `[B]` int32, and, if the
      data set has them, `factors`, each `[B]` int32.
    """
    batch = {
        "views": {
            name: np.zeros((batch_size, *view.shape), view.dtype)
            for name, view in spec.views.items()
        },
        "label": np.zeros(batch_size, np.int32),
        "index": np.arange(batch_size, dtype=np.int32),
    }
    if spec.factors:
        batch["factors"] = {k: np.zeros(batch_size, np.int32) for k in spec.factors}
    return batch


def view_problem(array: Any, view: ViewSpec) -> str | None:
    """Says what is wrong with one view of a record, or None.

    Args:
      array: The value found, `[*shape]` where it is right.
      view: What it should be.
    """
    if not isinstance(array, np.ndarray | np.generic):
        return f"is a {type(array).__name__}, not an array"
    if array.shape != tuple(view.shape):
        return f"has shape {array.shape}, expected {tuple(view.shape)}"
    if array.dtype != np.dtype(view.dtype):
        return f"has dtype {array.dtype}, expected {view.dtype}"
    if array.size == 0:
        return None
    low, high = array.min(), array.max()  # NaN if any element is.
    if array.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        kind = "NaN" if np.isnan(low) else "an infinite value"
        return f"holds {kind}"
    if low < view.low or high > view.high:
        return (
            f"holds values from {low:g} to {high:g}, expected {view.low:g} to "
            f"{view.high:g}"
        )
    return None


def record_problems(record: Record, spec: Spec, where: str) -> list[str]:
    """Lists everything that is wrong with a record.

    Args:
      record: The record.
      spec: What it should look like.
      where: Name of the source, for the messages.

    Returns:
      One line for each problem, naming source, index and view; empty if it is sound.
      The content of a view that is marked as not present is not looked at.
    """
    place = f"{where}, record {record.get('index', '?')}"
    missing = [k for k in ("views", "label", "index") if k not in record]
    if missing:
        return [f"{place}: lacks {', '.join(missing)}; has {', '.join(record)}."]
    found, wanted = sorted(record["views"]), sorted(spec.views)
    if found != wanted:
        return [
            (
                f"{place}: has the views {', '.join(found) or 'none'}, expected "
                f"{', '.join(wanted)}."
            )
        ]
    problems = []
    present = record.get("present", {})
    for name in sorted(set(present) - set(spec.views)):
        problems.append(f"{place}: presence is given for the unknown view {name!r}.")
    for name, view in spec.views.items():
        if bool(present.get(name, True)):
            problem = view_problem(record["views"][name], view)
            if problem:
                problems.append(f"{place}, view {name!r}: {problem}.")
    problems += _factor_problems(record.get("factors", {}), spec, place)
    classes = spec.classes or 0
    if not -1 <= int(record["label"]) < classes:
        problems.append(
            f"{place}: label {int(record['label'])}, expected -1 or 0..{classes - 1}."
            if classes
            else f"{place}: label {int(record['label'])}, expected -1 (no classes)."
        )
    return problems


def _factor_problems(found: dict[str, Any], spec: Spec, place: str) -> list[str]:
    """Lists what is wrong with a record's factors."""
    if sorted(found) != sorted(spec.factors):
        return [
            (
                f"{place}: has the factors {', '.join(sorted(found)) or 'none'}, "
                f"expected {', '.join(sorted(spec.factors)) or 'none'}."
            )
        ]
    return [
        f"{place}, factor {name!r}: {int(value)}, expected -1 or "
        f"0..{spec.factors[name] - 1}."
        for name, value in found.items()
        if not -1 <= int(value) < spec.factors[name]
    ]


def validate_record(record: Record, spec: Spec, where: str) -> None:
    """Checks one record.

    Args:
      record: The record.
      spec: What it should look like.
      where: Name of the source, for the message.

    Raises:
      UserError: A view is missing, left over, of another shape or dtype, not finite or
        out of range, or the label is no class; the message names source, index and
        view, what was found and what was wanted.
    """
    problems = record_problems(record, spec, where)
    if problems:
        raise errors.UserError(problems[0])
