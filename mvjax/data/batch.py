"""Records and batches: what a data set hands over and what it promises about it.

A record is `{"views": {name: array}, "label": int32, "index": int32}`, optionally with
`"present": {name: bool}` for samples that lack a view, `"factors": {name: int32}`, what
else is known to vary, such as a colour, `"targets": {name: array}`, truths of any shape:
a score, a multi-hot row of tags, a mask of classes, and `"lengths": {name: int32}`, how
many frames of a sequence are not padding; label and factors are -1 where they are unknown.
A batch holds the same with a leading axis B.
"""

from collections.abc import Collection
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
    # Whether records differ in all axes but the last; `shape` is then an example of it.
    varies: bool = False


class TargetSpec(NamedTuple):
    """One truth of a record; without a shape it is a number on a scale."""

    shape: tuple[int, ...] = ()  # (K,) multi-hot tags, (H, W) a mask of classes.
    dtype: str = "float32"  # NumPy name.
    low: float = -np.inf  # Smallest and greatest value that may occur.
    high: float = np.inf
    ignore: float | None = None  # Stands for unknown, also outside of the range.
    varies: bool = False  # Whether records differ in their axes, as views may.

    def known(self, array: np.ndarray) -> np.ndarray:
        """The values that are not unknown, `[n]`, or all of them as they are."""
        return array if self.ignore is None else array[array != self.ignore]


_UNTOLD = ("channel_names", "target_names")


class Spec(NamedTuple):
    """What every record of a source looks like."""

    views: dict[str, ViewSpec]
    classes: int | None  # Labels are 0..classes-1, or -1; None: there are no labels.
    factors: dict[str, int] = {}  # Number of classes of each factor, by name.
    targets: dict[str, TargetSpec] = {}
    lengths: tuple[str, ...] = ()  # Views [T, ...] whose records say how long they are.
    class_names: tuple[str, ...] = ()  # Of the classes 0, 1, ...; (): their numbers.
    factor_names: dict[str, tuple[str, ...]] = {}  # The same by factor, where known.
    # Of the other streams that a training batch holds under "beside", by label.
    beside: dict[str, "Spec"] = {}
    channel_names: dict[str, tuple[str, ...]] = {}  # By view, of bands that have names.
    # By target, of the classes 0, 1, ... of masks and tags, where known.
    target_names: dict[str, tuple[str, ...]] = {}

    def __str__(self) -> str:
        """What fingerprints are of: names of channels and targets change no value."""
        fields = self._asdict().items()
        held = [f"{k}={v!r}" for k, v in fields if k not in _UNTOLD]
        return f"Spec({', '.join(held)})"

    def channels(self, view: str) -> tuple[str, ...]:
        """Names of the last axis of a view; numbers where the data do not tell."""
        count = self.views[view].shape[-1]
        return self.channel_names.get(view) or tuple(map(str, range(count)))

    @property
    def scores(self) -> list[str]:
        """Names of the truths on a scale, those without a shape."""
        return [name for name, target in self.targets.items() if not target.shape]

    def names(self, factor: str = "label") -> tuple[str, ...]:
        """Names of the classes of a factor, or of the labels; () where none are known."""
        if factor == "label":
            return self.class_names
        return self.factor_names.get(factor, ())


def record_name(source: Any, index: int) -> str:
    """A name for files that belong to a record: the source's own, or its number."""
    if hasattr(source, "record_name"):
        return source.record_name(index)
    return f"{index:06d}"


