"""Values of a split of an MMSA or MulT pickle as arrays and texts, or refused by name."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mvjax.core import errors


def array_of(content: dict[str, Any], name: str, where: str) -> np.ndarray:
    """Returns an array of a split; lists of numbers count as arrays."""
    if name not in content:
        raise errors.UserError(f"{where} has no {name}; it has {listed(content)}.")
    array = to_array(content[name])
    if array is None:
        raise errors.UserError(f"{where}: {name} is no array of numbers.")
    return array


def to_array(value: Any) -> np.ndarray | None:
    """Returns an array or nested lists of numbers as an array, or None."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):  # Of lists that are no table.
        return None
    return array if array.dtype.kind in "biuf" else None


def numbers_of(content: dict[str, Any], name: str, where: str) -> np.ndarray:
    """Returns labels as float64 and refuses what is none, or beyond float32."""
    with np.errstate(over="ignore"):  # longdouble.
        array = array_of(content, name, where).astype(np.float64)
    if array.ndim < 1:
        raise errors.UserError(f"{where}: {name} is a single number.")
    bad = ~(np.abs(array) <= np.finfo(np.float32).max)
    if bad.any():
        first = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
        raise errors.UserError(
            f"{where}: {name} holds NaN or infinity (in float32) at index {first}."
        )
    return array


def refuse_empty(score: np.ndarray, where: str) -> None:
    """Raises `UserError` for a split without a score `[N]`."""
    if not len(score):
        raise errors.UserError(f"{where} has no utterances.")


def check_features(array: np.ndarray, where: str) -> None:
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise errors.UserError(f"{where} must be [N, L, d], is {list(array.shape)}.")


def check_count(found: int, wanted: int, where: str, target: str) -> None:
    if found != wanted:
        raise errors.UserError(f"{where} has {found} utterances but {target} {wanted}.")


def texts_of(values: Any, where: str) -> list[str]:
    """Returns `[N]` texts from text, bytes or numbers; several of one utterance joined."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise errors.UserError(f"{where} is no list of texts.")
    return [text_of(value) for value in values]


def text_of(value: Any) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return "$_$".join(text_of(part) for part in value)  # As MMSA joins them.
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def listed(names: Iterable[Any], *, most: int = 20) -> str:
    """Names a dict's keys, or values, in words and in one line."""
    texts = [text_of(name) for name in names]
    shown = [text if text.isprintable() else repr(text) for text in texts[:most]]
    more = " ..." if len(texts) > most else ""
    return ", ".join(f"{text:.60}" for text in shown) + more or "nothing"
