"""A user's own paired arrays from one `.npz` file.

The file holds one array for each view, named after it, all with the samples on the
first axis: images `[N, H, W, C]`, vectors `[N, D]`, sequences `[N, T, D]`. Optional
beside them:

* `label`: classes `[N]`, integers, whole floats, text or booleans; see `data/classes.py`
  for how they are numbered and what is unlabelled (-1, NaN, empty text). The numbers
  follow from all samples of the file, so its splits agree;
* `label_names`: strings `[K]`; integers in `label` then are places in it, also where a
  class has no sample;
* `present/<view>`: booleans `[N]`, False where a sample lacks the view (its values are
  then read as zeros);
* `factor/<name>`: classes `[N]` of what else varies, such as a colour, as `label`;
* `target/<name>`: a truth: floats `[N]` on a scale, such as a score, or `[N, ...]` of any
  numbers, such as tags `[N, K]` of 0 and 1, or masks `[N, H, W]` of classes, in which the
  option `target_ignore` stands for unknown; booleans become uint8;
* `length/<view>`: integers `[N]`, how many frames of a sequence `[T, D]` are not padding;
* `info/<name>`: strings `[N]` that stay beside the records, such as an identity;
* `split`: strings `[N]`, each "train", "valid" or "test", or another usual name of one,
  see `data/splits.py`, or a split's own name in small letters, such as "unlabelled".
  Without it the samples are split at random (seed 0) by the option `train_fraction`, with
  none for "valid".

Floats of all kinds and booleans become float32, int64 int32; what does not fit is named.
"""

from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import memory
from mvjax.core import notice
from mvjax.core import npz_file
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import classes
from mvjax.data import narrow
from mvjax.data import paths
from mvjax.data import splits

# Arrays beside the views, by what their names begin with, and those with a whole name.
_PREFIXES = ("present/", "factor/", "target/", "length/", "info/")
_LABEL, _NAMES, _SPLIT = "label", "label_names", "split"


class _File(NamedTuple):
    """What is in a file, made ready, and what is wrong with it."""

    arrays: dict[str, np.ndarray]
    names: dict[str, tuple[str, ...]]  # Names of the classes of `label` and factors.
    renamed: dict[str, str]  # What the file calls a split, where that differs.
    problems: list[str]  # Each is one line.

    @property
    def views(self) -> dict[str, np.ndarray]:
        """The arrays that are views."""
        return {
            name: array
            for name, array in self.arrays.items()
            if name not in (_LABEL, _NAMES, _SPLIT) and not name.startswith(_PREFIXES)
        }

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays `<prefix><name>` by name."""
        return {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }


def spec(
    *,
    split: str = "train",
    file: str | None = None,
    train_fraction: limits.Part = 0.8,
    value_range: tuple[float, float] | None = None,
    target_ignore: int | None = None,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; reads the file."""
    del split, train_fraction
    found = _load(file, max_gib=max_gib)
    _refuse(found.problems)
    return _spec(found, value_range, target_ignore)


def find_splits(
    *, file: str | None = None, max_gib: float | None = None, **unused: Any
) -> tuple[str, ...]:
    """Returns the splits of the file, "train" and "test" and those that have samples."""
    del unused
    return _splits(_load(file, (_SPLIT,), max_gib=max_gib))


def _splits(file: _File) -> tuple[str, ...]:
    """Usual ones first, others by name."""
    named = set(file.arrays.get(_SPLIT, np.array([], str)).tolist())
    usual = [name for name in splits.NAMES if name != "valid" or name in named]
    return (*usual, *sorted(named - set(usual)))


