"""Made-up records with the shapes, dtypes and ranges of a real data set."""

import hashlib
import zlib

import numpy as np

from mvjax.data import batch

_HIDDEN_CLASSES = 4  # Patterns of a data set without labels.


class Synthetic:
    """A twin of a data set that needs no files.

    Each class has one smooth random pattern per view; a record is the pattern of its
    class, a little brighter or darker, plus noise. The same spec, seed and position
    always give the same record.

    Attributes:
      spec: What every record looks like.
    """

    def __init__(
        self, spec: batch.Spec, length: int, seed: int = 0, *, offset: int = 0
    ):
        """Prepares the patterns.

        Args:
          spec: The data set to imitate.
          length: Number of records.
          seed: Chooses patterns and noise.
          offset: Position of the first record in the endless row of records: splits
            with different offsets share their classes and no record.
        """
        self.spec = spec
        self._length = length
        self._seed = seed
        self._offset = offset
        kinds = self._kinds  # Those that occur; each takes its time.
        occur = {(offset + i) % kinds for i in range(min(length, kinds))}
        self._patterns = {
            name: {k: _pattern(view.shape, seed, name, k) for k in occur}
            for name, view in spec.views.items()
        }
        self._truths = {
            name: {k: _pattern(t.shape, seed, f"target/{name}", k) for k in occur}
            for name, t in spec.targets.items()
            if t.shape
        }

    @property
    def _kinds(self) -> int:
        return self.spec.classes or _HIDDEN_CLASSES

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        if not 0 <= index < self._length:
            raise IndexError(f"Record {index} of {self._length}.")
        position = self._offset + index
        kind = position % self._kinds
        rng = np.random.default_rng((self._seed, position))
        views = {}
        for name, view in self.spec.views.items():
            pattern = self._patterns[name][kind]
            value = 0.1 + 0.8 * pattern * rng.uniform(0.7, 1.0)
            value += 0.05 * rng.standard_normal(pattern.shape, np.float32)
            views[name] = _scale(np.clip(value, 0, 1), view)
        label = np.int32(kind if self.spec.classes else -1)
        record = {"views": views, "label": label, "index": np.int32(index)}
        if self.spec.factors:
            sizes = self.spec.factors.items()
            record["factors"] = {k: np.int32(rng.integers(n)) for k, n in sizes}
        if self.spec.targets:
            place = (kind + rng.uniform()) / self._kinds  # Grows with the class.
            record["targets"] = {
                name: _scale(
                    self._truths[name][kind] if target.shape else np.float64(place),
                    target,
                )
                for name, target in self.spec.targets.items()
            }
        if self.spec.lengths:
            record["lengths"] = {
                name: np.int32(rng.integers(1, self.spec.views[name].shape[0] + 1))
                for name in self.spec.lengths
            }
        return record

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that stand for spec, length and seed."""
        what = f"({_describe(self.spec)}, {self._length}, {self._seed}, {self._offset})"
        return hashlib.sha256(what.encode()).hexdigest()[:16]


def _describe(spec: batch.Spec) -> str:
    """A spec as text; what later versions have added to specs shows where it is used.

    Runs that were begun before go on only where their data have the same fingerprint.
    """
    views = {
        k: v if v.varies else _Text(repr(v).replace(", varies=False", ""))
        for k, v in spec.views.items()
    }
    targets = {
        k: (t.low, t.high) if t == batch.TargetSpec(low=t.low, high=t.high) else t
        for k, t in spec.targets.items()
    }
    # Names of classes change no made-up record.
    told = spec._replace(views=views, targets=targets, class_names=(), factor_names={})
    text = str(told)
    for unused in (", class_names=()", ", factor_names={}", ", beside={}"):
        text = text.replace(unused, "")
    return text


class _Text(str):
    """Text that is its own representation."""

    __repr__ = str.__str__


def _pattern(shape: tuple[int, ...], seed: int, view: str, kind: int) -> np.ndarray:
    """Draws a pattern in [0, 1], `[*shape]` float32, smooth on all axes but the last.

    A plain vector, `[D]`, is not smoothed.
    """
    rng = np.random.default_rng((seed, zlib.crc32(view.encode()), kind))
    smooth = max(len(shape) - 1, 0)
    coarse = tuple(min(n, 2 + n // 8) for n in shape[:smooth]) + shape[smooth:]
    pattern = rng.random(coarse, np.float32)
    for axis in range(smooth):
        pattern = _stretch(pattern, axis, shape[axis])
    return pattern


def _stretch(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Interpolates one axis linearly to `length` points."""
    array = np.moveaxis(array, axis, 0)
    place = np.linspace(0, len(array) - 1, length)
    below = np.minimum(place.astype(int), max(len(array) - 2, 0))
    above = np.minimum(below + 1, len(array) - 1)
    part = (place - below).reshape(-1, *([1] * (array.ndim - 1)))
    out = (1 - part) * array[below] + part * array[above]
    return np.moveaxis(out.astype(np.float32), 0, axis)


def _scale(value: np.ndarray, view: batch.ViewSpec | batch.TargetSpec) -> np.ndarray:
    """Maps [0, 1] to the range and dtype of a view or truth."""
    low = view.low if np.isfinite(view.low) else -1.0
    high = view.high if np.isfinite(view.high) else 1.0
    value = low + (high - low) * value.astype(np.float64)
    if np.dtype(view.dtype).kind != "f":
        return np.rint(value).astype(view.dtype)
    return np.clip(value.astype(view.dtype), view.low, view.high)
