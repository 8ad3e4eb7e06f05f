"""Measures how quickly the host reads a config's training batches, and with what help.

Nothing is sent to a device. Each row reads the same batches, first with more and more
threads in this process, then with more and more processes; records a second should grow
with both up to the number of cores, unless the disk or Python's lock is in the way. What
is left of the lock is NumPy's generators, Pillow's way from and to arrays, and the calls
themselves; it weighs most where images are small and nothing is decoded.
"""

from collections.abc import Callable
import os
import time
from typing import NamedTuple

from mvjax.core import text
from mvjax.train import feed as feed_lib
from mvjax.train import run as run_lib

_NEAR = 0.9  # Of the highest rate: fewer threads and processes that reach it will do.


class Row(NamedTuple):
    """One way to read."""

    threads: int
    workers: int
    records_per_second: float


def measure(
    run: run_lib.Run,
    *,
    steps: int = 20,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Reads batches in every way.

    Args:
      run: Its training split is read, with its policy and what is read beside.
      steps: Batches that are counted in each row.
      say: Told what comes next.
    """
    rows = []
    for threads, workers in ways(os.cpu_count() or 1):
        say(f"reads with {threads} threads and {workers} workers")
        rows.append(Row(threads, workers, _read(run, steps, threads, workers)))
    return rows


def ways(cores: int) -> list[tuple[int, int]]:
    """Threads and workers of each row: 0, then powers of two up to the cores."""
    counts = [1]
    while counts[-1] < cores:
        counts.append(min(2 * counts[-1], cores))
    return [(0, 0), *((n, 0) for n in counts), *((1, n) for n in counts)]


def _read(run: run_lib.Run, steps: int, threads: int, workers: int) -> float:
    """Records a second, after the batches that were read ahead while things started."""
    streams = feed_lib.streams(
        run, run.seeds[0], 0, share=(0, 1), threads=threads, workers=workers
    )
    try:
        for _ in range(1 + 2 * threads * max(1, workers)):
            _take(streams)
        start = time.perf_counter()
        for _ in range(steps):
            _take(streams)
        seconds = time.perf_counter() - start
    finally:
        for batches in streams.values():
            batches.close()
    return steps * run.batch_size / seconds


def _take(streams: dict) -> None:
    for batches in streams.values():
        next(batches)


def table(rows: list[Row]) -> str:
    """The rows as aligned text, each with its rate as a multiple of the first one's."""
    lines = [("threads", "workers", "records/s", "times")]
    for row in rows:
        times = row.records_per_second / rows[0].records_per_second
        rate = f"{row.records_per_second:,.1f}"
        lines.append((str(row.threads), str(row.workers), rate, f"{times:.2f}"))
    return "\n".join(text.align(lines, right=(0, 1, 2, 3)))


def advise(rows: list[Row]) -> str:
    """A line that says what to set: threads if they come near the highest rate."""
    least = _NEAR * max(row.records_per_second for row in rows)
    enough = [row for row in rows if row.records_per_second >= least]
    row = min(enough, key=lambda row: (row.workers, row.threads))
    line = f"--config.data.threads={row.threads} --config.data.workers={row.workers}"
    if not row.workers:
        return f"{line}: nothing here reads much faster."
    return (
        f"{line}: threads wait for each other, as one at a time may use Python; processes "
        "do not, but each holds what the data set keeps in memory."
    )
