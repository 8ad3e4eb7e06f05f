"""What the chips of a compiled program send each other, read from its HLO text."""

import collections
from collections.abc import Iterator
import dataclasses
import math
import re

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_LINE = re.compile(
    rf"^\s*(?:ROOT )?(%?[\w.\-]+) = (.*?) (?:ragged-)?({'|'.join(KINDS)})"
    r"(-start|-done)?\((.*)$"
)
_COMPUTATION = re.compile(r"^(?:ENTRY )?(%?[\w.\-]+) \(.*\{$")
# An all-reduce of which each chip takes its part at once; libtpu runs both as one.
_SCATTERS = re.compile(r"%?all-reduce-scatter\b")
_PART = re.compile(r"\b(body|condition|calls|to_apply)=(%?[\w.\-]+)")
_ROUNDS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ARRAY = re.compile(r"\b(pred|[a-z]+[0-9]\w*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of a program that are of one kind and among as many chips.

    Attributes:
      kind: One of `KINDS`.
      group: Chips that take part in each.
      count: How many there are; one in a loop as often as that is known to run.
      bytes: Together: of the sums of all-reduces, of what each chip holds after
        all-gathers and before reduce-scatters, of a chip's arrays of the others.
    """

    kind: str
    group: int
    count: int
    bytes: int


def parse(hlo: str, chips: int) -> list[Collective]:
    """The collectives of an HLO module, those with the most bytes first.

    Args:
      hlo: `compiled.as_text()`.
      chips: How many run the program.
    """
    count: dict[tuple[str, int], int] = collections.Counter()
    size: dict[tuple[str, int], int] = collections.Counter()
    rounds = _rounds(hlo)
    for place, kind, group, result in _instructions(hlo, chips):
        times = rounds.get(place, 1)
        factor = group if kind == "reduce-scatter" else 1
        if _SCATTERS.match(place):
            kind = "reduce-scatter"
        count[kind, group] += times
        size[kind, group] += times * factor * _array_bytes(result)
    found = [Collective(*key, count[key], size[key]) for key in count]
    return sorted(found, key=lambda c: (-c.bytes, c.kind, c.group))


def _rounds(hlo: str) -> dict[str, int]:
    """How often each computation runs that another one runs; 1 where it is not told."""
    users: dict[str, tuple[str, int]] = {}  # Who runs it, and how often.
    for place, line in _lines(hlo):
        known = _ROUNDS.search(line)
        for role, part in _PART.findall(line):
            users[part] = place, int(known.group(1)) if known and role == "body" else 1

    def times(name: str) -> int:
        user, number = users.get(name, ("", 1))
        return number * times(user) if user else number

    return {name: times(name) for name in users}


def _lines(hlo: str) -> Iterator[tuple[str, str]]:
    """Each line with the name of its computation."""
    place = ""
    for line in hlo.splitlines():
        if start := _COMPUTATION.match(line):
            place = start.group(1)
        yield place, line


def _instructions(hlo: str, chips: int) -> Iterator[tuple[str, str, int, str]]:
    """Computation, kind, group size and type of the result of each collective."""
    started: dict[str, int] = {}  # Group sizes of those whose end comes later.
    for place, line in _lines(hlo):
        match = _LINE.match(line)
        if not match:
            continue
        name, result, kind, part, rest = match.groups()
        if part == "-done":
            operand = re.search(r"(%?[\w.\-]+)\)", rest).group(1)
            yield place, kind, started[operand], result
            continue
        group = _group_size(rest, chips)
        if part == "-start":  # The type of its result also holds the operand.
            started[name] = group
        else:
            yield place, kind, group, result


def _group_size(attributes: str, chips: int) -> int:
    """Chips in a replica group, in each of the ways in which HLO writes groups."""
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return match.group(1).count(",") + 1
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes):
        return int(match.group(1))
    if match := re.search(r"replica_groups=mesh\[(.*?)\][^{]*\{(.*?)\}", attributes):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match.group(1)))
        # 'a' is a whole axis, 'a':(2)4 the four of it that follow two.
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match.group(2))
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return chips


def _array_bytes(result: str) -> int:
    """Bytes of all arrays in the text of a type, padding left out."""
    total = 0
    for dtype, shape in _ARRAY.findall(result):
        bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype).group())
        total += math.prod(int(side) for side in shape.split(",") if side) * bits // 8
    return total


def sent_bytes(collective: Collective) -> float:
    """Bytes that each chip sends when the collective goes around a ring."""
    share = (collective.group - 1) / collective.group
    if collective.kind == "all-reduce":
        return 2 * share * collective.bytes  # Reduce-scatter, then all-gather.
    if collective.kind in ("collective-permute", "collective-broadcast"):
        return float(collective.bytes) if collective.group > 1 else 0.0
    return share * collective.bytes
