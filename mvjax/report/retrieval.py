"""Pictures of what codes hold: nearest neighbours, and codes against factors.

All are matplotlib `Figure`s or arrays; no state of pyplot is touched.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mvjax.report import lettering
from mvjax.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

# Blue and orange, which colour-blind readers tell apart.
AGREES = (0.184, 0.427, 0.702)
DIFFERS = (0.878, 0.478, 0.125)
QUERY = (0.2, 0.2, 0.2)
GROUND = (1.0, 1.0, 1.0)
_UNTRAINED = "untrained:"
_CHANCE = "chance"
_CELL = 0.5  # Inches of a row of the matrix.


class Matrix(NamedTuple):
    """How well each code tells each factor; NaN where a pair was not measured."""

    codes: tuple[str, ...]
    factors: tuple[str, ...]
    accuracy: np.ndarray  # [codes, factors]
    chance: np.ndarray  # [codes, factors]
    untrained: np.ndarray  # [codes, factors], NaN where there is no such baseline.


def read_matrix(scores: Mapping[str, float], probe: str = "logistic") -> Matrix | None:
    """Finds the matrix in the scores of a leakage evaluator.

    Args:
      scores: `<code>/<factor>/<probe>` and `<code>/<factor>/chance`, the same below
        `untrained:<code>` as baselines; others are passed over.
      probe: Whose accuracies to take.

    Returns:
      Codes and factors in the order of the scores, or None if there is no such score.
    """
    ending = f"/{probe}"
    cells = [key.removesuffix(ending) for key in scores if key.endswith(ending)]
    cells = [cell for cell in cells if f"{cell}/{_CHANCE}" in scores and "/" in cell]
    places = {cell: cell.rpartition("/")[::2] for cell in cells}
    codes = tuple(dict.fromkeys(code for code, _ in places.values()))
    # An untrained code is small print of the trained one, and a row of its own where
    # only it was measured.
    codes = tuple(
        c
        for c in codes
        if not c.startswith(_UNTRAINED) or c.removeprefix(_UNTRAINED) not in codes
    )
    if not codes:
        return None
    factors = tuple(
        dict.fromkeys(factor for code, factor in places.values() if code in codes)
    )

    def look_up(prefix: str, score: str) -> np.ndarray:
        keys = [[f"{prefix}{code}/{f}/{score}" for f in factors] for code in codes]
        found = [[scores.get(key, np.nan) for key in row] for row in keys]
        return plots.drawable(found)

    return Matrix(
        codes,
        factors,
        look_up("", probe),
        look_up("", _CHANCE),
        look_up(_UNTRAINED, probe),
    )


def leakage_matrix(
    matrix: Matrix, *, title: str = "", wanted: Collection[str] = ()
) -> "Figure":
    """A heat map of codes against factors, dark where a code tells a factor.

    Each cell shows the accuracy and, below it in small print, chance and the accuracy
    without training. The colour is the accuracy above chance, white at chance.

    Args:
      matrix: See `read_matrix`.
      title: Stands above the picture.
      wanted: Pairs `"code:factor"` that get a frame.
    """
    import matplotlib

    codes, factors = matrix.codes, matrix.factors
    shown = [lettering.plain(code) for code in codes]
    left = lettering.width(shown, 8, plots.WIDTH / 2)
    wide = min(1.25, (plots.WIDTH - left - 0.05) / len(factors))
    top, high = (0.6 if title else 0.35), _CELL * len(codes)
    figure = plots.make_figure(top + high + 0.05, layout=None)
    height = figure.get_figheight()
    panel = figure.add_axes(
        (
            left / plots.WIDTH,
            0.05 / height,
            wide * len(factors) / plots.WIDTH,
            high / height,
        )
    )
    free = np.where(matrix.chance < 1, 1 - matrix.chance, 1)
    shade = np.clip((matrix.accuracy - matrix.chance) / free, 0, 1)
    colours = matplotlib.colormaps["Blues"](0.85 * np.nan_to_num(shade))
    colours[~np.isfinite(shade)] = (0.93, 0.93, 0.93, 1)
    panel.imshow(colours, aspect="auto", interpolation="nearest")
    for i, code in enumerate(codes):
        for j, factor in enumerate(factors):
            ink = "white" if shade[i, j] > 0.65 else plots.INK
            style = {"color": ink, "ha": "center", "va": "center"}
            accuracy = _number(matrix.accuracy[i, j])
            panel.text(j, i - 0.2, accuracy, fontsize=9, **style)
            small = f"chance {_number(matrix.chance[i, j])}"
            if np.isfinite(matrix.untrained[i, j]):
                small += f"\nuntrained {_number(matrix.untrained[i, j])}"
            panel.text(j, i + 0.2, small, fontsize=5.5, linespacing=1.1, **style)
            if f"{code}:{factor}" in wanted:
                panel.add_patch(_frame(j, i))
    panel.set_yticks(range(len(codes)), shown, fontsize=8, color=plots.INK)
    shown = [lettering.plain(factor, 20) for factor in factors]
    panel.set_xticks(range(len(factors)), shown, fontsize=8, color=plots.INK)
    panel.xaxis.tick_top()
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    _title(figure, title)
    return figure


def neighbour_canvas(
    queries: np.ndarray,
    neighbours: np.ndarray,
    agrees: np.ndarray,
    *,
    border: int | None = None,
) -> np.ndarray:
    """Pixels of a grid: a query and its neighbours in each row, all framed.

    Args:
      queries: `[Q, H, W, C]`, uint8 or floats; floats outside [0, 1] are stretched to
        it, and other numbers of channels than three averaged.
      neighbours: `[Q, K, H', W', C']`, nearest first; the smaller of two sizes is
        centred.
      agrees: Whether a neighbour shares the query's class, `[Q, K]` bool.
      border: Pixels of a frame and of the gaps; None: a fourteenth of the height.

    Returns:
      `[Q * (H + 3 border) - border, (K + 1) * (W + 3 border), 3]` floats in [0, 1] with
      H and W the greater of both; the queries stand two gaps apart from the neighbours.
    """
    flat = neighbours.reshape(-1, *neighbours.shape[2:])
    height = max(queries.shape[1], flat.shape[1])
    width = max(queries.shape[2], flat.shape[2])
    pictures = _shown(flat).reshape(*agrees.shape, *flat.shape[1:3], 3)
    rows = [
        [_Cell(query, QUERY), *map(_judged, found, same)]
        for query, found, same in zip(_shown(queries), pictures, agrees, strict=True)
    ]
    return _canvas(rows, (height, width), border)


def swap_canvas(
    rows: np.ndarray,
    columns: np.ndarray,
    found: np.ndarray,
    agrees: np.ndarray,
    *,
    border: int | None = None,
) -> np.ndarray:
    """Pixels of a table: what was found for each pair of a row's and a column's image.

    Args:
      rows: Images to the left, `[R, H, W, C]`, see `neighbour_canvas`.
      columns: Images above, `[K, H, W, C]`.
      found: Images in the cells, `[R, K, H, W, C]`.
      agrees: Whether a cell is what was asked for, `[R, K]` bool.
      border: See `neighbour_canvas`.

    Returns:
      `[(R + 1) * (H + 3 border), (K + 1) * (W + 3 border), 3]` floats in [0, 1].
    """
    pictures = _shown(found.reshape(-1, *found.shape[2:]))
    pictures = pictures.reshape(*agrees.shape, *pictures.shape[1:])
    table = [[None, *(_Cell(image, QUERY) for image in _shown(columns))]]
    for image, near, same in zip(_shown(rows), pictures, agrees, strict=True):
        table.append([_Cell(image, QUERY), *map(_judged, near, same)])
    return _canvas(table, rows.shape[1:3], border)


class _Cell(NamedTuple):
    image: np.ndarray  # [H, W, 3]
    frame: tuple[float, float, float]


def _judged(image: np.ndarray, agrees: bool) -> _Cell:
    return _Cell(image, AGREES if agrees else DIFFERS)


def _canvas(
    rows: Sequence[Sequence[_Cell | None]], size: tuple[int, int], border: int | None
) -> np.ndarray:
    """Framed images in rows and columns; the first column stands a gap apart.

    So does the first row where it begins with an empty cell.
    """
    height, width = size
    border = max(1, height // 14) if border is None else border
    step_y, step_x = height + 3 * border, width + 3 * border
    apart = border if rows[0][0] is None else 0
    shape = (len(rows) * step_y - border + apart, len(rows[0]) * step_x, 3)
    canvas = np.full(shape, GROUND, np.float32)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if cell is None:
                continue
            image = cell.image
            y, x = i * step_y + (apart if i else 0), j * step_x + (border if j else 0)
            canvas[y : y + height + 2 * border, x : x + width + 2 * border] = cell.frame
            y += border + (height - image.shape[0]) // 2
            x += border + (width - image.shape[1]) // 2
            canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


def neighbours(
    queries: np.ndarray,
    found: np.ndarray,
    agrees: np.ndarray,
    *,
    title: str = "",
    names: Sequence[str] | None = None,
) -> "Figure":
    """A row for each query: its image, then those of its nearest neighbours.

    Args:
      queries: Images, `[Q, H, W, C]`, see `neighbour_canvas`.
      found: Images of the neighbours, nearest first, `[Q, K, H', W', C']`.
      agrees: Whether a neighbour shares the query's class, `[Q, K]` bool.
      title: Stands above the picture, with a key to the frames.
      names: What stands to the left of each row, such as the class of the query.
    """
    canvas = neighbour_canvas(queries, found, agrees)
    row = canvas.shape[0] / len(agrees)
    key = (("query", QUERY), ("same class", AGREES), ("another class", DIFFERS))
    places = [row * (i + 0.5) for i in range(len(agrees))]
    return _draw(canvas, agrees.shape[1] + 1, title, key, names or [], places)


def swaps(
    rows: np.ndarray,
    columns: np.ndarray,
    found: np.ndarray,
    agrees: np.ndarray,
    *,
    title: str = "",
) -> "Figure":
    """A table of what was found with one code of its row and another of its column.

    Args:
      rows: See `swap_canvas`, as for the next three.
      columns: Images above.
      found: Images in the cells.
      agrees: Whether a cell is what was asked for.
      title: Stands above the picture, with a key to the frames.
    """
    canvas = swap_canvas(rows, columns, found, agrees)
    key = (("asked", QUERY), ("both classes as asked", AGREES), ("not both", DIFFERS))
    return _draw(canvas, agrees.shape[1] + 1, title, key)


def _draw(
    canvas: np.ndarray,
    columns: int,
    title: str,
    key: Sequence[tuple[str, tuple[float, float, float]]],
    names: Sequence[str] = (),
    places: Sequence[float] = (),
) -> "Figure":
    """A canvas of so many columns, with the names of its rows, a title and a key."""
    names = [lettering.plain(name, 30) for name in names]
    left = lettering.width(names, 8, plots.WIDTH / 3) if names else 0.05
    wide = min(plots.WIDTH - left - 0.05, 0.75 * columns)  # Few are not blown up.
    high = wide * canvas.shape[0] / canvas.shape[1]
    figure = plots.make_figure(high + 0.6, layout=None)
    height = figure.get_figheight()
    panel = figure.add_axes(
        (left / plots.WIDTH, 0.05 / height, wide / plots.WIDTH, high / height)
    )
    panel.imshow(canvas, interpolation="nearest", vmin=0, vmax=1, aspect="auto")
    panel.set_xticks([])
    panel.set_yticks(places if names else [], names, fontsize=8, color=plots.INK)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    _title(figure, title)
    x = 0.05
    for text, colour in key:
        figure.text(
            x / plots.WIDTH, 1 - 0.44 / height, f"■ {text}", fontsize=7, color=colour
        )
        x += 0.35 + 0.065 * len(text)
    return figure


def _shown(images: np.ndarray) -> np.ndarray:
    """Images as RGB floats in [0, 1], `[N, H, W, 3]`."""
    if images.dtype == np.uint8:
        images = images.astype(np.float32) / 255
    else:
        images = plots.drawable(images)
        finite = images[np.isfinite(images)]
        low, high = finite.min(initial=0.0), finite.max(initial=1.0)
        images = (images - low) / (high - low)
    if images.shape[3] != 3:
        images = images.mean(axis=3, keepdims=True).repeat(3, axis=3)
    return images


def _frame(column: int, row: int) -> "Rectangle":
    """A frame just inside a cell of the matrix."""
    from matplotlib import patches

    corner = (column - 0.47, row - 0.47)
    style = {"fill": False, "edgecolor": DIFFERS, "linewidth": 1.6}
    return patches.Rectangle(corner, 0.94, 0.94, **style)


def _number(value: float) -> str:
    """A share with two decimals, or a dash."""
    return f"{value:.2f}" if np.isfinite(value) else "–"


def _title(figure: "Figure", title: str) -> None:
    """Writes a title into the upper left corner."""
    if title:
        figure.text(
            0.05 / plots.WIDTH,
            1 - 0.22 / figure.get_figheight(),
            lettering.plain(title, 90),
            fontsize=9,
            color=plots.INK,
        )
