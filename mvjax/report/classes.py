"""Pictures of scores by class: confusion matrices, bars, and maps of classes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mvjax.evaluators.common import palette
from mvjax.evaluators.common import visible
from mvjax.report import lettering
from mvjax.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NUMBERED = 12  # Classes whose cells hold their shares.
_MOST_NAMED = 40  # Classes that have their names at the axes.
_MOST_VIEWS = 3


def confusion(counts: np.ndarray, names: Sequence[str] | None = None) -> "Figure":
    """Shares of each true class, a row, that were taken for each class.

    Args:
      counts: `[K, K]`, rows are the truth.
      names: Of the classes; None: their numbers.
    """
    size = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = plots.make_figure(min(6.4, 1.6 + 0.42 * size))
    panel = figure.subplots()
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    named = [lettering.plain(str(n), 18) for n in (names or range(size))]
    if size <= _MOST_NAMED:
        panel.set_xticks(range(size), named, rotation=90, fontsize=7)
        panel.set_yticks(range(size), named, fontsize=7)
    if size <= _MOST_NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else plots.INK
            text = f"{100 * share:.0f}"
            panel.text(
                column, row, text, ha="center", va="center", fontsize=7, color=colour
            )
    panel.set_xlabel("guess", fontsize=8, color=plots.MUTED)
    panel.set_ylabel("truth", fontsize=8, color=plots.MUTED)
    bar = figure.colorbar(image, ax=panel, shrink=0.7)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("share of the true class", fontsize=7, color=plots.MUTED)
    return figure


def bars(
    values: np.ndarray,
    *,
    chance: np.ndarray,
    mean: float | None,
    what: str,
    names: Sequence[str] = (),
) -> "Figure":
    """A bar for each class, with a dot at its share of the data.

    Args:
      values: `[K]` in [0, 1], NaN for a class that has none.
      chance: `[K]`, how frequent the classes are.
      mean: Is drawn as a dashed line.
      what: Name of the values.
      names: Of the classes; (): their numbers.
    """
    figure = plots.make_figure(2.6)
    panel = figure.subplots()
    places = np.arange(len(values))
    panel.bar(places, np.nan_to_num(values), color=plots.ACCENT, width=0.7)
    panel.plot(
        places, chance, "D", color="#d9822b", markersize=3, label="share of the data"
    )
    if mean is not None:
        panel.axhline(mean, color=plots.MUTED, linestyle="--", label=f"mean {mean:.3f}")
    panel.set_ylim(0, 1.02)
    if len(values) <= _MOST_NAMED:
        named = [lettering.plain(names[i] if names else str(i), 18) for i in places]
        panel.set_xticks(places, named, fontsize=7, rotation=90 if names else 0)
    panel.tick_params(labelsize=7)
    panel.set_xlabel("class", fontsize=8, color=plots.MUTED)
    panel.set_ylabel(what, fontsize=8, color=plots.MUTED)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=2, fontsize=7, frameon=False)
    return figure


def maps(
    images: Mapping[str, np.ndarray],
    truth: np.ndarray,
    guess: np.ndarray,
    classes: int,
    *,
    ignore: int,
    channels: Mapping[str, Sequence[str]] | None = None,
) -> "Figure":
    """A row for each image: its views, the true map, the guess.

    Args:
      images: Views `[N, H, W, C]` by name; at most three are shown, each stretched to its values.
      truth: `[N, H, W]` classes.
      guess: `[N, h, w]` classes.
      classes: K.
      ignore: The value of truths that are not known, which stay white.
      channels: Names of the views' channels, where they have some.
    """
    import matplotlib

    views = dict(list(images.items())[:_MOST_VIEWS])
    columns, rows = len(views) + 2, len(truth)
    figure = plots.make_figure(rows * plots.WIDTH / columns / 1.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    unknown = np.ma.masked_equal(truth, ignore)
    colours = matplotlib.colors.ListedColormap(palette.colours(classes) / 255)
    for i, line in enumerate(panels):
        for panel, (name, view) in zip(line, views.items()):
            image = visible.visible(view[i], (channels or {}).get(name, ()))
            panel.imshow(image, interpolation="nearest")
        for panel, found in zip(line[len(views) :], (unknown[i], guess[i])):
            panel.imshow(
                found,
                cmap=colours,
                vmin=-0.5,
                vmax=classes - 0.5,
                interpolation="nearest",
            )
        for panel in line:
            panel.set_axis_off()
    for panel, title in zip(panels[0], [*views, "truth", "guess"]):
        panel.set_title(title, fontsize=8, color=plots.INK)
    return figure
