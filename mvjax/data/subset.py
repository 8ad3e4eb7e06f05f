"""A part of a data set, of each class as much unless the config says otherwise."""

from collections.abc import Sequence
import hashlib
from typing import Any

import numpy as np

from mvjax.core import config
from mvjax.core import errors
from mvjax.core import schema
from mvjax.data import batch

_UNLABELLED = -1


class Subset:
    """Some records of a source, numbered anew from 0.

    Attributes:
      spec: What every record looks like.
      chosen: Their indices in the source, `[N]` int64, ascending.
    """

    def __init__(self, source: Any, chosen: np.ndarray):
        """Takes the source and the indices."""
        self.spec, self.chosen = source.spec, chosen
        self._source = source
        if hasattr(source, "gather"):
            self.gather = self._gather

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        record = self._source[int(self.chosen[index])]
        return record | {"index": np.int32(index)}

    def _gather(self, indices: Sequence[int] | np.ndarray) -> batch.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        indices = np.asarray(indices, np.int64)
        found = self._source.gather(self.chosen[indices])
        return found | {"index": indices.astype(np.int32)}

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that stand for the source and the choice."""
        digest = hashlib.sha256(self._source.fingerprint().encode())
        digest.update(self.chosen.tobytes())
        return digest.hexdigest()[:16]


def make(source: Any, settings: Any) -> Any:
    """The part of a source that `config.data.subset` asks for, or the source itself.

    Args:
      source: The training split. Where it has labels, it had better offer all of them as
        an attribute `labels` `[N]`; otherwise every record is read once.
      settings: See `schema.Subset`.

    Raises:
      UserError: A setting is wrong, or leaves no record.
    """
    chosen = config.build(schema.Subset, "config.data.subset", settings or {})
    if chosen.share == 1 and not chosen.replace:
        return source
    labels = np.full(len(source), _UNLABELLED)
    if source.spec.classes and chosen.stratified:
        labels = getattr(source, "labels", None)
        if labels is None:
            labels = np.array([source[i]["label"] for i in range(len(source))])
    return Subset(source, choose(np.asarray(labels), chosen))


def choose(labels: np.ndarray, subset: schema.Subset) -> np.ndarray:
    """Draws records of each class, of those without a label as of a class of theirs.

    Args:
      labels: `[N]`, -1 where unknown.
      subset: What to draw. The share of a class is rounded, to at least one record; that
        of the records without a label is cut to a whole number.

    Returns:
      Indices, ascending, int64; with `subset.replace` some stand there several times.

    Raises:
      UserError: Nothing is left.
    """
    rng = np.random.default_rng(subset.seed)
    parts = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = subset.share * len(members)
        count = int(count) if label == _UNLABELLED else max(1, round(count))
        parts.append(rng.choice(members, count, replace=subset.replace))
    found = np.sort(np.concatenate(parts))
    if not len(found):
        raise errors.UserError(
            f"config.data.subset.share={subset.share:g} of {len(labels)} records is none."
        )
    return found
