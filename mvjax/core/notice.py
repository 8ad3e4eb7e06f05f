"""Warnings for the person at the terminal."""

from collections.abc import Callable
import contextlib
import sys
from typing import Any

from mvjax.core import dist


def warn(text: str) -> None:
    """Prints a warning clear of the progress bar; one process speaks for all."""
    with contextlib.suppress(OSError, ValueError):  # stderr may be closed.
        if dist.is_main():
            _write(text)


def show_warning(message: Warning | str, *unused: Any) -> None:
    """Prints what `warnings.warn` was told, without the place in a library's code.

    It may come before JAX has started, so each process speaks for itself.
    """
    with contextlib.suppress(OSError, ValueError):
        _write(" ".join(str(message).split()))


def silence_tracker() -> None:
    """Has Python's tracker of shared memory tidy up without a word.

    Worker processes that are stopped with batches in hand leave these in memory that the
    tracker, a process of its own, frees at the end. It is told before it starts.
    """
    option = "ignore::UserWarning:multiprocessing.resource_tracker"
    if option not in sys.warnoptions:
        sys.warnoptions.append(option)


class Unraisable:
    """A `sys.unraisablehook` that is silent about calls into closed event loops.

    Tensorstore makes them from threads of its own after a read that failed, which is told
    already; all else goes on to the hook before.
    """

    def __init__(self, before: Callable[[Any], Any]):
        self._before = before

    def __call__(self, unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            self._before(unraisable)

    @classmethod
    def install(cls) -> None:
        """Puts one in place, once."""
        if not isinstance(sys.unraisablehook, cls):
            sys.unraisablehook = cls(sys.unraisablehook)


def _write(text: str) -> None:
    import tqdm

    tqdm.tqdm.write(f"mvjax: warning: {text}", file=sys.stderr)
