"""How long a step takes at least on a slice of TPUs, and how that scales.

A model of peak rates, not a measurement; `ASSUMPTIONS` says what it takes for granted.
"""

from collections.abc import Sequence
import dataclasses

from mvjax.cost import chips as chips_lib
from mvjax.cost import collectives as collectives_lib

HOP = 1e-6  # Seconds that a message takes to a neighbour.
DIMENSIONS = {"v4": 3, "v5e": 2, "v5p": 3, "v6e": 2}  # Of the chips' grid.
SCALES = (8, 16, 32, 64, 128, 256)  # Chips.
ASSUMPTIONS = (
    "Compute at the chip's peak for the type of products, memory at its full bandwidth; "
    "real steps reach a part of both.",
    "The compiler counts FLOPs and bytes of one round of each loop; the rounds are those "
    "of the traced program, one where the data end a loop.",
    "Bytes to memory are those between operations; some never leave the chip.",
    "Collectives go around rings on all links of a chip at once and wait "
    f"{HOP * 1e6:g} us at each hop along the sides of the slice.",
    "Apart: collectives while nothing else runs; together: all of them hidden behind "
    "compute and memory, as far as those last.",
    "Scaling keeps the items of each chip. All-gathers, reduce-scatters and all-to-alls "
    "(codes of the batch) grow with the chips, all-reduces (gradients, statistics) do not.",
    "The work of a chip stays, so a loss that compares all pairs of a batch scales worse; "
    "input and hosts are left out.",
)


@dataclasses.dataclass(frozen=True)
class Work:
    """What one chip does in a step: FLOPs, bytes to memory, collectives."""

    flops: float
    bytes: float
    collectives: tuple[collectives_lib.Collective, ...]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Seconds that a step spends at least on each."""

    compute: float
    memory: float
    collectives: float

    @property
    def apart(self) -> float:
        """Of the step, when collectives wait for the rest."""
        return max(self.compute, self.memory) + self.collectives

    @property
    def together(self) -> float:
        """Of the step, when everything overlaps."""
        return max(self.compute, self.memory, self.collectives)


def slice_sides(chips: int, dimensions: int) -> tuple[int, ...]:
    """Sides of the slice of so many chips, a power of two, as equal as can be."""
    sides = [1] * dimensions
    while chips > 1:
        sides[sides.index(min(sides))] *= 2
        chips //= 2
    return tuple(sorted(sides))


def hops(chips: int, dimensions: int) -> int:
    """Hops of a message that passes along each side of a slice in turn."""
    return sum(side - 1 for side in slice_sides(chips, dimensions))


def collective_seconds(
    chip: chips_lib.Chip, collective: collectives_lib.Collective
) -> float:
    """Seconds of collectives: what a chip sends over its links, and the hops."""
    rounds = 2 if collective.kind == "all-reduce" else 1
    ways = hops(collective.group, DIMENSIONS[chip.name])
    sending = collectives_lib.sent_bytes(collective) / chip.link
    return sending + collective.count * rounds * ways * HOP


def estimate(chip: chips_lib.Chip, dtype: str, work: Work) -> Estimate:
    """Seconds of a step on a TPU whose products are of a type."""
    return Estimate(
        compute=work.flops / chip.peak(dtype),
        memory=work.bytes / chip.bandwidth,
        collectives=sum(collective_seconds(chip, c) for c in work.collectives),
    )


def grow(work: Work, *, compiled: int, chips: int) -> Work:
    """The work of a chip when more chips share a larger batch, the same for each.

    Args:
      work: As compiled for `compiled` chips.
      compiled: Chips of that slice; collectives among all of them stay so.
      chips: Chips of the slice that is asked for.
    """
    grown = []
    for c in work.collectives:
        if c.group == compiled:
            gathers = c.kind in ("all-gather", "reduce-scatter", "all-to-all")
            size = c.bytes * chips // compiled if gathers else c.bytes
            c = dataclasses.replace(c, group=chips, bytes=size)
        grown.append(c)
    return dataclasses.replace(work, collectives=tuple(grown))


def scaling(
    chip: chips_lib.Chip,
    dtype: str,
    work: Work,
    *,
    compiled: int,
    scales: Sequence[int] = SCALES,
) -> list[tuple[int, Estimate]]:
    """`estimate` of slices of each scale, see `grow`."""
    return [
        (n, estimate(chip, dtype, grow(work, compiled=compiled, chips=n)))
        for n in scales
    ]
