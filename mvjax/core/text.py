"""Plain text: aligned columns, sizes of memory."""

from collections.abc import Collection, Sequence
from typing import Any


def align(
    rows: Sequence[Sequence[Any]], *, right: Collection[int] = (), rule: bool = False
) -> list[str]:
    """Pads the columns of rows to equal widths.

    Args:
      rows: Cells of each row, the head first if there is one; all as many.
      right: Columns whose cells stand at the right.
      rule: Whether a line of dashes follows the first row.

    Returns:
      One line for each row, two blanks between columns, none at the end.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if rule:
        cells.insert(1, ["-" * width for width in widths])
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def mebibytes(size: float) -> str:
    """A number of bytes such as `12.3 MiB`."""
    return f"{size / 2**20:.1f} MiB"
