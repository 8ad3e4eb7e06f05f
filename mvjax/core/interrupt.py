"""Ctrl-C and SIGTERM: noted or obeyed at once, and never a traceback."""

import contextlib
import os
import signal
import sys
import threading
import types
from typing import Any, NoReturn, Self

LINE = "mvjax: interrupted"
PATIENCE = 5  # Seconds that clearing up may take.


class Interrupt(KeyboardInterrupt):
    """A signal that is obeyed at once, wherever the program is."""

    def __init__(self, code: int):
        super().__init__(LINE)
        self.code = code


class Signals:
    """What Ctrl-C and SIGTERM do while a block runs; one may stand inside another.

    The exit code of the signal is noted in `code`. A second Ctrl-C ends the process where
    it stands; schedulers may send SIGTERM twice, so that of a second one does not, unless
    the first was to be obeyed at once and was not. Threads other than the main one get no
    signals, and there nothing is changed.

    Args:
      at_once: Whether the first signal raises `Interrupt` in the main thread; in an
        import it ends the process.
    """

    def __init__(self, *, at_once: bool = False):
        self.code = 0
        self._at_once = at_once
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._hooks = sys.excepthook, sys.unraisablehook
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused: object) -> None:
        if signal.SIGALRM in self._old:
            signal.alarm(0)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        sys.excepthook, sys.unraisablehook = self._hooks

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        code = 128 + number
        if self._at_once and (self.code or _imports(frame)):
            end_now(code)
        if self.code == code:
            if number == signal.SIGINT:
                end_now(code)
            return
        self.code = code
        if self._at_once:
            # Libraries in C print what is raised where they cannot pass it on, such as in
            # a callback of the garbage collector, and go on; others drop it.
            sys.excepthook = sys.unraisablehook = self._lost
            self._old[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._lost)
            signal.alarm(PATIENCE)
            raise Interrupt(code)

    def _lost(self, *unused: object) -> NoReturn:
        end_now(self.code)


def _imports(frame: types.FrameType | None) -> bool:
    """Whether a module is being imported; one written in C may crash if that raises."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib."):
        frame = frame.f_back
    return frame is not None


def end_on_signals() -> None:
    """Has Ctrl-C and SIGTERM end the process by `end_now` wherever no `Signals` stands."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: end_now(128 + number))


def end_now(code: int) -> NoReturn:
    """Ends the process and those that it started with one line and no clearing up.

    What is written is as safe as from a kill.
    """
    with contextlib.suppress(OSError):  # It may be closed.
        bar = "\n" if os.isatty(2) else ""  # Whose line is ended.
        os.write(2, f"{bar}{LINE}\n".encode())
    with contextlib.suppress(Exception):  # It may be closed, or in use just now.
        sys.stdout.flush()
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    os._exit(code)
