"""Rows of a large table on the devices, some at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

WHERE = ("auto", "host", "device")
# Numbers in the training rows from which a probe runs on the device: below, compiling
# takes longer than scikit-learn does.
MANY = 2**26


def on_device(where: str, rows: np.ndarray) -> bool:
    """Whether a probe of these training rows, `[N, D]`, runs on the device.

    Args:
      where: "host", "device", or "auto": there where the rows are many.
      rows: Training rows.
    """
    return rows.size >= MANY if where == "auto" else where == "device"


class Layout(NamedTuple):
    """How rows lie on devices."""

    size: int  # Of a chunk, a multiple of the devices.
    split: jax.sharding.NamedSharding  # Of rows over the devices.
    whole: jax.sharding.NamedSharding  # Of what each device holds.


def lay_out(size: int, devices: Sequence[jax.Device] | None = None) -> Layout:
    """The layout of chunks of `size` rows, rounded up to a multiple of the devices.

    Args:
      size: Rows of a chunk.
      devices: To split a chunk over; None: those of this process, or one CPU.
    """
    devices = list(devices or jax.local_devices())
    if devices[0].platform == "cpu" and len(devices) == jax.local_device_count():
        devices = devices[:1]
    mesh = jax.sharding.Mesh(np.array(devices), ("rows",))
    spec = jax.sharding.PartitionSpec
    return Layout(
        -(-size // len(devices)) * len(devices),
        jax.sharding.NamedSharding(mesh, spec("rows")),
        jax.sharding.NamedSharding(mesh, spec()),
    )


class Chunk(NamedTuple):
    """Consecutive rows; those beyond the table are zeros."""

    start: int
    rows: jax.Array  # [size, D] float32.
    weight: jax.Array  # [size] float32: 1, or 0 for padding.


class Chunks:
    """Rows `[N, D]` in chunks of one size, each split over the devices.

    Accelerators hold the whole table; on CPUs, whose memory is the same, a chunk is
    copied when it is used.

    Args:
      rows: `[N, D]` float32.
      size: Rows of a chunk; rounded up to a multiple of the devices.
      devices: See `lay_out`.
    """

    def __init__(
        self, rows: np.ndarray, size: int, devices: Sequence[jax.Device] | None = None
    ):
        layout = lay_out(min(size, len(rows)), devices)
        self.size, self.split, self.whole = layout
        self._rows = rows
        self._kept = None
        if next(iter(layout.whole.device_set)).platform != "cpu":
            self._kept = list(self._make())

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._kept if self._kept is not None else self._make())

    def _make(self) -> Iterator[Chunk]:
        for start in range(0, len(self._rows), self.size):
            part = np.asarray(self._rows[start : start + self.size], np.float32)
            weight = np.zeros(self.size, np.float32)
            weight[: len(part)] = 1
            if len(part) < self.size:
                part = np.pad(part, ((0, self.size - len(part)), (0, 0)))
            yield Chunk(start, *jax.device_put((part, weight), self.split))
