"""What the writers for tracking libraries share: a thread that never stops a run.

A tracker is a service or a store that may be slow, full or unreachable. So a thread
imports its library and speaks to it, and whatever fails there costs one warning and
switches that tracker off for the rest of the run.
"""

from collections.abc import Callable, Sequence
import pathlib
import queue
import threading
import time
from typing import Any, NamedTuple, Protocol
import weakref

from mvjax.core import notice
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib

PERIOD = 5.0  # Seconds between two writes.
PATIENCE = 60.0  # Seconds that the end of a run waits for its tracker.
SLOWEST = 2e6  # Bytes of an artifact a second, on top.
# How a run ended. A killed one was stopped on the way and may be resumed.
FINISHED, KILLED, FAILED = "FINISHED", "KILLED", "FAILED"


class Value(NamedTuple):
    """A metric at a step; time in ms since 1970."""

    name: str
    value: float
    time: int
    step: int


class Session(Protocol):
    """An open run of a library. Made and used by the thread alone."""

    def log(self, values: list[Value]) -> None:
        """Writes metrics, in the order of their steps."""

    def keep(
        self, name: str, files: Sequence[pathlib.Path], kind: str, patience: float
    ) -> None:
        """Copies files to an artifact; gives up after `patience` seconds."""

    def end(self, status: str) -> None:
        """Ends the run as FINISHED, KILLED or FAILED."""


class _Task(NamedTuple):
    """Something else that a session is to do."""

    do: Callable[[Any], None]
    done: threading.Event


class _End(NamedTuple):
    """The last thing in the queue."""

    status: str


class Tracker:
    """A writer whose library is spoken to by a thread.

    Args:
      title: Of the library, for warnings.
      workdir: Of the run, absolute; its config is there.
      step: Steps done before.
      open_session: Imports the library and opens the run; called by the thread when
        the first metrics come. It must hold no reference to the writer.
      period: Seconds between two writes.
    """

    def __init__(
        self,
        title: str,
        workdir: pathlib.Path,
        step: int,
        open_session: Callable[[], Session],
        period: float,
    ):
        self._workdir = workdir
        self._step = step
        self._worker = Worker(title, open_session, period)
        # An exception in the loop closes no writer; then the run has failed.
        self._failed = weakref.finalize(self, self._worker.end, FAILED)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Hands metrics to the thread; never waits."""
        self._step = step
        now = int(time.time() * 1000)
        self._worker.put([Value(k, float(v), now, step) for k, v in metrics.items()])

    @property
    def takes_files(self) -> bool:
        """Whether artifacts are of any use."""
        return self._worker.takes_tasks

    def artifacts(self, name: str, files: Sequence[pathlib.Path], *, kind: str) -> None:
        """Copies files to the library's artifact `name`; waits until it is done."""
        if self.takes_files:
            local = [file for file in files if not storage.is_remote(file)]
            size = sum(file.stat().st_size for file in local)
            patience = PATIENCE + size / SLOWEST
            self._worker.call(
                lambda session: session.keep(name, files, kind, patience), patience
            )

    def keep(self) -> None:
        """Does nothing: the thread writes as soon as it can."""

    def close(self) -> None:
        """Ends the run: finished if its final evaluation is there, else killed."""
        self._failed.detach()
        self._worker.end(FINISHED if self._is_finished() else KILLED)

    def _is_finished(self) -> bool:
        file = self._workdir / workdir_lib.EVALUATION_FILE
        return (
            file.exists()
            and workdir_lib.read_json(file, {"step": int})["step"] == self._step
        )


class Worker:
    """The thread, its queue, and what becomes of its failures."""

    def __init__(
        self, title: str, open_session: Callable[[], Session], period: float
    ) -> None:
        self._title = title
        self._open_session = open_session
        self._period = period
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._off = False
        self._failed = False  # A task did, which is no reason to lose metrics.

    @property
    def takes_tasks(self) -> bool:
        """Whether it has not given up on them."""
        return not (self._off or self._failed)

    def put(self, item: list[Value] | _Task | _End) -> None:
        """Takes work; the first starts the thread."""
        if self._off:
            return
        if self._thread is None:
            # Daemon: a store that hangs must not keep the process.
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._queue.put(item)

    def call(self, do: Callable[[Any], None], patience: float) -> None:
        """Has the thread call `do(session)`; waits as long as there is hope."""
        task = _Task(do, threading.Event())
        self.put(task)
        end = time.monotonic() + patience
        while not self._off and not task.done.wait(0.05):
            if time.monotonic() > end:
                self._give_up(patience)

    def end(self, status: str) -> None:
        """Writes what is left and ends the run, if anything was ever written."""
        if self._thread is None or self._off:
            return
        self.put(_End(status))
        if threading.current_thread() is self._thread:
            return  # The garbage collector can call from anywhere.
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._give_up(PATIENCE)

    def _work(self) -> None:
        try:
            session = self._open_session()
            last = None
            while not isinstance(last, _End) and not self._off:
                values, last = self._collect()
                session.log(values)
                if isinstance(last, _Task):
                    self._do(last, session)
            if isinstance(last, _End):
                session.end(last.status)
        except Exception as error:  # A tracker must not stop a run.
            self._switch_off(first_line(error))

    def _do(self, task: _Task, session: Session) -> None:
        try:
            task.do(session)
        except Exception as error:  # Of whichever library it is.
            self._failed = True
            reason = first_line(error)
            notice.warn(f"{self._title} keeps no more files of this run: {reason}")
        task.done.set()

    def _collect(self) -> tuple[list[Value], _Task | _End | None]:
        """The metrics of a period, or those up to the next thing that is none."""
        values: list[Value] = []
        end = None
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                item = self._queue.get(timeout=left)
            except queue.Empty:
                return values, None
            if not isinstance(item, list):
                return values, item
            values += item
            end = end or time.monotonic() + self._period

    def _give_up(self, patience: float) -> None:
        self._switch_off(f"no answer within {patience:.0f} seconds")

    def _switch_off(self, reason: str) -> None:
        if not self._off:
            notice.warn(
                f"{self._title} is off for this run, all else goes on: {reason}"
            )
        self._off = True


def paths(workdir: pathlib.Path) -> dict[str, str]:
    """Where a run's results lie or will lie, for trackers to show.

    Args:
      workdir: Of the run, absolute.

    Returns:
      Absolute paths: `workdir`; `checkpoints`, a folder; `report`, the HTML page of
      `mvjax report`, which a stage of a chain shares with the other stages.
    """
    above = workdir.parent
    shared = workdir in workdir_lib.stages(above).values()
    return {
        "workdir": str(workdir),
        "checkpoints": str(workdir / workdir_lib.CHECKPOINTS),
        "report": str((above if shared else workdir) / workdir_lib.REPORT_PAGE),
    }


def first_line(error: Exception) -> str:
    """Type and first line of an error."""
    text = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {text.splitlines()[0]}"
