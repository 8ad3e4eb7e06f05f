"""How one kind of published file names what a method holds."""

from collections.abc import Iterator, Sequence
import dataclasses

from mvjax.convert import torch_map

PARTS = ":"  # Between the name of a part of a file and a key of its state dict.


@dataclasses.dataclass(frozen=True)
class Table:
    """A kind of published file; iterating gives its leaves.

    A file may hold several state dicts, `{"encoder": {...}, "classifier": {...}}`. Their
    keys are `encoder:conv1.weight` and `classifier:weight` then, in the leaves' names as
    in what `files.load` gives.

    Attributes:
      leaves: One for each parameter and statistic that the file has a place for.
      ignore: Patterns of the file's other keys, which are left out on purpose.
      inside: Name of the part in which all of it lies when it is written; "": the file
        is the state dict.
    """

    leaves: Sequence[torch_map.Leaf]
    ignore: tuple[str, ...] = ()
    inside: str = ""

    def __iter__(self) -> Iterator[torch_map.Leaf]:
        return iter(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)

    @property
    def parted(self) -> bool:
        """Whether the file holds its state dict, or several, under names of their own."""
        names = (name for leaf in self.leaves for name in leaf.torch_names)
        return bool(self.inside) or any(PARTS in name for name in names)

    def outside(self) -> "Table":
        """The table with the keys as they stand in a file of several parts."""
        if not self.inside:
            return self
        return Table(*_prefixed(self, f"{self.inside}{PARTS}"))

    def nest(self, *, flax: str = "", torch: str = "", part: str = "") -> "Table":
        """The table of a whole whose part this one is.

        Args:
          flax: Path of the part in the Flax model, see `torch_map.nest`.
          torch: Path of the part in the PyTorch model.
          part: Name of the state dict in a file of several.
        """
        leaves, ignore = _prefixed(self, f"{torch}." if torch else "")
        nested = Table(torch_map.nest(leaves, flax=flax), ignore, self.inside)
        return Table(*_prefixed(nested, f"{part}{PARTS}")) if part else nested


def _prefixed(
    table: Table, prefix: str
) -> tuple[list[torch_map.Leaf], tuple[str, ...]]:
    """Leaves and patterns with something before all keys."""
    leaves = [
        leaf._replace(torch_names=tuple(prefix + name for name in leaf.torch_names))
        for leaf in table.leaves
    ]
    return leaves, tuple(prefix + pattern for pattern in table.ignore)


def join(*tables: Table, ignore: tuple[str, ...] = ()) -> Table:
    """One table of what several describe."""
    leaves = [leaf for table in tables for leaf in table.leaves]
    patterns = [pattern for table in tables for pattern in table.ignore]
    return Table(leaves, (*patterns, *ignore))
