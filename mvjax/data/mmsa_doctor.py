"""Looks a pickle of MMSA or MulT over: what is in it, and what is wrong with it."""

from collections.abc import Callable
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.data import mmsa
from mvjax.data import mmsa_values
from mvjax.data import sequences

_ROWS = 256  # Utterances looked at together; a file may be larger than the memory.


def describe(path: pathlib.Path, *, max_gib: float | None) -> list[str]:
    """Says what is in a file, one line for each fact.

    Args:
      path: A pickle in either layout.
      max_gib: See `array_pickle.read`.

    Returns:
      Checksum and origin; for each split its keys; for each array its shape, type,
      infinite values and NaN; lengths, range of the scores and counts of the classes.

    Raises:
      UserError: The file is unusable as a whole.
    """
    digest = mmsa.sha256(path)
    known = mmsa.PUBLISHED.get(digest[:8])
    origin = f"as MMSA published it ({known})" if known else "none that MMSA published"
    lines = [f"{path}: {path.stat().st_size} bytes, SHA-256 {digest[:16]}, {origin}."]
    file = mmsa.read_file(path, max_gib=max_gib)
    for split, content in file.splits.items():
        lines += [f"{split}: {note}" for note in file.notes[split]]
        lines.append(f"{split}: keys {', '.join(map(str, content))}.")
        for name, value in content.items():
            lines.append(f"{split}, {name}: {_say(name, value)}.")
    return lines


def find_problems(
    path: pathlib.Path,
    *,
    split: str,
    read: Callable[[str], object],
    wanted: tuple[str, ...],
    score: str,
    greatest_score: float,
    max_gib: float | None,
) -> list[str]:
    """Lists what is wrong with one split of a file.

    Args:
      path: The file.
      split: "train", "valid", "test" or "all".
      read: Reads a split, given its name; the last check.
      wanted: Names of the arrays with the views.
      score: Name of the labels that are the target.
      greatest_score: Scores lie between minus this and this.
      max_gib: See `array_pickle.read`.

    Returns:
      One line for each problem.
    """
    try:
        file = mmsa.read_file(path, max_gib=max_gib)
        names = sequences.SPLITS if split == "all" else (split,)
        contents = [(name, mmsa.get_split(file, name, path)) for name in names]
    except errors.UserError as error:
        return [str(error)]
    problems = []
    for name, content in contents:
        where = f"{path}, {name}"
        found = _array_problems(content, wanted, score, greatest_score)
        problems += [f"{where}: {problem}" for problem in found]
        if not found:
            try:
                read(name)
            except errors.UserError as error:
                problems.append(str(error))
    return problems


def _array_problems(
    content: dict[str, Any], wanted: tuple[str, ...], score: str, greatest: float
) -> list[str]:
    """Looks at every array that is needed and at the score."""
    problems, counts = [], {}
    for name in (*wanted, score):
        if name not in content:
            has = ", ".join(map(str, content)) or "nothing"
            problems.append(f"{name} is missing; there is {has}.")
            continue
        array = _numbers(content[name])
        if array is None:
            problems.append(f"{name} is no array of numbers.")
            continue
        counts[name] = len(array)
        if name != score and array.ndim != 3:
            problems.append(f"{name} has the shape {list(array.shape)}, not 3 axes.")
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        problems.append(f"the numbers of utterances differ: {said}.")
    truth = _numbers(content.get(score))
    if truth is not None and truth.size:
        if not np.isfinite(truth).all():
            count = int((~np.isfinite(truth)).sum())
            problems.append(f"{score} holds {count} values that are NaN or infinite.")
        elif np.abs(truth).max() > greatest + sequences.SLACK:
            problems.append(
                f"{score} goes from {truth.min():g} to {truth.max():g}, expected "
                f"-{greatest:g} to {greatest:g}."
            )
    return problems


def _numbers(value: Any) -> np.ndarray | None:
    """Returns an array of numbers with a sample axis, or None."""
    array = mmsa_values.to_array(value)
    return array if array is not None and array.ndim else None


def _say(name: str, value: Any) -> str:
    """Describes one entry of a split."""
    array = _numbers(value)
    if array is None:
        count = len(value) if hasattr(value, "__len__") else 1
        return f"{count} entries of {type(value).__name__}"
    kind = "" if isinstance(value, np.ndarray) else f" (a {type(value).__name__})"
    said = f"{'x'.join(map(str, array.shape))} {array.dtype}{kind}"
    if not array.size:
        return said
    if array.dtype.kind == "f":
        said += ", {} infinite, {} NaN".format(*_count_bad(array))
    if "lengths" in name:
        return (
            f"{said}, from {array.min()} to {array.max()}, median {np.median(array):g}"
        )
    if "classification" in name:
        values, counts = np.unique(array, return_counts=True)
        each = ", ".join(f"{v:g}: {n}" for v, n in zip(values, counts, strict=True))
        return f"{said}, counts {each}"
    if "labels" in name:
        return f"{said}, from {np.min(array):g} to {np.max(array):g}"
    return said


def _count_bad(array: np.ndarray) -> tuple[int, int]:
    """Counts infinite values and NaN."""
    infinite = nan = 0
    for start in range(0, len(array), _ROWS):
        part = array[start : start + _ROWS]
        infinite += int(np.isinf(part).sum())
        nan += int(np.isnan(part).sum())
    return infinite, nan
