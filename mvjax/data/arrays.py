"""A source that holds its records in memory and gathers whole batches from them."""

from collections.abc import Sequence
import hashlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.data import batch

SPLITS = ("train", "test", "all")
_OPTIONAL = ("present", "factors", "targets", "lengths")


class ArraySource:
    """Records kept in memory.

    Attributes:
      spec: What every record looks like.
      views: Arrays `[N, *shape]` by view, in the dtypes of `spec`.
      labels: Classes `[N]` int32, -1 where unknown.
      present: Presence `[N]` bool by view, for views that some samples lack.
      factors: Classes `[N]` int32 by factor, -1 where unknown.
      targets: Truths `[N, *shape]` by name, in the dtypes of `spec`.
      lengths: Frames that are not padding, `[N]` int32 by view.
    """

    def __init__(
        self,
        spec: batch.Spec,
        views: dict[str, np.ndarray],
        labels: np.ndarray | None = None,
        present: dict[str, np.ndarray] | None = None,
        factors: dict[str, np.ndarray] | None = None,
        *,
        targets: dict[str, np.ndarray] | None = None,
        lengths: dict[str, np.ndarray] | None = None,
    ):
        """Takes the arrays as they are; none is copied that has its type already.

        Raises:
          UserError: Labels, factors or lengths are no integers that int32 holds, or
            targets do not fit their type.
        """
        self.spec = spec
        self.views = {name: views[name] for name in spec.views}
        self._length = len(next(iter(views.values())))
        if labels is None:
            labels = np.full(self._length, -1)
        self.labels = _to_int32(labels, "labels")
        self.present = {k: np.asarray(v, bool) for k, v in (present or {}).items()}
        factors, targets, lengths = factors or {}, targets or {}, lengths or {}
        self.factors = {k: _to_int32(factors[k], f"factor {k!r}") for k in spec.factors}
        self.targets = {
            name: _to_type(targets[name], np.dtype(target.dtype), f"target {name!r}")
            for name, target in spec.targets.items()
        }
        self.lengths = {
            k: _to_int32(lengths[k], f"length of {k!r}") for k in spec.lengths
        }
        self._fingerprint: str | None = None

    @property
    def _named(self) -> dict[str, dict[str, np.ndarray]]:
        """The optional parts of a record that this data set has."""
        parts = {name: getattr(self, name) for name in _OPTIONAL}
        return {name: part for name, part in parts.items() if part}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        if not 0 <= index < self._length:
            raise IndexError(f"Record {index} of {self._length}.")
        record = {
            "views": {name: array[index] for name, array in self.views.items()},
            "label": self.labels[index],
            "index": np.int32(index),
        }
        for name, part in self._named.items():
            record[name] = {k: v[index] for k, v in part.items()}
        return record

    def gather(self, indices: Sequence[int] | np.ndarray) -> batch.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        indices = np.asarray(indices, np.int64)
        out: dict[str, Any] = {
            "views": {k: v.take(indices, axis=0) for k, v in self.views.items()},
            "label": self.labels[indices],
            "index": indices.astype(np.int32),
        }
        for name, part in self._named.items():
            out[name] = {k: v[indices] for k, v in part.items()}
        return out

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that change with any value of the data."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            named = {f"views/{k}": v for k, v in self.views.items()}
            for part, values in self._named.items():
                named |= {f"{part}/{k}": v for k, v in values.items()}
            named["label"] = self.labels
            for name in sorted(named):
                array = np.ascontiguousarray(named[name])
                digest.update(f"{name} {array.shape} {array.dtype} ".encode())
                digest.update(array.tobytes() if array.size == 0 else memoryview(array))
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint


def _to_int32(values: Any, what: str) -> np.ndarray:
    """Returns `[N]` int32; what does not fit is refused instead of wrapping round."""
    return _to_type(values, np.dtype(np.int32), what)


def _to_type(values: Any, dtype: np.dtype, what: str) -> np.ndarray:
    """Returns `[N, ...]` in a type; integers that do not fit it are refused."""
    values = np.asarray(values)
    with np.errstate(invalid="ignore"):
        narrow = values.astype(dtype, copy=False)
    if dtype.kind in "iu" and not np.array_equal(narrow, values):
        first = np.argwhere(narrow != values)[0]
        raise errors.UserError(
            f"{what}: {values[tuple(first)]} at index {first[0]} is no {dtype}."
        )
    return narrow


def check_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Raises `UserError` where `split` is none of `splits`."""
    if split not in splits:
        raise errors.unknown("split", str(split), splits)


def random_split(
    groups: np.ndarray, *, split: str, train_fraction: float, seed: int = 0
) -> np.ndarray:
    """Splits samples at random, each group on its own; the same for the same inputs.

    Args:
      groups: Integers `[N]`: samples of one group (such as a class) are divided in the
        given proportion. All zero: one split of everything.
      split: "train", "test" or "all".
      train_fraction: Part of each group that goes to "train".
      seed: Chooses the split.

    Returns:
      The positions of the split's samples, ascending, int64.
    """
    check_split(split)
    if split == "all":
        return np.arange(len(groups))
    draws = np.random.default_rng(seed).random(len(groups))
    chosen = np.zeros(len(groups), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        count = round(train_fraction * len(members))
        chosen[members[np.argsort(draws[members], kind="stable")[:count]]] = True
    return np.flatnonzero(chosen if split == "train" else ~chosen)


def check_limit(limit: int | None) -> None:
    """Raises `UserError` unless `limit` is None or a positive number of records."""
    if limit is not None and limit < 1:
        raise errors.UserError(f"limit must be at least 1 record, got {limit}.")
