"""Several processes as one: start, agree, gather, and end together.

With one process everything here does nothing, at no cost.
"""

import collections
from collections.abc import Iterator
import contextlib
import os
import sys
import traceback
from typing import Any

from mvjax.core import devices
from mvjax.core import errors
from mvjax.core import interrupt

# A process that sends no heartbeat for so long is dead; the others end then.
HEARTBEAT_SECONDS = 20
# Processes that have finished wait so long for the one that writes the report.
SHUTDOWN_SECONDS = 1800
CHOICES = ("off", "auto")


def initialize(
    how: str = "off",
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins this process with the others of the run and starts JAX.

    Args:
      how: "off", or "auto": what TPU metadata, SLURM or the like tell.
      coordinator: `host:port` of process 0, instead of "auto".
      processes: Their number, with `coordinator`.
      process_id: Number of this one, with `coordinator`.

    Raises:
      UserError: Half of the flags, no cluster, the others did not come, or there are no
        devices.
    """
    if how not in CHOICES:
        raise errors.unknown("value of --distributed", how, CHOICES)
    explicit = (coordinator, processes, process_id)
    given = [value is not None for value in explicit]
    if any(given) and not all(given):
        raise errors.UserError(
            "--coordinator, --processes and --process-id belong together."
        )
    if not any(given) and how == "off":
        devices.start()
        return
    if all(given) and not 0 <= process_id < processes:
        raise errors.UserError(
            f"--process-id {process_id} is not one of {processes} processes (0 is the "
            "first)."
        )
    import jax

    # On CPUs a program may start before the one before has ended, and their collectives
    # would meet in another order on another process.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            *explicit,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        where = coordinator or "the cluster that --distributed=auto looks for"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.UserError(f"Cannot join {where}: {reason}") from error
    devices.start()


def is_main() -> bool:
    """Whether this process writes logs."""
    import jax

    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits for all processes."""
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def share() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    import jax

    return jax.process_index(), jax.process_count()


def gather_rows(tree: Any) -> Any:
    """Joins the rows `[b, ...]` that each process holds, in the order of processes.

    Args:
      tree: NumPy arrays of equal shapes on all processes.

    Returns:
      Arrays `[b * processes, ...]`, the same everywhere.
    """
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def sum_all(tree: Any) -> Any:
    """Sums arrays over the processes, exactly as 64 bits hold them.

    Args:
      tree: NumPy arrays of int64 or float64, of equal shapes on all processes.

    Returns:
      Their sums, the same everywhere.
    """
    import jax
    from jax.experimental import multihost_utils
    import numpy as np

    if jax.process_count() == 1:
        return tree

    def add(array: Any) -> Any:
        # JAX would narrow 64 bits to 32; halves of them travel unharmed.
        halves = np.frombuffer(array.tobytes(), np.uint32)
        every = np.asarray(multihost_utils.process_allgather(halves))
        parts = [np.frombuffer(row.tobytes(), array.dtype) for row in every]
        return np.sum(parts, axis=0).reshape(array.shape)

    return jax.tree.map(add, tree)


def greatest(number: int) -> int:
    """The greatest of the processes' numbers; all call it at the same place."""
    import jax
    from jax.experimental import multihost_utils
    import numpy as np

    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


STOP = "stop"  # Of a batch: the code that its process wishes to stop with, in each row.


class Agreement:
    """Lets all processes see, at the same step, that one of them wishes to stop.

    The wish travels in the batch and comes back as a metric, because a program of its own
    could meet the step's collectives in another order on another process. It is heard two
    calls later, so that nobody waits for a step that has only just been sent off.
    """

    LAG = 2

    def __init__(self) -> None:
        self._sent: collections.deque = collections.deque()

    def hear(self, code: int, metrics: dict[str, Any]) -> int:
        """The code to stop with, or 0; takes the wish of all from the metrics.

        Args:
          code: Wish of this process.
          metrics: Of the latest steps; `STOP` is taken out.
        """
        import jax

        sent = metrics.pop(STOP, None)
        if jax.process_count() == 1:
            return code
        self._sent.append(sent)
        if len(self._sent) <= self.LAG:
            return 0
        return int(jax.device_get(self._sent.popleft()).max())


@contextlib.contextmanager
def end_together(*allowed: type[BaseException]) -> Iterator[None]:
    """Ends this process at once when an exception leaves the block, if it has others.

    Cleaning up would wait for processes that are dead, or that wait for this one. The
    others then lose their connection and end as well.

    Args:
      allowed: Exceptions that all processes raise at the same step.
    """
    import jax

    try:
        yield
    except allowed:
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        code = 1
        if isinstance(error, errors.UserError):
            code = 2
            print(f"mvjax: error: {errors.plain(str(error))}", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            code = getattr(error, "code", 130)
            print(interrupt.LINE, file=sys.stderr)
        else:
            traceback.print_exc()
            print(
                f"mvjax: process {jax.process_index()} of {jax.process_count()} ends: "
                "another one died or cannot be reached. Start all of them again: the "
                "run resumes from its last checkpoint.",
                file=sys.stderr,
            )
        sys.stderr.flush()
        os._exit(code)
