"""Brings arrays of any number type to those that reach the device, or says why not."""

import numpy as np

_INT32 = np.iinfo(np.int32)


def to_device_type(
    array: np.ndarray, present: np.ndarray | None = None
) -> tuple[np.ndarray, str | None]:
    """Converts the samples of a view or of a truth.

    All floats and booleans become float32 (False 0, True 1), int64 becomes int32, uint64
    int32 or uint32; smaller integers stay.

    Args:
      array: `[N, ...]`.
      present: Which samples there are, `[N]` bool, None: all; the others become zeros,
        whatever they hold.

    Returns:
      The array, and None or a problem that continues "array <name> ".
    """
    kind = array.dtype.kind
    if kind not in "fiub":
        return array, f"holds {array.dtype}, expected numbers."
    if kind == "b":
        return _without_absent(array.astype(np.float32), present), None
    if kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = array.astype(np.float32, copy=False)
        problem = _float_problem(array, narrow, present)
    else:
        narrow, problem = array, None
        if array.dtype.itemsize == 8:
            low, high = array.min(initial=0), array.max(initial=0)
            fits = low >= _INT32.min and high <= _INT32.max
            wide = np.uint32 if kind == "u" and not fits else np.int32
            narrow = array.astype(wide)
            if low < np.iinfo(wide).min or high > np.iinfo(wide).max:
                problem = f"holds integers beyond {np.dtype(wide)}."
    return _without_absent(narrow, present), problem


def _float_problem(
    array: np.ndarray, narrow: np.ndarray, present: np.ndarray | None
) -> str | None:
    """Names the first sample that is not finite in float32."""
    if not narrow.size:
        return None
    rows = np.isfinite(narrow).reshape(len(narrow), -1).all(axis=1)
    if present is not None:
        rows |= ~present
    bad = np.flatnonzero(~rows)
    if not bad.size:
        return None
    values = np.ravel(array[bad[0]])
    value = values[~np.isfinite(np.ravel(narrow[bad[0]]))][0]
    more = f" ({bad.size} samples in all)" if bad.size > 1 else ""
    if np.isnan(value):
        return f"holds NaN at index {bad[0]}{more}."
    if np.isinf(value):
        return f"holds an infinite value at index {bad[0]}{more}."
    return f"holds {value!s} at index {bad[0]}{more}, beyond float32."


def _without_absent(array: np.ndarray, present: np.ndarray | None) -> np.ndarray:
    """Clears absent samples; the array itself stays as it is."""
    if present is None or present.all():
        return array
    array = array.copy()
    array[~present] = 0
    return array
