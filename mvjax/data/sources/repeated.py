"""Another data set whose training records come several times in a row.

MV-MR's `n_aug`: with a random policy each copy of an image becomes another view of it.
The released code keeps their order, so that a batch holds all copies of its images:
`config.data.shuffle=False`. Other splits are as they are.

    config.data = dict(name="repeated", options=dict(of="stl10", times=2, options=dict()))
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import lookup
from mvjax.data import batch
from mvjax.data import pipeline

INSIDE = {"options": "of"}  # `options` are those of the data set that `of` names.
_TRAIN = "train"
_NOTHING: Mapping[str, Any] = {}


def find_splits(
    *, of: str = "", options: Mapping[str, Any] = _NOTHING, **unused: Any
) -> tuple[str, ...]:
    """Returns the splits of the other data set."""
    del unused
    return pipeline.find_splits(_config(of, options))


def spec(
    *,
    split: str = "train",
    of: str = "",
    times: limits.Count = 2,
    options: dict = _NOTHING,
    cache: str | None = None,
) -> batch.Spec:
    """Says what the records of the other data set look like."""
    del times
    return pipeline.make_spec(_config(of, options), split, cache=cache)


def find_problems(
    *,
    split: str = "train",
    of: str = "",
    times: int = 2,
    options: Mapping[str, Any] = _NOTHING,
    cache: str | None = None,
) -> list[str]:
    """Lists what is wrong with the files of the other data set."""
    del times
    module, config = lookup.find("data.sources", of), _config(of, options)
    if not hasattr(module, "find_problems"):
        return []
    return module.find_problems(split=split, **pipeline.find_options(config, cache))


class Source:
    """The records of another data set, each several times.

    Attributes:
      spec: What every record looks like.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        of: str = "",
        times: int = 2,
        options: Mapping[str, Any] = _NOTHING,
        cache: str | None = None,
        limit: int | None = None,
    ):
        """Opens the other data set.

        Args:
          split: One of its splits, or "all", which repeats nothing.
          of: Its name, as in a config.
          times: Copies of each training record.
          options: Its options.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          limit: Number of its records to keep, before they are repeated; None: all.
        """
        config = _config(of, options) | {"limit": limit}
        self._source = pipeline.make_source(config, split, cache=cache)
        self._times = times if split == _TRAIN else 1
        self.spec = self._source.spec
        if hasattr(self._source, "gather"):
            self.gather = self._gather

    def __len__(self) -> int:
        return self._times * len(self._source)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        record = self._source[index // self._times]
        return record | {"index": np.int32(index)}

    def _gather(self, indices: Any) -> batch.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        indices = np.asarray(indices, np.int64)
        found = self._source.gather(indices // self._times)
        return found | {"index": indices.astype(np.int32)}

    @property
    def labels(self) -> np.ndarray:
        """Classes `[N]` int32, -1 where there are none."""
        labels = getattr(self._source, "labels", None)
        if labels is None:
            records = (self._source[i] for i in range(len(self._source)))
            labels = np.array([record["label"] for record in records], np.int32)
        return np.repeat(labels, self._times)

    def fingerprint(self) -> str:
        """Returns hexadecimal digits of the other data set and the number of copies."""
        return f"{self._source.fingerprint()}{self._times:x}"


def _config(of: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the other data set.

    Raises:
      UserError: None is named.
    """
    if not of:
        choices = ", ".join(lookup.available("data.sources"))
        raise errors.UserError(
            f"config.data.options.of names no data set. Choices: {choices}."
        )
    return {"name": of, "options": dict(options)}
