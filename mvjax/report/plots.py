"""Pictures of a run, each a matplotlib `Figure`; no state of pyplot is touched."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mvjax.report import grids
from mvjax.report import lettering
from mvjax.report import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2  # Inches of every figure.
INK = "#333333"
MUTED = "#8a8a8a"
GRID = "#e4e4e4"
ACCENT = "#2f6db3"
PALE = "#a9c4e2"
NEUTRAL = 0.55  # Grey around images, so that black and white edges both show.
MOST_IMAGES = 16
MOST_TSNE = 2000
LARGEST = 1e30  # Beyond it axes and sums overflow.
_MOST_COLOURS = 20  # Beyond that a colour bar takes the place of the legend.


def curves(
    history: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> "Figure":
    """One small panel for each curve; long noisy curves get a running mean on top.

    Args:
      history: `{name: (steps [T], values [T])}`; values that are not finite leave gaps.
    """
    columns = min(3, max(1, len(history)))
    rows = max(1, -(-len(history) // columns))
    figure = make_figure(1.75 * rows + 0.15)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(history) :]:
        panel.set_axis_off()
    for panel, (name, (steps, values)) in zip(panels, history.items(), strict=False):
        _curve(panel, np.asarray(steps, float), drawable(values))
        panel.set_title(lettering.plain(name, 36), fontsize=8, color=INK, loc="left")
        panel.set_xlabel("step", fontsize=7, color=MUTED)
    return figure


def learning_rate(
    steps: Sequence[float], values: Sequence[float], *, title: str = "learning rate"
) -> "Figure":
    """The learning rate over the steps, `[T]` each."""
    figure = make_figure(2.2)
    panel = figure.subplots()
    panel.plot(np.asarray(steps), np.asarray(values), color=ACCENT, linewidth=1.4)
    _tidy(panel)
    panel.set_ylim(bottom=0)
    panel.set_title(lettering.plain(title), fontsize=9, color=INK, loc="left")
    panel.set_xlabel("step", fontsize=8, color=MUTED)
    return figure


def range_test(points: Sequence[Sequence[float]], chosen: float) -> "Figure":
    """The loss over the learning rate that each step of a range test had.

    Args:
      points: Rate, loss and smoothed loss of each step.
      chosen: The rate that was suggested.
    """
    rates, losses, smoothed = drawable(points).T
    figure = make_figure(2.4)
    panel = figure.subplots()
    panel.plot(rates, losses, color=PALE, linewidth=0.7)
    panel.plot(rates, smoothed, color=ACCENT, linewidth=1.4)
    panel.axvline(chosen, color=INK, linewidth=0.9, linestyle="--")
    panel.set_xscale("log")
    label_panel(panel, f"chosen: {chosen:.3g}", "learning rate", "loss")
    return figure


def reconstructions(
    inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> "Figure":
    """For each view a row of inputs above a row of their reconstructions.

    Args:
      inputs: `[N, H, W, C]` for each view, uint8 or floats; the first 16 are shown. The
        range of floats outside [0, 1] is stretched to it.
      outputs: The same views and shapes; clipped to the range of the inputs. Views that
        only one of both has are left out.
    """
    views = [view for view in inputs if view in outputs]
    rows = {view: _image_rows(inputs[view], outputs[view]) for view in views}
    names = {view: lettering.plain(view) for view in views}
    left = lettering.width([*names.values(), "reconstruction"], 8, WIDTH / 2)
    width = WIDTH - left - 0.05
    sizes = {}  # Inches, width first; few images are not blown up.
    for view, row in rows.items():
        shown = min(len(inputs[view]), MOST_IMAGES)
        wide = width * min(1.0, shown / 8)
        sizes[view] = (wide, wide * row.shape[0] / row.shape[1])
    figure = make_figure(
        sum(high + 0.12 for _, high in sizes.values()) + 0.02, layout=None
    )
    top = 0.07
    for view, row in rows.items():
        wide, high = sizes[view]
        panel = _panel(figure, left, top, wide, high)
        panel.imshow(row, interpolation="nearest", vmin=0, vmax=1, aspect="auto")
        panel.set_yticks([row.shape[0] * 0.25, row.shape[0] * 0.75])
        panel.set_yticklabels([names[view], "reconstruction"], fontsize=8, color=INK)
        panel.set_xticks([])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        top += high + 0.12
    return figure


def scatter(
    codes: np.ndarray,
    labels: np.ndarray,
    title: str,
    *,
    names: Sequence[str] | None = None,
) -> "Figure":
    """Codes in the plane, one colour a class.

    Args:
      codes: `[N, D]`; more than two columns are reduced, by t-SNE with a fixed seed for
        up to 2000 samples, else by principal components. Rows that are not finite are
        left out.
      labels: `[N]` integers; -1 is unknown and grey.
      title: Stands above the picture, followed by the way of reduction.
      names: Names of the classes 0, 1, ...
    """
    import matplotlib

    codes = drawable(codes).reshape(len(codes), -1)
    known = np.isfinite(codes).all(axis=1)
    points, way = _plane(codes[known])
    labels = np.asarray(labels)[known]
    classes = [int(k) for k in np.unique(labels) if k >= 0]
    figure = make_figure(5.4)
    panel = figure.subplots()
    size = float(np.clip(9000 / max(1, len(points)), 5, 30))
    style = {"s": size, "linewidths": 0, "alpha": 0.8}
    unknown = labels < 0
    named = []
    if unknown.any():
        marks = panel.scatter(*points[unknown].T, color=MUTED, **style)
        named.append(("unknown", marks))
    if len(classes) > _MOST_COLOURS:
        marks = panel.scatter(
            *points[~unknown].T, c=labels[~unknown], cmap="nipy_spectral", **style
        )
        bar = figure.colorbar(marks, ax=panel, shrink=0.7)
        bar.set_label("class", fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7, colors=MUTED)
    else:
        colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "tab20"]
        for i, k in enumerate(classes):
            marks = panel.scatter(*points[labels == k].T, color=colours(i), **style)
            named.append((names[k] if names and k < len(names) else str(k), marks))
        _legend(figure, named)
    title = f"{lettering.plain(title, 60)} ({way})"
    panel.set_title(title, fontsize=9, color=INK, loc="left")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_color(GRID)
    return figure


def comparison(
    metrics: Mapping[str, Mapping[str, float]],
) -> "Figure":
    """Bars of all metrics for each feature, with deviations; baselines are grey.

    Scores of numbered classes have pictures of their own.

    Args:
      metrics: Scores by evaluator, see `tables`. One row of panels for each evaluator,
        at most four metrics side by side.
    """
    built = {k: tables.build(tables.split_numbered(v)[0]) for k, v in metrics.items()}
    built = {name: table for name, table in built.items() if table.rows}
    bands = [
        (name, table, table.columns[i : i + 4])
        for name, table in built.items()
        for i in range(0, len(table.columns), 4)
    ]
    figure = make_figure(
        sum(0.23 * len(table.rows) + 0.62 for _, table, _ in bands) + 0.02, layout=None
    )
    rows = {lettering.plain(row) for _, table, _ in bands for row in table.rows}
    names = {lettering.plain(name) for name in built}
    left = max(
        lettering.width(rows, 7.5, WIDTH / 2),
        lettering.width(names, 9.5, WIDTH / 2),  # Bold letters are wider.
    )
    top = 0.28
    for name, table, columns in bands:
        step = (WIDTH - left) / min(len(table.columns), 4)
        high = 0.23 * len(table.rows)
        figure.text(
            (left - 0.08) / WIDTH,
            1 - (top - 0.08) / figure.get_figheight(),
            lettering.plain(name),
            ha="right",
            fontsize=8.5,
            fontweight="bold",
            color=INK,
        )
        for i, column in enumerate(columns):
            panel = _panel(figure, left + i * step, top, step - 0.2, high)
            _bars(panel, table, column)
            panel.set_title(
                lettering.plain(column, 24), fontsize=8, color=INK, loc="left"
            )
            panel.tick_params(axis="y", labelleft=not i, length=0)
        top += high + 0.62
    return figure


def drawable(values: Any) -> np.ndarray:
    """The values as float64, with NaN for those that no axis can show."""
    values = np.asarray(values, np.float64)
    return np.where(np.abs(values) < LARGEST, values, np.nan)


def make_figure(height: float, *, layout: str | None = "constrained") -> "Figure":
    """An empty figure of the common width, height in inches, with a white ground."""
    from matplotlib import figure as figure_lib
    from matplotlib.backends import backend_agg

    figure = figure_lib.Figure(
        figsize=(WIDTH, max(height, 0.5)), layout=layout, facecolor="white"
    )
    backend_agg.FigureCanvasAgg(figure)
    return figure


def label_panel(
    panel: "Axes", title: str, x: str, y: str, *, grid: bool = True
) -> None:
    """Gives a panel the common look and its texts: title and names of the axes."""
    if grid:
        panel.grid(color=GRID, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panel.spines[:].set_color(MUTED)
    panel.tick_params(labelsize=7, colors=MUTED, length=2)
    panel.set_title(lettering.plain(title), fontsize=8.5, color=INK, loc="left")
    panel.set_xlabel(lettering.plain(x), fontsize=7.5, color=MUTED)
    panel.set_ylabel(lettering.plain(y), fontsize=7.5, color=MUTED)


def _panel(
    figure: "Figure", left: float, top: float, width: float, height: float
) -> "Axes":
    """Axes at a place given in inches from the upper left corner."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes(
        (
            left / full_width,
            1 - (top + height) / full_height,
            width / full_width,
            height / full_height,
        )
    )