def find_problems(
    *,
    split: str = "train",
    file: str | None = None,
    train_fraction: float = 0.8,
    value_range: tuple[float, float] | None = None,
    target_ignore: int | None = None,
    max_gib: float | None = None,
) -> list[str]:
    """Lists what is wrong with the file, one line for each problem."""
    del split, train_fraction, value_range, target_ignore
    return _load(file, max_gib=max_gib).problems


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
        target_ignore: int | None = None,
        max_gib: float | None = None,
        option: str = memory.OPTION,
        limit: int | None = None,
    ):
        """Reads and checks the file.

        Args:
          split: "train", "valid", "test", another one of the file, or "all".
          file: The `.npz` file.
          train_fraction: Part of the samples for training, where the file holds no
            `split`.
          value_range: Smallest and greatest value allowed in any view; None: whatever
            the file holds (0..255 for uint8).
          target_ignore: Stands for unknown in truths of integers that have axes; None:
            every value counts.
          max_gib: Memory that the arrays of the file may take, in GiB; None: half of
            what is free.
          option: The setting that is `max_gib`, for the message.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such file, an array holds objects, NaN, infinite values
            or what cannot be classes, the lengths differ, or the split is empty.
        """
        arrays.check_limit(limit)
        if not 0 < train_fraction <= 1:
            raise errors.UserError(
                f"train_fraction must be above 0 and at most 1, got {train_fraction}."
            )
        found = _load(file, max_gib=max_gib, option=option)
        _refuse(found.problems)
        chosen = _choose(found, split=split, train_fraction=train_fraction)[:limit]
        if not len(chosen):
            raise errors.UserError(f"{file}: the split {split!r} is empty.")
        for name, other in found.renamed.items():
            if split in (name, "all"):
                notice.warn(f"{file}: {splits.note(other, name)}")
        label = found.arrays.get(_LABEL)
        present, factors, targets, lengths, self.info = (
            {name: array[chosen] for name, array in found.part(prefix).items()}
            for prefix in _PREFIXES
        )
        super().__init__(
            _spec(found, value_range, target_ignore),
            {name: array[chosen] for name, array in found.views.items()},
            None if label is None else label[chosen],
            present,
            factors,
            targets=targets,
            lengths=lengths,
        )


def _load(
    file: str | None,
    only: tuple[str, ...] | None = None,
    *,
    max_gib: float | None = None,
    option: str = memory.OPTION,
) -> _File:
    """Reads all arrays, or `only` some, and makes them ready."""
    if not file:
        problem = (
            "No file given: set `--config.data.options.file=FILE.npz`, whose arrays are "
            "named after the views."
        )
        return _File({}, {}, {}, [problem])
    try:
        path = paths.find(file)
    except errors.UserError as error:
        return _File({}, {}, {}, [str(error)])
    found, problems = npz_file.read(
        path, only=only, max_gib=max_gib, hint=memory.hint(option)
    )
    result = _File(found, {}, {}, [])
    if only is None and not result.views and not problems:
        result.problems.append("there are no views in it.")
    _make_ready(result)
    return result._replace(
        problems=problems + [f"{path}: {line}" for line in result.problems]
    )


def _make_ready(file: _File) -> None:
    """Names each unusable array and its first bad index; converts the others in place.

    Views get the types that reach the device, classes numbers and splits their names.
    """
    views = file.views
    for name, array in list(file.arrays.items()):
        if array.ndim < 1:
            file.problems.append(f"array {name!r} has no sample axis.")
        elif name == _LABEL or name.startswith("factor/"):
            _number_classes(file, name)
        elif name == _SPLIT:
            _name_splits(file)
        elif name in views or name.startswith("target/"):
            _narrow(file, name)
        else:
            file.problems.extend(_small_problems(file, name))
    file.problems.extend(_length_problems(file.arrays, views))


def _small_problems(file: _File, name: str) -> list[str]:
    """Checks presence, lengths, names and texts."""
    array, views = file.arrays[name], file.views
    prefix, _, rest = name.partition("/")
    if prefix == "present":
        if rest not in views:
            return [f"array {name!r} belongs to no view."]
        if array.dtype != bool or array.ndim != 1:
            return [f"array {name!r} must be [N] of booleans."]
        return []
    if prefix == "length":
        return _frame_problems(name, array, views.get(rest))
    if name == _NAMES and _LABEL not in file.arrays:
        return [f"array {name!r} belongs to no array {_LABEL!r}."]
    if array.ndim != 1 or array.dtype.kind != "U":
        axis = "K" if name == _NAMES else "N"
        return [f"array {name!r} must be [{axis}] of text, is {_say(array)}."]
    return []


def _number_classes(file: _File, name: str) -> None:
    """Numbers labels or the classes of a factor."""
    names = file.arrays.get(_NAMES) if name == _LABEL else None
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        return  # Another check reports it.
    try:
        file.arrays[name], file.names[name] = classes.number(
            file.arrays[name],
            f"array {name!r}",
            None if names is None else tuple(map(str, names)),
        )
    except errors.UserError as error:
        file.problems.append(str(error))


def _name_splits(file: _File) -> None:
    """Gives the splits of the file the names that they have here."""
    array = file.arrays[_SPLIT]
    if array.ndim != 1 or array.dtype.kind != "U":
        file.problems.append(f"array 'split' must be [N] of text, is {_say(array)}.")
        return
    distinct, places = np.unique(array, return_inverse=True)
    try:
        known = splits.find(map(str, distinct), "array 'split'", more=True)
    except errors.UserError as error:
        file.problems.append(str(error))
        return
    file.arrays[_SPLIT] = np.array(list(known.values()) or [""])[places]
    file.renamed.update({ours: name for name, ours in known.items() if name != ours})


