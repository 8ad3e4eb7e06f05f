"""Warnings for the person at the terminal."""

import contextlib
import sys

from mvjax.core import dist


def warn(text: str) -> None:
    """Prints a warning clear of the progress bar; one process speaks for all."""
    import tqdm

    with contextlib.suppress(OSError, ValueError):  # stderr may be closed.
        if dist.is_main():
            tqdm.tqdm.write(f"mvjax: warning: {text}", file=sys.stderr)