def _tidy(panel: "Axes") -> None:
    """Light grid, no box."""
    panel.grid(color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(MUTED)
    panel.tick_params(labelsize=7, colors=MUTED, length=2)
    panel.yaxis.get_offset_text().set(fontsize=7, color=MUTED)
    panel.xaxis.get_offset_text().set(fontsize=7, color=MUTED)


def _curve(panel: "Axes", steps: np.ndarray, values: np.ndarray) -> None:
    """Draws one curve, logarithmic where it spans more than two decades."""
    from matplotlib import ticker

    _tidy(panel)
    panel.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    if len(set(steps)) == 1:  # Of values at one step the last one is shown.
        panel.plot(steps[-1:], values[-1:], "o", color=ACCENT, markersize=4)
        panel.set_xticks(steps[:1])
        return
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    wide = finite.min() > 0 and finite.max() > 100 * finite.min()
    window = max(1, len(values) // 25)
    kernel = np.ones(window) / window
    trend = np.convolve(values, kernel, "valid")
    middle = np.convolve(steps, kernel, "valid")
    seen = np.log if wide else np.asarray  # What the eye compares.
    apart = seen(np.interp(middle, steps, values)) - seen(trend)
    apart = apart[np.isfinite(apart)]
    if window > 1 and len(apart) and apart.std() > 0.005 * np.ptp(seen(finite)):
        panel.plot(steps, values, color=PALE, linewidth=0.7)
        panel.plot(middle, trend, color=ACCENT, linewidth=1.3)
    else:
        panel.plot(steps, values, color=ACCENT, linewidth=1.3)
    if wide:
        panel.set_yscale("log")
    else:
        panel.yaxis.set_major_locator(ticker.MaxNLocator(4))


def _bars(panel: "Axes", table: tables.Table, column: str) -> None:
    """Draws one metric of all features, the first on top."""
    places = np.arange(len(table.rows))
    colours = [MUTED if tables.is_baseline(row) else ACCENT for row in table.rows]
    cells = [table.cells.get((row, column)) for row in table.rows]
    means = drawable([cell.mean if cell else np.nan for cell in cells])
    spread = drawable([(cell.std if cell else None) or 0.0 for cell in cells])
    panel.barh(places, means, color=colours, height=0.68)
    shown = [i for i, value in enumerate(spread) if value > 0]
    panel.errorbar(
        means[shown],
        places[shown],
        xerr=spread[shown],
        fmt="none",
        ecolor=INK,
        elinewidth=0.9,
        capsize=2,
    )
    finite = np.nan_to_num(means)
    within = column not in tables.LOWER_IS_BETTER and 0 <= finite.min() <= 1
    if within and finite.max() <= 1:
        panel.set_xlim(0, 1.02)
        panel.set_xticks([0, 0.5, 1])
    _tidy(panel)
    panel.set_yticks(
        places, [*map(lettering.plain, table.rows)], fontsize=7.5, color=INK
    )
    panel.set_ylim(len(table.rows) - 0.4, -0.6)
    panel.grid(visible=False, axis="y")


def _image_rows(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Two rows of images on grey, `[2 rows, columns, 3]` floats in [0, 1]."""
    inputs, outputs = inputs[:MOST_IMAGES], outputs[:MOST_IMAGES]
    scale = _stretcher(inputs)
    images = np.concatenate([_visible(scale(inputs)), _visible(scale(outputs))])
    padding = max(1, images.shape[2] // 16)
    return grids.grid(images, columns=len(inputs), padding=padding, value=NEUTRAL)


def _stretcher(inputs: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A map from the range of the inputs to [0, 1] that clips."""
    low, high = 0.0, 1.0
    if inputs.dtype != np.uint8:
        finite = drawable(inputs)
        finite = finite[np.isfinite(finite)]
        low, high = finite.min(initial=low), finite.max(initial=high)

    def scale(images: np.ndarray) -> np.ndarray:
        unit = 255.0 if images.dtype == np.uint8 else 1.0
        return np.clip((drawable(images) / unit - low) / (high - low), 0, 1)

    return scale


def _visible(images: np.ndarray) -> np.ndarray:
    """Images as grey or RGB; other numbers of channels are averaged, `[N, H, W, 3]`."""
    if images.shape[3] != 3:
        images = images.mean(axis=3, keepdims=True)
        images = np.repeat(images, 3, axis=3)
    return images


def _plane(codes: np.ndarray) -> tuple[np.ndarray, str]:
    """Reduces codes to `[N, 2]`, and says how."""
    number, width = codes.shape
    if width == 2:
        return codes, "both dimensions"
    if not width:
        return np.zeros((number, 2)), "no dimension"
    if width == 1 or number < 3:
        spread = np.random.default_rng(0).uniform(-1, 1, number)
        return np.stack([codes[:, 0], spread], axis=1), "one dimension, spread out"
    if not np.ptp(codes, axis=0).any():
        return np.zeros((number, 2)), "all are the same"
    codes = codes - codes.mean(axis=0)  # Scaled, as squares of what is tiny vanish.
    codes = np.float32(codes / np.abs(codes).max())
    if 50 < number <= MOST_TSNE:
        from sklearn import manifold
        import threadpoolctl

        perplexity = float(np.clip(number / 50, 15, 30))
        reducer: Any = manifold.TSNE(
            2, perplexity=perplexity, init="pca", random_state=0
        )
        # Its threads wait in busy loops; on shared cores that costs tenfold.
        with threadpoolctl.threadpool_limits(1):
            return reducer.fit_transform(codes), "t-SNE"
    from sklearn import decomposition

    points = decomposition.PCA(2, random_state=0).fit_transform(codes)
    return points, "principal components"


def _legend(figure: "Figure", named: Sequence[tuple[str, Any]]) -> None:
    """Puts the legend below the panel, in as many columns as its names allow."""
    if len(named) < 2:
        return
    names = [lettering.plain(name) for name, _ in named]
    handles = [marks for _, marks in named]
    longest = max(map(len, names))
    legend = figure.legend(
        handles,
        ["" for _ in names],
        loc="outside lower center",
        ncols=int(np.clip(90 // (longest + 5), 1, 10)),
        fontsize=8,
        labelcolor=INK,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
        markerscale=float(np.sqrt(36 / handles[0].get_sizes()[0])),
    )
    # Names that begin with `_` matplotlib leaves out, unless they come later.
    for shown, name in zip(legend.get_texts(), names, strict=True):
        shown.set_text(name)
