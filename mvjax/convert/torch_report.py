"""Says what became of the tensors of a file: a table for the user, or one error."""

import dataclasses
import math
from typing import NamedTuple

from mvjax.core import errors
from mvjax.core import text


class Match(NamedTuple):
    """One PyTorch tensor that found its place."""

    torch: str
    flax: str
    layout: str
    shape: tuple[int, ...]  # The shape in the PyTorch file.


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of every tensor of a file."""

    matched: list[Match]
    tied: list[tuple[str, ...]]  # Groups of keys that filled one leaf.
    ignored: list[str]  # Keys that an `ignore` pattern names.
    absent: list[str]  # Counters that files from before PyTorch 0.4.1 lack.

    def text(self) -> str:
        """An aligned table, one line for each key, and a summary."""
        rows = [(m.torch, m.flax, m.layout, str(m.shape)) for m in self.matched]
        rows.insert(0, ("torch", "flax", "layout", "shape"))
        lines = text.align(rows)
        lines += [f"tied: {' = '.join(names)}" for names in self.tied]
        lines += [f"ignored: {name}" for name in self.ignored]
        if self.absent:
            lines.append(
                f"{len(self.absent)} counters num_batches_tracked start at 0: the file "
                "has none, like those that PyTorch wrote before 0.4.1."
            )
        shapes = {m.flax: m.shape for m in self.matched}
        numbers = sum(math.prod(shape) for shape in shapes.values())
        lines.append(
            f"{len(self.matched)} keys -> {len(shapes)} leaves, {numbers:,} numbers, "
            f"{len(self.tied)} tied, {len(self.ignored)} ignored."
        )
        return "\n".join(lines)


class Problems:
    """Everything that does not fit, gathered so that one error can tell all of it."""

    def __init__(self) -> None:
        self._culprits: dict[str, list[str]] = {}

    def add(self, kind: str, culprit: str) -> None:
        self._culprits.setdefault(kind, []).append(culprit)

    def raise_any(self, headline: str) -> None:
        """Raises one `UserError` for all problems, or returns if there are none."""
        if not self._culprits:
            return
        parts = []
        for kind, culprits in self._culprits.items():
            parts.append(f"{len(culprits)} {kind}: {errors.listed(culprits)}")
        raise errors.UserError(f"{headline}: {'; '.join(parts)}.")
