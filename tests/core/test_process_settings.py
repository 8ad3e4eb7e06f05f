"""What the process settings do to the heap of the C library."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from mvjax.core import process_settings

HEAP = process_settings._Heap.find()
BLOCKS = 20_000


def count_free() -> int:
    """Bytes in holes of the heap; its end is none."""
    info = HEAP.library.mallinfo2()
    return info.fordblks - info.keepcost


@pytest.fixture
def full_of_holes():
    """Frees every other one of many blocks of 1 to 64 KB."""
    if HEAP is None:
        pytest.skip("this is not glibc 2.33 or later")
    draw = np.random.default_rng(0)
    sizes = draw.integers(1 << 10, 1 << 16, BLOCKS).tolist()
    blocks = [HEAP.library.malloc(size) for size in sizes]
    HEAP.free(blocks[::2])
    yield count_free()
    HEAP.free(blocks[1::2])


def test_holes_are_filled_and_given_back(full_of_holes):
    assert full_of_holes > 200e6
    with process_settings.Holes() as holes:
        holes.fill()
        # What is left is the hole that stays, and ends of holes.
        assert count_free() < holes.SCRATCH + 0.1 * full_of_holes
    assert count_free() > 0.9 * full_of_holes


TRAINING = """
from mvjax.core import process_settings

process_settings.keep_memory()
heap = process_settings._Heap.find()
malloc, count = heap.library.malloc, heap.library.mallinfo2
small = [malloc(1000 + 7 * i) for i in range(20_000)]
large, fence = malloc(500 << 20), malloc(8 << 20)
heap.free([*small[::2], large])
with process_settings.Holes() as holes:
    holes.fill()
    again = malloc(500 << 20)
    assert again < fence, "a step's buffer no longer fits where it was"
    heap.free([again])
    taken = count().uordblks
    for _ in range(3):
        holes.fill()
        assert len(holes._taken) > 9_000, "what was taken is lost"
        assert count().uordblks < 1.01 * taken, "each time takes more"
"""


def test_filling_leaves_large_holes_and_frees_what_it_took():
    if HEAP is None:
        pytest.skip("this is not glibc 2.33 or later")
    subprocess.run([sys.executable, "-c", TRAINING], check=True)


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with process_settings.Holes() as holes:
        holes.fill()
        assert holes._taken == []
