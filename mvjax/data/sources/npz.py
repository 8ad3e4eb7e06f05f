"""A user's own paired arrays from one `.npz` file.

The file holds one array for each view, named after it, all with the samples on the
first axis: images `[N, H, W, C]`, vectors `[N, D]`, sequences `[N, T, D]`. Optional
beside them:

* `label`: integers `[N]`, -1 where unknown;
* `present/<view>`: booleans `[N]`, False where a sample lacks the view (its values are
  then read as zeros);
* `factor/<name>`: integers `[N]`, what else varies, such as a colour; -1 where unknown;
* `target/<name>`: floats `[N]`, a truth on a scale, such as a score;
* `length/<view>`: integers `[N]`, how many frames of a sequence `[T, D]` are not padding;
* `info/<name>`: strings `[N]` that stay beside the records, such as an identity;
* `split`: strings `[N]`, each "train", "valid" or "test". Without it the samples are
  split at random (seed 0) by the option `train_fraction`, with none for "valid".

float64 and int64 arrays become float32 and int32, booleans uint8.
"""

import pathlib
from typing import Any
import zipfile
import zlib

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch

_SPLITS = ("train", "valid", "test")
# Arrays beside the views, by what their names begin with.
_PREFIXES = ("present/", "factor/", "target/", "length/", "info/")
_NARROW = {"float64": "float32", "int64": "int32", "uint64": "uint32", "bool": "uint8"}


def spec(
    *,
    split: str = "train",
    file: str | None = None,
    train_fraction: limits.Part = 0.8,
    value_range: tuple[float, float] | None = None,
) -> batch.Spec:
    """Says what the records look like; reads the file."""
    del split, train_fraction
    found, problems = _load(file)
    _refuse(problems)
    return _spec(found, value_range)


def find_splits(*, file: str | None = None, **unused: Any) -> tuple[str, ...]:
    """Returns the splits of the file: "valid" only where it has such samples."""
    del unused
    named = _load(file, ("split",))[0].get("split")
    has_valid = named is not None and bool(np.isin("valid", named))
    return _SPLITS if has_valid else ("train", "test")


def find_problems(
    *,
    split: str = "train",
    file: str | None = None,
    train_fraction: float = 0.8,
    value_range: tuple[float, float] | None = None,
) -> list[str]:
    """Lists what is wrong with the file, one line for each problem."""
    del split, train_fraction, value_range
    return _load(file)[1]


class Source(arrays.ArraySource):
    """The arrays of the file in memory.

    Attributes:
      info: Strings `[N]` by name.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        file: str | None = None,
        train_fraction: float = 0.8,
        value_range: tuple[float, float] | None = None,
        limit: int | None = None,
    ):
        """Reads and checks the file.

        Args:
          split: "train", "valid", "test" or "all".
          file: The `.npz` file.
          train_fraction: Part of the samples for training, where the file holds no
            `split`.
          value_range: Smallest and greatest value allowed in any view; None: whatever
            the file holds (0..255 for uint8).
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such file, an array holds objects or text, NaN or
            infinite values, the lengths differ, or the split is empty.
        """
        arrays.check_limit(limit)
        if not 0 < train_fraction <= 1:
            raise errors.UserError(
                f"train_fraction must be above 0 and at most 1, got {train_fraction}."
            )
        found, problems = _load(file)
        _refuse(problems)
        chosen = _choose(found, split=split, train_fraction=train_fraction)[:limit]
        if not len(chosen):
            raise errors.UserError(f"{file}: the split {split!r} is empty.")
        label, views = found.get("label"), _views(found)
        present, factors, targets, lengths, self.info = (
            {name: array[chosen] for name, array in _named(found, prefix).items()}
            for prefix in _PREFIXES
        )
        super().__init__(
            _spec(found, value_range),
            {name: array[chosen] for name, array in views.items()},
            None if label is None else label[chosen],
            present,
            factors,
            targets=targets,
            lengths=lengths,
        )


def _load(
    file: str | None, only: tuple[str, ...] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads all arrays, or `only` some; returns them and one line for each problem."""
    if not file:
        return {}, [
            (
                "No file given: set `--config.data.options.file=FILE.npz`, whose "
                "arrays are named after the views."
            )
        ]
    path = pathlib.Path(file).expanduser()
    found, problems = {}, []
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            return {}, [f"{path} is no .npz file but a single array."]
        with archive:
            for name in archive.files:
                if only is not None and name not in only:
                    continue
                try:
                    found[name] = archive[name]
                except (ValueError, zlib.error, zipfile.BadZipFile, EOFError) as error:
                    reason = (
                        "objects" if "pickle" in str(error) else f"damage ({error})"
                    )
                    problems.append(f"{path}: array {name!r} holds {reason}.")
    except OSError as error:
        return {}, [f"Cannot read {path}: {error.strerror or error}."]
    except (ValueError, zipfile.BadZipFile, EOFError):
        return {}, [f"{path} is no .npz file, or a truncated one."]
    return found, problems + [f"{path}: {line}" for line in _array_problems(found)]


