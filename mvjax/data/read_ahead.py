"""Batches that threads or processes read ahead of their use."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from mvjax.data import batch as batch_lib


class Batches:
    """An iterator over batches that is closed after use (`with` does it)."""

    def __init__(self, iterator: Any, *, copy: bool):
        """Wraps a grain iterator.

        Args:
          iterator: Yields batches.
          copy: Whether its arrays lie in memory that a worker process owns.
        """
        self._iterator = iterator
        self._copy = copy

    def __iter__(self) -> Iterator[batch_lib.Record]:
        return self

    def __next__(self) -> batch_lib.Record:
        batch = next(self._iterator)
        return _copy(batch) if self._copy else batch

    def close(self) -> None:
        """Stops threads and worker processes."""
        self._iterator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _copy(tree: Any) -> Any:
    """Copies the arrays of nested dicts into ordinary memory."""
    if isinstance(tree, dict):
        return {key: _copy(value) for key, value in tree.items()}
    return np.array(tree, subok=False)


def read(dataset: Any, *, threads: int, workers: int) -> Batches:
    """Reads a grain MapDataset of batches in order, ahead of the caller.

    Args:
      dataset: Each element is a batch.
      threads: Threads, in each worker if there are any; 0: nothing is read ahead.
      workers: Processes.
    """
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    stream = dataset.to_iter_dataset(options)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # grain's worker processes read flags.
            flags.FLAGS.mark_as_parsed()
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return Batches(iter(stream), copy=bool(workers))
