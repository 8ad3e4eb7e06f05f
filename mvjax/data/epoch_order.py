"""Which records each batch of a run holds."""

from typing import Any

import numpy as np

from mvjax.core import errors


def epoch_batches(records: int, batch_size: int, last_batch: str) -> tuple[int, int]:
    """Number of batches of an epoch, and rows of the last one.

    Args:
      records: Records of the training split.
      batch_size: Global batch size.
      last_batch: "carry": what an epoch leaves begins the next one's first batch, so
        all batches are whole; "keep": it is a short batch of its own, as PyTorch's
        loader has it by default. A single record is left out then: alone in a batch it
        has no statistics and nothing to be compared with.

    Raises:
      UserError: The batch is greater than the data set.
    """
    if records < batch_size:
        raise errors.UserError(
            f"The training split has {records} records, fewer than "
            f"config.data.batch_size {batch_size}. Set that to {records} or less, or "
            "config.data.limit, if that is set, to more."
        )
    batches, left = divmod(records, batch_size)
    if last_batch == "keep" and left > 1:
        return batches + 1, left
    return batches, batch_size


class Order:
    """Which records each batch of a run holds, as a function of the step.

    Position p is record `p mod N` of the order of epoch `p div N`. The rows of batch t
    are the positions `t * batch_size ...`; where the last batch of an epoch is kept as
    short as it is, every epoch begins with a batch of its own.
    """

    def __init__(
        self,
        records: int,
        *,
        seed: int,
        batch_size: int,
        shuffle: bool = True,
        last_batch: str = "carry",
    ):
        """Takes the number of records N, and what the config says."""
        self._records, self._seed, self._batch_size = records, seed, batch_size
        self._shuffle, self._keep = shuffle, last_batch == "keep"
        self._batches, _ = epoch_batches(records, batch_size, last_batch)
        self._epochs: dict[int, np.ndarray] = {}  # Of the latest epochs, by epoch.

    def positions(self, step: int) -> np.ndarray:
        """Global positions of the rows of a batch, `[B]` int64."""
        if not self._keep:
            start = step * self._batch_size
            return np.arange(start, start + self._batch_size)
        epoch, batch = divmod(step, self._batches)
        start = batch * self._batch_size
        stop = min(start + self._batch_size, self._records)
        return epoch * self._records + np.arange(start, stop)

    def indices(self, step: int) -> np.ndarray:
        """Records of the rows of a batch, `[B]` int64."""
        epochs, places = np.divmod(self.positions(step), self._records)
        if not self._shuffle:
            return places
        found = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            found[rows] = self._epoch(int(epoch))[places[rows]]
        return found

    def _epoch(self, epoch: int) -> np.ndarray:
        """Returns the order of the records in one epoch, `[N]`."""
        order = self._epochs.get(epoch)
        if order is None:
            # The last number is no record's: see `pipeline`.
            rng = np.random.default_rng((self._seed, epoch, 0))
            order = rng.permutation(self._records)
            kept = sorted(self._epochs.items())[-1:]
            self._epochs = dict([*kept, (epoch, order)])  # Threads see old or new.
        return order

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_epochs": {}}
