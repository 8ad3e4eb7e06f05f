"""From a config to batches of NumPy arrays, the same on any number of hosts.

The order of the records follows from the seed alone, and the position in it from the
step alone, so a resumed run sees what an uninterrupted one would have seen. One global
batch is cut into consecutive shares, one for each host: joined in host order
they are the batch that a single host would make, row for row.
"""

from collections.abc import Iterator, Mapping
import contextlib
import inspect
import pathlib
import sys
import types
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import lookup
from mvjax.data import batch as batch_lib
from mvjax.data import epoch_order
from mvjax.data import policies
from mvjax.data import read_ahead
from mvjax.data import subset
from mvjax.data import synthetic

_SYNTHETIC_LENGTH = 512
_RECORD = 1  # Use of random numbers; 0 is the order's, so their seeds never meet.


def make_spec(
    data_config: Mapping[str, Any], split: str = "train", *, cache: Any = None
) -> batch_lib.Spec:
    """Returns what the records of a config look like; most data sets need no data.

    Raises:
      UserError: There is no such data set or option.
    """
    options = find_options(data_config, cache)
    with _told(data_config["name"]):
        return _module(data_config).spec(split=split, **options)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Tells in a line what a data set that does not fit into memory raises."""
    try:
        yield
    except MemoryError:
        raise errors.UserError(
            f"The data set {name!r} does not fit into memory. Set config.data.limit to "
            "keep fewer records, or use a machine with more."
        ) from None


def find_splits(
    data_config: Mapping[str, Any], cache: str | pathlib.Path | None = None
) -> tuple[str, ...]:
    """Returns the splits of a config's data set, "train" first.

    They are "train" and "test" unless its module says otherwise: as `SPLITS`, or by
    `find_splits(**options)` where they hang on the user's file.
    """
    module = _module(data_config)
    if hasattr(module, "find_splits"):
        return module.find_splits(**find_options(data_config, cache))
    return getattr(module, "SPLITS", ("train", "test"))


def make_source(
    data_config: Mapping[str, Any],
    split: str,
    *,
    cache: str | pathlib.Path | None = None,
) -> Any:
    """Opens one split of the data set that a config names.

    Args:
      data_config: `name` of a file in `data/sources` (or a full module path), and
        optionally `options` (a dict for that data set), `limit` (number of records to
        keep), `synthetic` (made-up records instead, 512 unless `limit` says otherwise)
        and `subset` (of the training split, see `subset.make`). Other keys are not
        looked at.
      split: One of `find_splits` or "all".
      cache: Cache of mvjax, for the data sets that use it; None: `~/.cache/mvjax`.

    Returns:
      The source: `len`, `[i] -> record`, `spec`, `fingerprint()`.

    Raises:
      UserError: There is no such data set or option, or its files are unusable.
    """
    module, options = _module(data_config), find_options(data_config, cache)
    splits = find_splits(data_config, cache)
    if split not in (*splits, "all"):
        raise errors.unknown("split", split, (*splits, "all"))
    with _told(data_config["name"]):
        source = _open(data_config, module, splits, split, options)
    return (
        subset.make(source, data_config.get("subset")) if split == "train" else source
    )


def _open(
    data_config: Mapping[str, Any],
    module: types.ModuleType,
    splits: tuple[str, ...],
    split: str,
    options: dict[str, Any],
) -> Any:
    """Opens the files of a split, or makes records up."""
    limit = data_config.get("limit")
    if data_config.get("synthetic"):
        length = limit or _SYNTHETIC_LENGTH
        whole = split == "all"
        return synthetic.Synthetic(
            module.spec(split=split, **options),
            length * len(splits) if whole else length,
            seed=0,
            offset=0 if whole else length * splits.index(split),
        )
    source = module.Source(split=split, limit=limit, **options)
    if not len(source):
        name = data_config["name"]
        raise errors.UserError(
            f"The split {split!r} of the data set {name!r} is empty."
        )
    return source


def find_options(
    data_config: Mapping[str, Any], cache: str | pathlib.Path | None = None
) -> dict[str, Any]:
    """Returns the options of a config's data set, checked.

    Args:
      data_config: See `make_source`.
      cache: Cache of mvjax; becomes the option `cache` where the data set has one.

    Raises:
      UserError: There is no such data set or option.
    """
    module = _module(data_config)
    options = dict(data_config.get("options") or {})
    known = set(inspect.signature(module.spec).parameters) - {"split"}
    for option in options:
        if option not in known:
            what = f"option of the data set {data_config['name']!r}:"
            raise errors.unknown(what, option, known)
    if cache is not None and "cache" in known:
        options.setdefault("cache", str(cache))
    return options


def _module(data_config: Mapping[str, Any]) -> types.ModuleType:
    """Imports the file that a data config names."""
    name = data_config.get("name")
    if not name:
        choices = ", ".join(lookup.available("data.sources"))
        raise errors.UserError(f"The data config has no name. Choices: {choices}.")
    return lookup.find("data.sources", name)


class _Steps:
    """All batches of a run as a random-access source: element t is this host's batch t.

    A policy's generator is seeded with the position. A whole batch is one element of
    the grain pipeline because grain's own shuffle works record by record, at about 45
    microseconds each.
    """

    def __init__(
        self,
        source: Any,
        *,
        seed: int,
        batch_size: int,
        host: int,
        hosts: int,
        augment: policies.Call | None,
        shuffle: bool,
        last_batch: str,
    ):
        self._source, self._seed, self._augment = source, seed, augment
        self._batch_size, self._host, self._hosts = batch_size, host, hosts
        self._order = epoch_order.Order(
            len(source),
            seed=seed,
            batch_size=batch_size,
            shuffle=shuffle,
            last_batch=last_batch,
        )

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, step: int) -> batch_lib.Record:
        indices = self._order.indices(step)
        rows = len(indices) // self._hosts
        mine = slice(self._host * rows, (self._host + 1) * rows)  # Of the global batch.
        indices = indices[mine]
        if self._augment is None:
            return gather(self._source, indices)
        return _stack(
            [
                self._augment(
                    self._source[int(index)],
                    _generator(self._seed, int(position)),
                )
                for index, position in zip(
                    indices, self._order.positions(step)[mine], strict=True
                )
            ]
        )


def _generator(seed: int, position: int) -> np.random.Generator:
    """The generator of the record at a position of the order."""
    entropy = (_RECORD, seed, position)
    if max(entropy) < 2**32:  # NumPy takes tuples apart to this, in twice the time.
        entropy = np.array(entropy, np.uint32)
    return np.random.default_rng(entropy)


def train_batches(
    source: Any,
    *,
    seed: int,
    batch_size: int,
    step: int,
    host: int = 0,
    hosts: int = 1,
    threads: int = 2,
    workers: int = 0,
    augment: policies.Call | None = None,
    shuffle: bool = True,
    last_batch: str = "carry",
) -> read_ahead.Batches:
    """Endless batches from `step` on.

    Every epoch has its own order; a batch may span two, see `last_batch`. With a policy, each
    record of each epoch gets its own generator. Neither depends on hosts, threads or
    workers.

    Args:
      source: The data set; where it has a method `gather(indices) -> batch`, batches
        without a policy are taken from its arrays at once.
      seed: Chooses order and augmentation, not negative.
      batch_size: Global batch size; each host yields `batch_size // hosts` rows.
      step: Number of batches that were used before.
      host: This process.
      hosts: Number of processes.
      threads: Threads that read ahead; 0: none.
      workers: Processes that read ahead; the script that starts them needs a
        `if __name__ == "__main__"` guard.
      augment: Policy, picklable where there are workers.
      shuffle: False: every epoch has the order of the source.
      last_batch: See `epoch_order.epoch_batches`.

    Yields:
      `{"views": {name: [b, ...]}, "label": [b], "index": [b]}` and, where the records
      have it, `present`; NumPy arrays, b = batch_size // hosts.

    Raises:
      UserError: The batch does not divide among the hosts, or is greater than the data
        set.
    """
    import grain

    _check_sizes(source, batch_size, host, hosts)
    _, rows = epoch_order.epoch_batches(len(source), batch_size, last_batch)
    if rows % hosts:
        raise errors.UserError(
            f"The last batch of an epoch has {rows} records, which do not divide among "
            f"{hosts} hosts: config.data.last_batch=carry."
        )
    steps = _Steps(
        source,
        seed=seed,
        batch_size=batch_size,
        host=host,
        hosts=hosts,
        augment=augment,
        shuffle=shuffle,
        last_batch=last_batch,
    )
    dataset = grain.MapDataset.source(steps)[step:]
    return read_ahead.read(dataset, threads=threads, workers=workers)


def eval_batches(
    source: Any,
    *,
    batch_size: int,
    host: int = 0,
    hosts: int = 1,
    threads: int = 0,
    workers: int = 0,
) -> Iterator[batch_lib.Record]:
    """All records once, in order of their index.

    Args:
      source: The data set.
      batch_size: Global batch size; each host yields `batch_size // hosts` rows.
      host: This process.
      hosts: Number of processes.
      threads: Threads that read ahead; 0: none.
      workers: Processes that read ahead, of a source that is not in memory.

    Returns:
      An iterator over `ceil(len(source) / batch_size)` batches, equally many on every
      host. Rows beyond the last record are padding: zeros, index and label -1, and
      False in `mask`, `[b]` bool.

    Raises:
      UserError: The batch does not divide among the hosts.
    """
    _check_sizes(source, batch_size, host, hosts)
    steps = _EvalSteps(source, batch_size, host, batch_size // hosts)
    workers = 0 if hasattr(source, "gather") else workers
    if not threads and not workers:
        return (steps[step] for step in range(len(steps)))
    return _read_all(steps, threads, workers)


def _read_all(steps: "_EvalSteps", threads: int, workers: int) -> Iterator[Any]:
    """Reads batches ahead of the caller; stops threads and workers at the end."""
    import grain

    dataset = grain.MapDataset.source(steps)
    with read_ahead.read(dataset, threads=threads, workers=workers) as batches:
        yield from batches


class _EvalSteps:
    """The batches of one pass as a random-access source."""

    def __init__(self, source: Any, batch_size: int, host: int, size: int):
        self._source, self._batch_size = source, batch_size
        self._first, self._size = host * size, size

    def __len__(self) -> int:
        return -(-len(self._source) // self._batch_size)

    def __getitem__(self, step: int) -> batch_lib.Record:
        start = step * self._batch_size + self._first
        indices = np.arange(start, start + self._size)
        mask = indices < len(self._source)
        # Padding rows are copies of record 0 at first, so a batch is never empty.
        batch = gather(self._source, np.where(mask, indices, 0))
        if not mask.all():
            batch = _blank(batch, ~mask)
            batch["label"][~mask] = -1
            batch["index"][~mask] = -1
        return batch | {"mask": mask}


def gather(source: Any, indices: np.ndarray) -> batch_lib.Record:
    """Returns the batch of the records `indices`, `[B]`, in that order."""
    if hasattr(source, "gather"):
        return source.gather(indices)
    return _stack([source[int(i)] for i in indices])


def _stack(records: list[Any]) -> Any:
    """Stacks nested dicts of arrays."""
    if isinstance(records[0], dict):
        return {key: _stack([r[key] for r in records]) for key in records[0]}
    return np.stack(records)


def _blank(tree: Any, rows: np.ndarray) -> Any:
    """Sets rows to zero in all arrays of nested dicts."""
    if isinstance(tree, dict):
        return {key: _blank(value, rows) for key, value in tree.items()}
    tree[rows] = 0
    return tree


def _check_sizes(source: Any, batch_size: int, host: int, hosts: int) -> None:
    """Refuses sizes that cannot work, by name."""
    if batch_size < 1 or batch_size % hosts:
        raise errors.UserError(
            f"The batch size {batch_size} does not divide among {hosts} hosts."
        )
    if not 0 <= host < hosts:
        raise errors.UserError(f"There is no host {host} among {hosts} hosts.")
    if not len(source):
        raise errors.UserError("The data set has no records.")
