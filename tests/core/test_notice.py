"""What libraries say at the end is told, but for what is in order.

Calls into event loops that are closed, and shared memory that is freed, are.
"""

from multiprocessing import shared_memory
import subprocess
import sys
import types

import pytest

from mvjax.core import notice


def test_late_calls_into_a_closed_loop_are_not_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    notice.Unraisable.install()
    notice.Unraisable.install()
    for words in ("Event loop is closed", "something else"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(words)))
    assert [str(one.exc_value) for one in told] == ["something else"]


@pytest.mark.parametrize("silenced", [True, False])
def test_the_tracker_of_shared_memory_frees_what_is_left_without_a_word(silenced):
    code = f"""
from multiprocessing import shared_memory
from mvjax.core import notice
{"notice.silence_tracker()" if silenced else ""}
print(shared_memory.SharedMemory(create=True, size=8).name)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ("resource_tracker" in run.stderr) != silenced
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(run.stdout.strip())
