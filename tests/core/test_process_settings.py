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


AGAIN = """
from mvjax.core import process_settings
process_settings.keep_memory()
heap = process_settings._Heap.find()
if heap is not None:
    blocks = [heap.library.malloc(1000 + 7 * i) for i in range(20_000)]
    heap.free(blocks[::2])
    with process_settings.Holes() as holes:
        holes.fill()
        end = heap.library.sbrk(0) - heap.library.mallinfo2().keepcost
        for _ in range(5):
            holes.fill()
        new = heap.library.sbrk(0) - heap.library.mallinfo2().keepcost
        assert new - end < holes.SCRATCH
"""


def test_filling_again_takes_no_more_memory():
    subprocess.run([sys.executable, "-c", AGAIN], check=True)


def test_large_holes_stay(monkeypatch):
    if HEAP is None:
        pytest.skip("this is not glibc 2.33 or later")
    monkeypatch.setattr(process_settings.Holes, "MOST", 1 << 16)
    monkeypatch.setattr(process_settings.Holes, "SCRATCH", 1 << 16)
    size, count = 1 << 16, 500  # Side by side they become one hole.
    blocks = [HEAP.library.malloc(size) for _ in range(count)]
    fence = HEAP.library.malloc(size)
    HEAP.free(blocks)
    with process_settings.Holes() as holes:
        holes.fill()
        assert count_free() > 0.8 * count * size
    HEAP.free([fence])


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with process_settings.Holes() as holes:
        holes.fill()
        assert holes._taken == []