def example(spec: Spec, batch_size: int) -> Record:
    """Returns a batch of zeros, for model initialisation and shape work.

    Args:
      spec: The data set's promise.
      batch_size: B.

    Returns:
      Views `[B, *shape]` in their dtypes, `label` and `index` `[B]` int32, and, if the
      data set has them, `factors` and `lengths`, each `[B]` int32, and `targets`
      `[B, *shape]` in their dtypes; sequences are as long as they can be.
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
    if spec.targets:
        batch["targets"] = {
            name: np.zeros((batch_size, *target.shape), target.dtype)
            for name, target in spec.targets.items()
        }
    if spec.lengths:
        batch["lengths"] = {
            k: np.full(batch_size, spec.views[k].shape[0], np.int32)
            for k in spec.lengths
        }
    return batch


def differences(specs: dict[str, Spec]) -> list[str]:
    """Says which views two splits have in different shapes or types, one line for each.

    Args:
      specs: Of the two by name.
    """
    (first, one), (second, other) = specs.items()
    lines = []
    for name in sorted({*one.views, *other.views}):
        ours, theirs = _say(one.views.get(name)), _say(other.views.get(name))
        if ours != theirs:
            lines.append(
                f"View {name!r} is {theirs} in the split {second!r} but {ours} in "
                f"{first!r}; all splits must agree."
            )
    return lines


def _say(view: ViewSpec | None) -> str:
    if view is None:
        return "missing"
    # Of a view that varies only the channels are the same everywhere.
    size = ["*"] * (len(view.shape) - 1) if view.varies else view.shape[:-1]
    return f"[{', '.join(map(str, [*size, *view.shape[-1:]]))}] of {view.dtype}"


def view_problem(array: Any, view: ViewSpec) -> str | None:
    """Says what is wrong with one view of a record, or None.

    Args:
      array: The value found, `[*shape]` where it is right. Of a view that varies, rank
        and channels are looked at.
      view: What it should be.
    """
    if not isinstance(array, np.ndarray | np.generic):
        return f"is a {type(array).__name__}, not an array"
    if view.varies:
        rank, channels = len(view.shape), view.shape[-1]
        if array.ndim != rank or array.shape[-1] != channels:
            return (
                f"has shape {array.shape}, expected {rank} axes, the last of "
                f"{channels} channels"
            )
    elif array.shape != tuple(view.shape):
        return f"has shape {array.shape}, expected {tuple(view.shape)}"
    return _value_problem(array, view)


def target_problem(array: Any, target: TargetSpec) -> str | None:
    """Says what is wrong with a truth of a record that has axes, or None; see there."""
    if not isinstance(array, np.ndarray):
        return f"is a {type(array).__name__}, not an array"
    fits = array.shape == tuple(target.shape)
    if not (fits or (target.varies and array.ndim == len(target.shape))):
        return f"has shape {array.shape}, expected {tuple(target.shape)}"
    return _value_problem(array, target)


def _value_problem(array: np.ndarray, view: ViewSpec | TargetSpec) -> str | None:
    """Says what is wrong with the type or the values of an array, or None."""
    if array.dtype != np.dtype(view.dtype):
        return f"has dtype {array.dtype}, expected {view.dtype}"
    if isinstance(view, TargetSpec):
        array = view.known(array)
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
    problems += _target_problems(record.get("targets", {}), spec, place)
    problems += _length_problems(record.get("lengths", {}), spec, place)
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
    return _name_problems("factors", found, spec.factors, place) or [
        f"{place}, factor {name!r}: {int(value)}, expected -1 or "
        f"0..{spec.factors[name] - 1}."
        for name, value in found.items()
        if not -1 <= int(value) < spec.factors[name]
    ]


def _target_problems(found: dict[str, Any], spec: Spec, place: str) -> list[str]:
    """Lists what is wrong with a record's targets; NaN is out of every range."""
    problems = _name_problems("targets", found, spec.targets, place)
    if problems:
        return problems
    for name, target in spec.targets.items():
        what, value = f"{place}, target {name!r}", found[name]
        if target.shape:
            problem = target_problem(value, target)
            problems += [f"{what}: {problem}."] if problem else []
        elif np.ndim(value):
            problems.append(f"{what}: has shape {np.shape(value)}, expected a number.")
        elif value != target.ignore and not target.low <= float(value) <= target.high:
            wanted = f"expected {target.low:g} to {target.high:g}"
            problems.append(f"{what}: {float(value):g}, {wanted}.")
    return problems


def _length_problems(found: dict[str, Any], spec: Spec, place: str) -> list[str]:
    """Lists what is wrong with a record's lengths."""
    return _name_problems("lengths", found, spec.lengths, place) or [
        f"{place}, length of view {name!r}: {int(value)}, expected 0.."
        f"{spec.views[name].shape[0]}."
        for name, value in found.items()
        if not 0 <= int(value) <= spec.views[name].shape[0]
    ]


def _name_problems(
    what: str, found: Collection[str], wanted: Collection[str], place: str
) -> list[str]:
    """Says where a record does not have exactly the named values."""
    if sorted(found) == sorted(wanted):
        return []
    return [
        (
            f"{place}: has the {what} {', '.join(sorted(found)) or 'none'}, "
            f"expected {', '.join(sorted(wanted)) or 'none'}."
        )
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