def _array_problems(found: dict[str, np.ndarray]) -> list[str]:
    """Names each unusable array and its first bad index; narrows sound arrays."""
    views = _views(found)
    problems = [] if views else ["there are no views in it."]
    for name, array in found.items():
        if array.ndim < 1:
            problems.append(f"array {name!r} has no sample axis.")
        elif name == "label" or name.startswith("factor/"):
            problems += _class_problems(name, array)
        elif name in views:
            mask = found.get(f"present/{name}")
            problems += _view_problems(name, array, mask)
        elif name.startswith("present/") and name.removeprefix("present/") not in views:
            problems.append(f"array {name!r} belongs to no view.")
        elif name.startswith("present/") and (array.dtype != bool or array.ndim != 1):
            problems.append(f"array {name!r} must be [N] of booleans.")
        elif name.startswith("target/"):
            problems += _target_problems(name, array)
        elif name.startswith("length/"):
            view = found.get(name.removeprefix("length/"))
            problems += _frame_problems(name, array, view)
        elif name.startswith("info/") and (array.ndim != 1 or array.dtype.kind != "U"):
            problems.append(f"array {name!r} must be [N] of text, is {_say(array)}.")
    problems += _length_problems(found, views)
    split = found.get("split")
    if split is not None and (split.ndim != 1 or split.dtype.kind != "U"):
        problems.append(f"array 'split' must be [N] of text, is {_say(split)}.")
    elif split is not None and not np.isin(split, _SPLITS).all():
        first = int(np.argmin(np.isin(split, _SPLITS)))
        problems.append(
            f"array 'split': {str(split[first])!r} at index {first}, expected one of "
            f"{', '.join(_SPLITS)}."
        )
    if not problems:
        _narrow(found)
    return problems


