"""Pictures of scores by class: confusion matrices, bars, and maps of classes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
    values: np.ndarray, *, chance: np.ndarray, mean: float | None, what: str
) -> "Figure":
    """A bar for each class, with a dot at its share of the data.

    Args:
      values: `[K]` in [0, 1], NaN for a class that has none.
      chance: `[K]`, how frequent the classes are.
      mean: Is drawn as a dashed line.
      what: Name of the values.
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
        panel.set_xticks(places, [str(i) for i in places], fontsize=7)
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
) -> "Figure":
    """A row for each image: its views, the true map, the guess.

    Args:
      images: Views `[N, H, W, C]` by name; at most three are shown, each stretched to its values.
      truth: `[N, H, W]` classes.
      guess: `[N, h, w]` classes.
      classes: K.
      ignore: The value of truths that are not known, which stay white.
    """
    views = dict(list(images.items())[:_MOST_VIEWS])
    columns, rows = len(views) + 2, len(truth)
    figure = plots.make_figure(rows * plots.WIDTH / columns / 1.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    unknown = np.ma.masked_equal(truth, ignore)
    for i, line in enumerate(panels):
        for panel, view in zip(line, views.values()):
            panel.imshow(_visible(view[i]), interpolation="nearest")
        for panel, found in zip(line[len(views) :], (unknown[i], guess[i])):
            panel.imshow(
                found,
                cmap="tab20",
                vmin=0,
                vmax=max(classes - 1, 1),
                interpolation="nearest",
            )
        for panel in line:
            panel.set_axis_off()
    for panel, title in zip(panels[0], [*views, "truth", "guess"]):
        panel.set_title(title, fontsize=8, color=plots.INK)
    return figure


def _visible(image: np.ndarray) -> np.ndarray:
    """An image `[H, W, C]` as `[H, W, 3]` in [0, 1]: its first three channels, or one."""
    image = plots.drawable(image[..., : 3 if image.shape[-1] >= 3 else 1])
    low, high = np.nanmin(image), np.nanmax(image)
    image = np.nan_to_num((image - low) / max(high - low, 1e-12))
    return np.broadcast_to(image, (*image.shape[:2], 3))
