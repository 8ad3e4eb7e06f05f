"""Warnings for the person at the terminal."""

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


def _write(text: str) -> None:
    import tqdm

    tqdm.tqdm.write(f"mvjax: warning: {text}", file=sys.stderr)
