"""Classes from what numbers them in a file: integers, whole floats, text or booleans.

The sorted distinct values become 0, 1, ... K-1, so that numbers which are 0..K-1 already
keep their meaning, and the values stay as names. Unlabelled are -1, NaN, empty text and,
in unsigned integers, the greatest value, which is -1 read without a sign (unless it only
completes 0..K-1, as 255 does where all 256 values of uint8 occur). Where more than half
of the samples are alone in their class, the values are identities and refused.
"""

from typing import NamedTuple

import numpy as np

from mvjax.core import errors

_KINDS = "biufUS"
_FEW = 20  # So many classes may be of single samples; more are identities.


class Classes(NamedTuple):
    """One class for each sample."""

    numbers: np.ndarray  # [N] int32, 0..K-1, -1 where unknown.
    names: tuple[str, ...]  # Of the K classes.


def number(
    values: np.ndarray, what: str, names: tuple[str, ...] | None = None
) -> Classes:
    """Numbers the distinct values.

    Args:
      values: `[N]`.
      what: Names them in messages, such as "array 'label'".
      names: Of all classes, where the file says them: integers then are their places in
        it and stay as they are, also where a class has no sample.

    Raises:
      UserError: They cannot be classes.
    """
    if values.ndim != 1 or values.dtype.kind not in _KINDS:
        raise errors.UserError(
            f"{what} must be [N] of integers, whole floats, text or booleans, is "
            f"{list(values.shape)} of {values.dtype}."
        )
    known = ~_unknown(values)
    distinct, places, counts = np.unique(
        values[known], return_inverse=True, return_counts=True
    )
    _check(values, distinct, what)
    if names is not None:
        _check_places(values, distinct, what, len(names))
        places = values[known]
    elif len(distinct) > _FEW and 2 * (counts == 1).sum() > known.sum():
        raise errors.UserError(
            f"{what} holds {len(distinct)} distinct values in {known.sum()} samples, most "
            "of them once: identities, not classes. Keep them as text under "
            "'info/<name>' or leave them out."
        )
    numbers = np.full(len(values), -1, np.int32)
    numbers[known] = places
    return Classes(numbers, names or tuple(map(_say, distinct)))


def _unknown(values: np.ndarray) -> np.ndarray:
    """Which samples have no class, `[N]` bool."""
    kind = values.dtype.kind
    if kind == "f":
        return np.isnan(values) | (values == -1)
    if kind == "i":
        return values == -1
    if kind in "US":
        return values == values.dtype.type()
    unknown = np.zeros(len(values), bool)
    if kind == "u":
        greatest = np.iinfo(values.dtype).max
        if len(np.unique(values)) <= greatest:  # Else it completes 0..K-1.
            unknown = values == greatest
    return unknown


def _check(values: np.ndarray, distinct: np.ndarray, what: str) -> None:
    """Refuses numbers that name no class; `distinct` `[K]` ascending."""
    kind = values.dtype.kind
    if kind == "f":
        broken = distinct[~np.isfinite(distinct) | (distinct != np.rint(distinct))]
        if broken.size:
            raise errors.UserError(
                f"{what} holds {len(distinct)} distinct values, of which "
                f"{broken.size} are no whole numbers, such as {broken[0]:g}: no classes."
                " A truth on a scale belongs under 'target/<name>'."
            )
        most = 2.0 ** (np.finfo(values.dtype).nmant + 1)
        if distinct.size and np.abs(distinct).max() > most:
            raise errors.UserError(
                f"{what} holds numbers beyond {most:g}, of which {values.dtype} leaves "
                "some out: save them as integers or text."
            )
    if kind in "fi" and distinct.size and distinct[0] < -1:
        first = int(np.argmax(values < -1))
        raise errors.UserError(
            f"{what}: {values[first]} at index {first}, below -1, which stands for "
            "unlabelled."
        )


def _check_places(
    values: np.ndarray, distinct: np.ndarray, what: str, count: int
) -> None:
    """Refuses numbers that are no places among so many names."""
    if values.dtype.kind not in "iu":
        raise errors.UserError(
            f"{what} must be integers where the classes have names, is {values.dtype}."
        )
    if distinct.size and distinct[-1] >= count:
        first = int(np.argmax(values == distinct[-1]))
        raise errors.UserError(
            f"{what}: {distinct[-1]} at index {first}, expected -1 or 0..{count - 1}, "
            f"as there are {count} names."
        )


def _say(value: np.generic) -> str:
    """A value as the name of its class; what cannot be printed is spelled out."""
    if value.dtype.kind == "f":
        return str(int(value))
    text = value.decode("utf-8", "replace") if value.dtype.kind == "S" else str(value)
    if text.isprintable():
        return text
    return text.encode("unicode_escape").decode()
