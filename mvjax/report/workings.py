"""Pictures of the inner workings of a method: attention and transport plans."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mvjax.report import lettering
from mvjax.report import plots
from mvjax.report import saliency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 3  # Maps beside each other.
_FAINTEST = float(np.finfo(np.float32).tiny)  # Value of a map that is not white.


def heat_maps(
    maps: Mapping[str, np.ndarray],
    *,
    title: str = "",
    rows: str = "query",
    columns: str = "key",
) -> "Figure":
    """Matrices as pictures, white at 0 and dark at the largest value of each.

    Args:
      maps: `[T, S]` by name.
      title: Stands above the picture.
      rows: What the rows are.
      columns: What the columns are.
    """
    wide = min(_COLUMNS, max(1, len(maps)))
    high = max(1, -(-len(maps) // wide))
    figure = plots.make_figure((3.4 if wide < 3 else 2.5) * high + 0.3 * bool(title))
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    for panel in panels[len(maps) :]:
        panel.set_axis_off()
    for panel, (name, values) in zip(panels, maps.items(), strict=False):
        values = plots.drawable(values)
        top = float(np.max(values, initial=_FAINTEST, where=np.isfinite(values)))
        image = panel.imshow(
            values, cmap="Blues", vmin=0, vmax=top, aspect="auto", interpolation="none"
        )
        panel.grid(visible=False)
        bar = figure.colorbar(image, ax=panel, shrink=0.8)
        bar.ax.tick_params(labelsize=6, colors=plots.MUTED, length=2)
        bar.ax.yaxis.get_offset_text().set(fontsize=6, color=plots.MUTED)
        bar.outline.set_visible(False)
        plots.label_panel(panel, name, columns, rows, grid=False)
    if title:
        figure.suptitle(lettering.plain(title, 90), fontsize=9, color=plots.INK)
    return figure


def sort_plan(plan: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A transport plan `[n, m]` with rows and columns in the order of their points.

    Between points on a line the best plan, sorted, keeps to the diagonal.

    Args:
      plan: Mass from each x to each y.
      x: `[n]` scalars.
      y: `[m]` scalars.
    """
    return plan[np.argsort(x, kind="stable")][:, np.argsort(y, kind="stable")]


def figures(
    outputs: Mapping[str, np.ndarray],
    split: str,
    row: int = 0,
    views: Mapping[str, np.ndarray] | None = None,
) -> dict[str, "Figure"]:
    """Pictures of what `explain` returns, by caption.

    Args:
      outputs: `attention/<name>` `[B, T, S]`, or `[B, H, T, S]`, whose heads are
        averaged; `plan/<a>-<b>` `[B, n, m]`, sorted by the points `features/<a>`
        `[B, n]` and `features/<b>` `[B, m]` where those are given; `cam/<view>`
        `[B, h, w]` of images. Others are passed over.
      split: Whose samples they are.
      row: Of which sample attention and transport are shown.
      views: Images `[B, H, W, C]` of the same samples by view.
    """
    found, attention, plans, cams = {}, {}, {}, {}
    for key, values in outputs.items():
        family, _, name = key.partition("/")
        if family == "attention" and values.ndim in (3, 4):
            sample = np.asarray(values[row], np.float32)
            attention[name] = sample.mean(axis=0) if sample.ndim == 3 else sample
        elif family == "plan" and values.ndim == 3:
            sample = np.asarray(values[row], np.float32)
            a, _, b = name.partition("-")
            points = [outputs.get(f"features/{view}") for view in (a, b)]
            if all(
                p is not None and p[row].size == s
                for p, s in zip(points, sample.shape, strict=True)
            ):
                sample = sort_plan(sample, *(p[row].ravel() for p in points))
            plans[name] = sample
        elif family == "cam" and values.ndim == 3 and name in (views or {}):
            cams[name] = np.asarray(values, np.float32)
    if attention:
        found[f"Attention of a {split} sample"] = heat_maps(attention)
    if plans:
        found[f"Transport plans of a {split} sample"] = heat_maps(
            plans, rows="from", columns="to"
        )
    if cams:
        images = {name: views[name] for name in cams}
        found[f"Where the scores of {split} samples come from (Grad-CAM)"] = (
            saliency.beside(images, cams)
        )
    return found
