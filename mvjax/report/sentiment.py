"""Pictures of predictions on a scale and of missing views.

All are matplotlib `Figure`s; no state of pyplot is touched.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mvjax.report import lettering
from mvjax.report import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DOTS = 3000
_GROUPS = 8  # Of samples of similar length.
_COLUMNS = 4  # Metrics beside each other in the picture of subsets.
# What a column of the picture of subsets shows, the first that there are.
_SHOWN = ("mae", "corr", "has0_acc2", "acc7", "acc2", "acc5", "accuracy", "f1")
_ROW = 0.26  # Inches.


class Subsets(NamedTuple):
    """Scores for subsets of the views; NaN where one was not defined."""

    views: tuple[str, ...]
    metrics: tuple[str, ...]
    members: np.ndarray  # [subsets, views] bool
    scores: np.ndarray  # [subsets, metrics]


def predictions(
    prediction: np.ndarray, truth: np.ndarray, *, title: str = ""
) -> "Figure":
    """Predictions over truths with the line on which they agree, and their errors.

    A second line joins the mean predictions for similar truths; it is flatter than the
    first where a model keeps to the middle. Mean error and correlation stand on top.

    Args:
      prediction: `[N]`; dots of the first 3000, everything else of all.
      truth: `[N]`.
      title: Stands above the picture.
    """
    prediction, truth = np.asarray(prediction, float), np.asarray(truth, float)
    figure = plots.make_figure(3.9)
    panel, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    ends = _ends(np.concatenate([prediction, truth]))
    panel.plot(ends, ends, color=plots.MUTED, linewidth=1, linestyle="--")
    alpha = float(np.clip(300 / max(1, len(truth)), 0.15, 0.8))
    panel.scatter(
        truth[:MOST_DOTS],
        prediction[:MOST_DOTS],
        s=9,
        linewidths=0,
        alpha=alpha,
        color=plots.ACCENT,
    )
    middle = [(truth[rows].mean(), prediction[rows].mean()) for rows in _groups(truth)]
    panel.plot(*zip(*middle), color=plots.INK, linewidth=1.3, marker="o", markersize=3)
    panel.set_xlim(ends)
    panel.set_ylim(ends)
    panel.set_aspect("equal")
    plots.label_panel(panel, title, "truth", "prediction")
    error = prediction - truth
    right.hist(error, bins=31, range=_ends(error), color=plots.PALE)
    right.axvline(0, color=plots.MUTED, linewidth=1, linestyle="--")
    score = f"MAE {np.abs(error).mean():.3f}, r {_correlation(prediction, truth):.3f}"
    plots.label_panel(right, score, "prediction - truth", "samples")
    return figure


def error_by_length(
    lengths: Mapping[str, np.ndarray], error: np.ndarray, *, title: str = ""
) -> "Figure":
    """Mean absolute error of samples of similar length, one panel a view.

    Bars are twice the standard error of a mean; the dashed line is the mean of all.

    Args:
      lengths: Frames that are not padding, `[N]` by view.
      error: Absolute errors, `[N]`.
      title: Stands above the first panel.
    """
    columns = min(3, max(1, len(lengths)))
    rows = max(1, -(-len(lengths) // columns))
    figure = plots.make_figure(2.5 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(lengths) :]:
        panel.set_axis_off()
    top = float(error.mean())
    for i, (view, values) in enumerate(lengths.items()):
        groups = _groups(np.asarray(values))
        means = [error[rows].mean() for rows in groups]
        spread = [2 * error[rows].std() / np.sqrt(len(rows)) for rows in groups]
        panels[i].axhline(error.mean(), color=plots.MUTED, linewidth=1, linestyle="--")
        panels[i].errorbar(
            [np.mean(values[rows]) for rows in groups],
            means,
            yerr=spread,
            color=plots.ACCENT,
            linewidth=1.3,
            marker="o",
            markersize=4,
            capsize=2,
        )
        top = max(top, *(m + s for m, s in zip(means, spread, strict=True)))
        heading = title if not i else ""
        plots.label_panel(panels[i], heading, f"length of {view}", "absolute error")
    for panel in panels[: len(lengths)]:
        panel.set_ylim(0, 1.06 * top or 1)
    return figure


def read_subsets(scores: Mapping[str, float]) -> Subsets | None:
    """Sorts the scores of missing views, `<view>+<view>/<metric>`, into a table.

    Returns:
      Subsets and views in the order of the scores, with at most four metrics; None if
      there are no scores.
    """
    names = list(dict.fromkeys(key.partition("/")[0] for key in scores))
    if not names:
        return None
    views = tuple(dict.fromkeys(v for name in names for v in name.split("+")))
    found = list(dict.fromkeys(key.partition("/")[2] for key in scores))
    metrics = ([m for m in _SHOWN if m in found] or found)[:_COLUMNS]
    members = [[view in name.split("+") for view in views] for name in names]
    values = [[scores.get(f"{n}/{m}", np.nan) for m in metrics] for n in names]
    shape = (len(names), len(metrics))
    return Subsets(views, tuple(metrics), np.array(members), np.reshape(values, shape))


def subsets(table: Subsets) -> "Figure":
    """A row of dots for the views of each subset, and bars of its scores.

    The dashed line is the score with all views.

    Args:
      table: See `read_subsets`.
    """
    number, columns = len(table.members), max(1, len(table.metrics))
    views = [lettering.plain(view, 30) for view in table.views]
    names_high = 0.1 + 0.075 * max(map(len, views))
    dots_wide = 0.3 * len(table.views)
    figure = plots.make_figure(_ROW * number + names_high + 0.15, layout=None)
    height = figure.get_figheight()
    bottom, high = 0.1 / height, _ROW * number / height
    panel = figure.add_axes((0.1 / plots.WIDTH, bottom, dots_wide / plots.WIDTH, high))
    y, x = np.nonzero(np.ones_like(table.members))
    panel.scatter(x, y, s=36, c=np.where(table.members.ravel(), plots.INK, plots.GRID))
    panel.set_xlim(-0.6, len(table.views) - 0.4)
    panel.set_xticks(range(len(views)), views, rotation=90, fontsize=8, color=plots.INK)
    panel.xaxis.tick_top()
    panel.set_yticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_ylim(number - 0.4, -0.6)
    left = 0.25 + dots_wide
    step = (plots.WIDTH - left) / columns
    for j, metric in enumerate(table.metrics):
        place = ((left + j * step) / plots.WIDTH, bottom)
        panel = figure.add_axes((*place, (step - 0.15) / plots.WIDTH, high))
        _score_bars(panel, table.scores[:, j], table.members.all(axis=1))
        panel.set_title(
            lettering.plain(metric, 24), fontsize=8, color=plots.INK, loc="left"
        )
    return figure


def _groups(values: np.ndarray) -> list[np.ndarray]:
    """Positions of samples in groups of similar values and about equal size, by value.

    Equal values are never divided, so there may be fewer groups than eight.
    """
    order = np.argsort(values, kind="stable")
    cuts = np.searchsorted(
        values[order],
        values[order][np.arange(1, _GROUPS) * len(values) // _GROUPS],
    )
    return [g for g in np.split(order, np.unique(cuts)) if len(g)]


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Ends of an axis that shows all values."""
    low, high = float(values.min()), float(values.max())
    least = 1e-6 * max(abs(low), abs(high))  # Less could not be told apart.
    margin = 0.04 * (high - low) if high - low > least else 0.5 + least
    return low - margin, high + margin


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r; 0 if either is constant."""
    return 0.0 if np.ptp(x) == 0 or np.ptp(y) == 0 else float(np.corrcoef(x, y)[0, 1])


def _score_bars(panel: "Axes", scores: np.ndarray, full: np.ndarray) -> None:
    """Bars `[subsets]` with their values; the full set is darker and has a line."""
    scores, places = plots.drawable(scores), np.arange(len(scores))
    colours = [plots.ACCENT if all_there else plots.PALE for all_there in full]
    panel.barh(places, scores, color=colours, height=0.72)
    finite = scores[np.isfinite(scores)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    wide = (high - low) or 1.0
    panel.set_xlim(low - 0.02 * wide, high + 0.35 * wide)  # Room for the numbers.
    for score in scores[full]:
        panel.axvline(score, color=plots.MUTED, linewidth=0.8, linestyle="--")
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for place, score in zip(places, scores, strict=True):
        text = f"{score:.3f}" if np.isfinite(score) else "–"
        at = max(0.0, score) if np.isfinite(score) else 0.0
        style = {"fontsize": 7, "color": plots.INK, "va": "center", "bbox": ground}
        panel.text(at + 0.03 * wide, place, text, **style)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    panel.set_ylim(len(scores) - 0.4, -0.6)