def _class_problems(name: str, array: np.ndarray) -> list[str]:
    """Checks labels or factors `[N]`."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        return [f"array {name!r} must be [N] of integers, is {_say(array)}."]
    if (array.astype(np.int64) < -1).any():
        first = int(np.argmax(array < -1))
        return [f"array {name!r}: {array[first]} at index {first}, below -1."]
    return []


def _target_problems(name: str, array: np.ndarray) -> list[str]:
    """Checks truths on a scale `[N]`."""
    if array.ndim != 1 or array.dtype.kind != "f":
        return [f"array {name!r} must be [N] of floats, is {_say(array)}."]
    bad = np.flatnonzero(~np.isfinite(array))
    if not bad.size:
        return []
    return [f"array {name!r} holds {array[bad[0]]} at index {bad[0]}."]


def _frame_problems(name: str, array: np.ndarray, view: np.ndarray | None) -> list[str]:
    """Checks the lengths `[N]` of a view `[N, T, ...]`."""
    if view is None or view.ndim < 3:
        return [f"array {name!r} belongs to no view [N, T, D]."]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        return [f"array {name!r} must be [N] of integers, is {_say(array)}."]
    bad = np.flatnonzero((array < 0) | (array > view.shape[1]))
    if not bad.size:
        return []
    return [
        f"array {name!r}: {array[bad[0]]} at index {bad[0]}, expected 0.."
        f"{view.shape[1]}."
    ]


def _view_problems(name: str, array: np.ndarray, mask: np.ndarray | None) -> list[str]:
    """Checks dtype and finiteness of one view, `[N, ...]`."""
    if array.dtype.kind not in "fiub":
        return [f"array {name!r} holds {array.dtype}, expected numbers."]
    if array.dtype.kind != "f":
        wide = np.dtype(_NARROW.get(str(array.dtype), array.dtype))
        if array.size and array.dtype.itemsize == 8:
            limits = np.iinfo(wide)
            if array.min() < limits.min or array.max() > limits.max:
                return [f"array {name!r} holds integers beyond {wide}."]
        return []
    rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if mask is not None and mask.shape == rows.shape and mask.dtype == bool:
        rows |= ~mask
    bad = np.flatnonzero(~rows)
    if not bad.size:
        return []
    nan = np.isnan(array[bad[0]]).any()
    more = f" ({bad.size} samples in all)" if bad.size > 1 else ""
    kind = "NaN" if nan else "an infinite value"
    return [f"array {name!r} holds {kind} at index {bad[0]}{more}."]


def _length_problems(
    found: dict[str, np.ndarray], views: dict[str, np.ndarray]
) -> list[str]:
    """Compares all lengths with that of the first view."""
    if not views:
        return []
    reference = next(iter(views))
    wanted = len(views[reference]) if views[reference].ndim else 0
    problems = [
        f"array {name!r} has {len(array)} samples but {reference!r} {wanted}; the "
        f"first unpaired index is {min(len(array), wanted)}."
        for name, array in found.items()
        if array.ndim and len(array) != wanted
    ]
    return problems if wanted else [*problems, f"array {reference!r} has no samples."]


def _narrow(found: dict[str, np.ndarray]) -> None:
    """Casts in place to the dtypes that reach the device; clears absent samples."""
    for name, array in _views(found).items():
        array = array.astype(_NARROW.get(str(array.dtype), array.dtype), copy=False)
        mask = found.get(f"present/{name}")
        if mask is not None:
            array[~mask] = 0
        found[name] = array


def _refuse(problems: list[str]) -> None:
    """Raises the first problem and says how many more there are."""
    if problems:
        more = len(problems) - 1
        tail = f" ({more} more: run `mvjax data check`)" if more else ""
        raise errors.UserError(problems[0] + tail)


def _views(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that are views."""
    return {
        name: array
        for name, array in found.items()
        if name not in ("label", "split") and not name.startswith(_PREFIXES)
    }


def _named(found: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays `<prefix><name>` by name."""
    return {
        name.removeprefix(prefix): array
        for name, array in found.items()
        if name.startswith(prefix)
    }


def _choose(
    found: dict[str, np.ndarray], *, split: str, train_fraction: float
) -> np.ndarray:
    """Returns the positions of a split's samples, ascending."""
    arrays.check_split(split, (*_SPLITS, "all"))
    total = len(next(iter(_views(found).values())))
    if "split" in found and split != "all":
        return np.flatnonzero(found["split"] == split)
    if split == "valid":
        return np.arange(0)
    groups = np.zeros(total, int)
    return arrays.random_split(groups, split=split, train_fraction=train_fraction)


def _spec(
    found: dict[str, np.ndarray], value_range: tuple[float, float] | None
) -> batch.Spec:
    """Derives the spec from the arrays of the whole file."""
    views = {}
    for name, array in _views(found).items():
        if value_range is not None:
            low, high = value_range
        elif array.dtype == np.uint8:
            low, high = 0, 255
        else:
            low, high = array.min(), array.max()
        views[name] = batch.ViewSpec(
            array.shape[1:], str(array.dtype), float(low), float(high)
        )
    label = found.get("label")
    known = label is not None and label.size and label.max() >= 0
    factors = _named(found, "factor/").items()
    targets = _named(found, "target/").items()
    return batch.Spec(
        views,
        int(label.max()) + 1 if known else None,
        {name: max(int(array.max(initial=-1)), 0) + 1 for name, array in factors},
        {name: _range(array) for name, array in targets},
        tuple(_named(found, "length/")),
    )


def _range(array: np.ndarray) -> tuple[float, float]:
    """Smallest and greatest value as records hold them, in float32."""
    narrow = array.astype(np.float32)
    return float(narrow.min()), float(narrow.max())


def _say(array: np.ndarray) -> str:
    """Shape and dtype in words."""
    return f"{list(array.shape)} of {array.dtype}"
