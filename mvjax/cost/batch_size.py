"""The largest batch whose step fits into the memory of the devices.

Nothing is run. Steps are compiled for a few sizes, and the compiler's own count of their
bytes is compared with what the devices have. A compilation takes seconds to minutes, so
sizes are not doubled one by one: the bytes are nearly a line in the batch, and a line
through two sizes that fit tells which one to compile next. What is found has always been
compiled; that the size above it does not fit has been compiled or is read from the line.
Where parts of a step grow faster than the batch, as pairs of rows do, the line is below
the truth, so what it refuses would not fit either. Evaluators are not counted.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import memory
from mvjax.core import process_settings
from mvjax.core import text
from mvjax.cost import compiled
from mvjax.train import log
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import sharding

# Of a device's memory; the rest is for what a compiler does not count.
SHARE = 0.9
# Of the free memory of a CPU. The heap of the C library, which `process_settings` has keep
# what is freed, was seen to grow to four times the temporaries of a step.
CPU_SHARE = 0.25
_LARGEST = 2**20  # That `config.data.batch_size` may be.
_LEAP = 3  # Doublings from the first size that is compiled to the second.


class Found(NamedTuple):
    """What a search has found."""

    size: int | None  # None: not even the smallest fits.
    tried: dict[
        int, int | None
    ]  # Bytes by size; None: more than the compiler could get.
    above: (
        tuple[int, float] | None
    )  # A size that the line refuses, and its bytes there.


def candidates(run: run_lib.Run) -> list[int]:
    """The batch sizes of a search: a row for each device and micro-batch, and doublings.

    There are at most twenty; the smallest is at least 2, the largest no more than the
    training split has records.

    Raises:
      UserError: There are too few records, or the mesh does not fit the devices.
    """
    shape = sharding.make_mesh(run.config.mesh).shape
    unit = shape["data"] * shape["fsdp"] * run.config.accumulate
    records = len(run.source("train"))
    sizes = [unit << i for i in range(_LARGEST.bit_length())]
    sizes = [size for size in sizes if 2 <= size <= min(records, _LARGEST)]
    if not sizes:
        raise errors.UserError(
            f"--auto-batch-size: the training split has {records} records, fewer than "
            f"the smallest batch, {max(2, unit)} (config.mesh, config.accumulate)."
        )
    return sizes


def limit(mesh: jax.sharding.Mesh) -> int:
    """Bytes that a step may take on a device of this process, the same in all processes.

    The devices of a CPU share its memory.
    """
    process_settings.return_memory()
    mine = mesh.local_devices
    held = [(device.memory_stats() or {}).get("bytes_limit") for device in mine]
    if all(held):
        least = int(SHARE * min(held))
    else:
        least = int(CPU_SHARE * memory.available()) // len(mine)
    most = 2**31 - 1  # What `greatest` can compare.
    return -dist.greatest(-min(least >> 20, most)) << 20


def need(program: program_lib.Program) -> int | None:
    """Bytes that training takes on a device; None: the compiler ran out of memory.

    Raises:
      UserError: The compiler does not tell.
    """
    try:
        step = compiled.measure(program)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        step = None
    if dist.greatest(int(step is None)):
        return None
    if step.memory is None:
        kind = program.mesh.devices.flat[0].device_kind
        raise errors.UserError(
            f"--auto-batch-size: the compiler for {kind} does not tell what a step needs; "
            "set config.data.batch_size by hand."
        )
    return step.peak_bytes + _beside(program)


def _beside(program: program_lib.Program) -> int:
    """Bytes on a device that are no part of a step: later batches, or the whole split."""
    run = program.run
    leaves = jax.tree.leaves(program.step_arguments()[1])
    if run.config.data.device_resident:
        rows = run.batch_size * len(run.seeds)
        whole = sum(compiled.count_bytes(x.shape, x.dtype) for x in leaves)
        return whole // rows * len(run.source("train"))
    shards = [(x.sharding.shard_shape(x.shape), x.dtype) for x in leaves]
    return log.AHEAD * sum(compiled.count_bytes(*shard) for shard in shards)


def search(
    sizes: Sequence[int], need: Callable[[int], int | None], limit: int
) -> Found:
    """Finds the largest size that fits; each one is asked for at most once.

    Args:
      sizes: In rising order.
      need: From a size to its bytes; None: too many to say.
      limit: Bytes that fit.
    """
    tried: dict[int, int | None] = {}
    size, line = sizes[0], {}
    while size is not None:
        tried[size] = need(size)
        good = sorted(n for n, b in tried.items() if b is not None and b <= limit)
        if not good:
            return Found(None, tried, None)
        bad = min(set(tried) - set(good), default=None)
        left = [n for n in sizes if n > good[-1] and (bad is None or n < bad)]
        if len(good) < 2:
            size = next(iter(left[:_LEAP][-1:]), None)
            continue
        line = _line(sizes, tried, *good[-2:])
        left = [n for n in left if line[n] <= limit]
        size = _next(left, tried, good[-1], bad, limit)
    size = good[-1]
    above = [n for n in sizes if n > size][:1]
    refused = [(n, line[n]) for n in above if n not in tried]
    return Found(size, tried, refused[0] if refused else None)


def _line(
    sizes: Sequence[int], tried: dict[int, int | None], low: int, high: int
) -> dict[int, float]:
    """Bytes of all sizes on the line through two of them."""
    slope = (tried[high] - tried[low]) / (high - low)
    return {n: tried[high] + slope * (n - high) for n in sizes}


def _next(
    left: list[int],
    tried: dict[int, int | None],
    good: int,
    bad: int | None,
    limit: int,
) -> int | None:
    """Which of the sizes that may fit to compile; None: there are none.

    Args:
      left: These sizes, between the two that follow.
      tried: Bytes by size.
      good: The largest that fits.
      bad: The smallest that does not; None: none is known.
      limit: Bytes that fit.
    """
    if not left or bad is None:
        return left[-1] if left else None
    if tried[bad] is None:
        return left[len(left) // 2]
    # A truth that rises ever faster lies below the line to what does not fit.
    between = _line(left, tried, good, bad)
    return max((n for n in left if between[n] <= limit), default=left[0])


def table(found: Found, limit: int, seconds: dict[int, float]) -> str:
    """The sizes that were looked at, with their bytes on a device.

    Args:
      found: What `search` has found.
      limit: Bytes that fit.
      seconds: What each compilation took.
    """
    lines = [("batch", "on a device", "", "")]
    for size, needed in sorted(found.tried.items()):
        shown = "more than there is" if needed is None else text.mebibytes(needed)
        fits = needed is not None and needed <= limit
        how = f"compiled in {seconds[size]:.1f} s"
        lines.append((size, shown, "fits" if fits else "does not fit", how))
    if found.above:
        size, needed = found.above
        how = "on the line through the two sizes before, not compiled"
        lines.append((size, text.mebibytes(needed), "does not fit", how))
    share = (
        f"{SHARE:.0%} of a device's memory, or {CPU_SHARE:.0%} of what a CPU has free"
    )
    return "\n".join(
        [*text.align(lines, right=(0, 1)), f"limit: {text.mebibytes(limit)}, {share}"]
    )