def _narrow(file: _File, name: str) -> None:
    """Converts a view or truths on a scale."""
    array, mask = file.arrays[name], file.arrays.get(f"present/{name}")
    if name.startswith("target/"):
        if array.ndim == 1 and array.dtype.kind != "f":
            file.problems.append(
                f"array {name!r} must be [N] of floats, or [N, ...] of any numbers for "
                f"tags and masks, is {_say(array)}."
            )
            return
        if array.dtype == bool:
            array = array.view(np.uint8)
    elif len(array) and not array.size:
        file.problems.append(f"array {name!r} has no values: {_say(array)}.")
        return
    if mask is not None and (mask.shape != (len(array),) or mask.dtype != bool):
        mask = None  # Another check reports it.
    file.arrays[name], problem = narrow.to_device_type(array, mask)
    if problem:
        file.problems.append(f"array {name!r} {problem}")


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
        if array.ndim and len(array) != wanted and name != _NAMES
    ]
    return problems if wanted else [*problems, f"array {reference!r} has no samples."]


def _refuse(problems: list[str]) -> None:
    """Raises the first problem and says how many more there are."""
    if problems:
        more = len(problems) - 1
        tail = f" ({more} more: run `mvjax data check`)" if more else ""
        raise errors.UserError(problems[0] + tail)


def _choose(file: _File, *, split: str, train_fraction: float) -> np.ndarray:
    """Returns the positions of a split's samples, ascending."""
    arrays.check_split(split, dict.fromkeys((*splits.NAMES, *_splits(file), "all")))
    total = len(next(iter(file.views.values())))
    if _SPLIT in file.arrays and split != "all":
        return np.flatnonzero(file.arrays[_SPLIT] == split)
    if split == "valid":
        return np.arange(0)
    groups = np.zeros(total, int)
    return arrays.random_split(groups, split=split, train_fraction=train_fraction)


def _spec(
    file: _File, value_range: tuple[float, float] | None, target_ignore: int | None
) -> batch.Spec:
    """Derives the spec from the arrays of the whole file."""
    if value_range is not None and not (
        len(value_range) == 2 and value_range[0] < value_range[1]
    ):
        raise errors.UserError(
            "config.data.options.value_range must be the smallest and the greatest value, "
            f"got {tuple(value_range)}."
        )
    views = {}
    for name, array in file.views.items():
        if value_range is not None:
            low, high = value_range
            _check_range(file, name, value_range)
        elif array.dtype == np.uint8:
            low, high = 0, 255
        else:
            low, high = array.min(), array.max()
        views[name] = batch.ViewSpec(
            array.shape[1:], str(array.dtype), float(low), float(high)
        )
    label, names = file.arrays.get(_LABEL), file.names.get(_LABEL, ())
    if label is None or not (label >= 0).any():
        names = ()
    factors = {name: file.names[f"factor/{name}"] for name in file.part("factor/")}
    targets = file.part("target/").items()
    return batch.Spec(
        views,
        len(names) or None,
        {name: max(len(found), 1) for name, found in factors.items()},
        {name: _target_spec(x, target_ignore) for name, x in targets},
        tuple(file.part("length/")),
        names,
        factors,
    )


def _target_spec(array: np.ndarray, ignore: int | None) -> batch.TargetSpec:
    """What truths `[N, ...]` look like; of integers some may be unknown."""
    dtype = str(array.dtype)
    counts = array.ndim > 1 and array.dtype.kind in "iu"
    found = batch.TargetSpec(array.shape[1:], dtype, ignore=ignore if counts else None)
    known = found.known(array)
    if not known.size:
        return found._replace(low=0.0, high=0.0)
    return found._replace(low=float(known.min()), high=float(known.max()))


def _check_range(file: _File, name: str, value_range: tuple[float, float]) -> None:
    """Refuses a view whose samples leave the range; absent ones do not count."""
    array, mask = file.arrays[name], file.arrays.get(f"present/{name}")
    array = array if mask is None else array[mask]
    low, high = value_range
    if array.size and (array.min() < low or array.max() > high):
        raise errors.UserError(
            f"array {name!r} holds values from {array.min():g} to {array.max():g}, "
            f"expected {low:g} to {high:g} (config.data.options.value_range)."
        )


def _say(array: np.ndarray) -> str:
    """Shape and dtype in words."""
    return f"{list(array.shape)} of {array.dtype}"
