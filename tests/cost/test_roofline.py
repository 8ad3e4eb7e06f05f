"""The estimate of a step, against numbers worked out by hand."""

import dataclasses

import pytest

from mvjax.cost import chips
from mvjax.cost import collectives
from mvjax.cost import roofline

# 100 FLOP/s, 10 bytes/s to memory, 5 bytes/s to the neighbours.
SLOW = dataclasses.replace(
    chips.get("v5e"),
    flops={"float32": 50.0, "bfloat16": 100.0},
    bandwidth=10.0,
    link=5.0,
)
SUM = collectives.Collective("all-reduce", group=8, count=3, bytes=80)
GATHER = collectives.Collective("all-gather", group=8, count=1, bytes=40)


@pytest.mark.parametrize(
    ("chips", "dimensions", "sides"),
    [
        (1, 2, (1, 1)),
        (8, 2, (2, 4)),
        (32, 2, (4, 8)),
        (256, 2, (16, 16)),
        (8, 3, (2, 2, 2)),
        (128, 3, (4, 4, 8)),
    ],
)
def test_slices_are_as_square_as_can_be(chips, dimensions, sides):
    assert roofline.slice_sides(chips, dimensions) == sides
    assert roofline.hops(chips, dimensions) == sum(sides) - dimensions


def test_collectives_take_their_bytes_and_their_hops():
    # A sum: 2 * 7/8 * 80 = 140 bytes; three times there and back over 1 + 3 hops.
    assert roofline.collective_seconds(SLOW, SUM) == pytest.approx(
        28 + 24e-6, rel=1e-12
    )
    # A gather: 7/8 * 40 = 35 bytes, once, one way.
    assert roofline.collective_seconds(SLOW, GATHER) == pytest.approx(
        7 + 4e-6, rel=1e-12
    )


def test_a_step_takes_the_slower_of_compute_and_memory_and_its_collectives():
    work = roofline.Work(flops=1000.0, bytes=150.0, collectives=(GATHER,))
    found = roofline.estimate(SLOW, "float32", work)
    assert (found.compute, found.memory) == (20.0, 15.0)
    assert found.apart == pytest.approx(27, abs=1e-3)
    assert found.together == 20.0
    found = roofline.estimate(SLOW, "bfloat16", work)
    assert (found.compute, found.together) == (10.0, 15.0)


def test_gathers_grow_with_the_chips_and_sums_do_not():
    inner = dataclasses.replace(GATHER, group=2)
    work = roofline.Work(1.0, 1.0, (SUM, GATHER, inner))
    grown = roofline.grow(work, compiled=8, chips=32)
    assert grown.collectives == (
        dataclasses.replace(SUM, group=32),
        dataclasses.replace(GATHER, group=32, bytes=160),
        inner,
    )
    assert (grown.flops, grown.bytes) == (1.0, 1.0)


def test_scaling_counts_from_the_compiled_slice_both_ways():
    work = roofline.Work(1000.0, 0.0, (dataclasses.replace(SUM, group=32),))
    points = dict(roofline.scaling(SLOW, "bfloat16", work, compiled=32))
    assert list(points) == [8, 16, 32, 64, 128, 256]
    # 2 * (n - 1) / n * 80 bytes at 5 bytes/s beside 10 s of compute.
    assert points[8].apart == pytest.approx(10 + 28, abs=1e-3)
    assert points[256].apart == pytest.approx(10 + 31.875, abs=1e-3)
    assert points[32] == roofline.estimate(SLOW, "bfloat16", work)
