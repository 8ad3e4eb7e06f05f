"""What cannot be raised is told, but for calls into event loops that are closed."""

import sys
import types

from mvjax.core import notice


def test_late_calls_into_a_closed_loop_are_not_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    notice.Unraisable.install()
    notice.Unraisable.install()
    for words in ("Event loop is closed", "something else"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(words)))
    assert [str(one.exc_value) for one in told] == ["something else"]
