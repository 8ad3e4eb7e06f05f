"""What the process settings do to the heap of the C library."""

import ctypes
import subprocess
import sys

import pytest

from mvjax.core import process_settings

# A heap as compilers leave it: 10,000 holes and the place of a step's buffer.
TRAINING = """
from mvjax.core import process_settings

process_settings.keep_memory()
heap = process_settings._Heap.find()
malloc, count = heap.library.malloc, heap.library.mallinfo2


def count_free():
    info = count()
    return info.fordblks - info.keepcost  # Without the end of the heap.


small = [malloc(1000 + 7 * i) for i in range(20_000)]
large, fence = malloc(500 << 20), malloc(8 << 20)
heap.free([*small[::2], large])
free = count_free()
assert free > 1.2e9
with process_settings.Holes() as holes:
    holes.fill()
    left = (500 << 20) + sum(holes.SCRATCH)
    assert count_free() < left + 0.02 * free, "holes are left"
    again = malloc(500 << 20)
    assert again < fence, "a step's buffer no longer fits where it was"
    heap.free([again])
    taken = count().uordblks
    for _ in range(3):
        holes.fill()
        assert len(holes._taken) > 9_000, "what was taken is lost"
        assert count().uordblks < 1.01 * taken, "each time takes more"
assert count_free() > 0.99 * free, "holes are kept"
"""


def test_holes_are_filled_and_given_back_but_for_large_ones():
    if process_settings._Heap.find() is None:
        pytest.skip("this is not glibc 2.33 or later")
    subprocess.run([sys.executable, "-c", TRAINING], check=True)


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with process_settings.Holes() as holes:
        holes.fill()
        assert holes._taken == []
