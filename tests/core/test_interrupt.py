"""Signals where no exception must be raised."""

import signal
import subprocess
import sys

import pytest

from tests import struck

LIBRARY = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
except BaseException as error:  # In C that would be a crash.
    print("raised", error)
"""
PROGRAM = """
from mvjax.core import interrupt
{before}
{block}
    import library
    print("goes on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("before", "block"),
    [
        ("", "with interrupt.Signals(at_once=True):"),
        ("interrupt.end_on_signals()", "if True:"),
    ],
    ids=["in a command", "before it"],
)
def test_a_signal_in_an_import_ends_the_process_there(tmp_path, name, before, block):
    (tmp_path / "library.py").write_text(LIBRARY.format(name=name))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before, block=block)],
        env={"PYTHONPATH": f"{tmp_path}:{struck.ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 128 + signal.Signals[name]
    assert (done.stdout, done.stderr) == ("", "mvjax: interrupted\n")
