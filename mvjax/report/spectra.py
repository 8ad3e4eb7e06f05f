"""Pictures of the dimensions of codes: histograms, and spectra of singular values."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mvjax.report import lettering
from mvjax.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Blue and orange, which colour-blind readers tell apart, and what comes after them.
COLOURS = ("#2f6db3", "#e0801f", "#4a9a5b", "#8a5aa8", "#8a8a8a")
_BINS = 50


def histogram(blocks: Mapping[str, np.ndarray]) -> "Figure":
    """How correlations are spread, one colour a block of dimensions.

    Args:
      blocks: Correlations in [-1, 1], `[n]`, by name.
    """
    figure = plots.make_figure(2.6)
    panel = figure.subplots()
    values = [np.clip(plots.drawable(found), -1, 1) for found in blocks.values()]
    low = min((np.nanmin(v) for v in values), default=0.0)
    bins = np.linspace(min(-0.25, low), 1, _BINS + 1)
    for colour, name, found in zip(_colours(blocks), blocks, values):
        text = (
            f"{lettering.plain(name)}: {len(found)} dimensions, mean {found.mean():.2f}"
        )
        panel.hist(found, bins=bins, color=colour, alpha=0.7, label=text)
    plots.label_panel(panel, "", "correlation between the views", "dimensions")
    panel.legend(fontsize=7.5, frameon=False, labelcolor=plots.INK)
    return figure


def spectrum(singular: Mapping[str, np.ndarray]) -> "Figure":
    """Singular values from the greatest on, logarithmic, one line a code.

    Args:
      singular: Values that are not negative, `[n]`, by name of the code.
    """
    figure = plots.make_figure(2.6)
    panel = figure.subplots()
    for colour, (name, values) in zip(_colours(singular), singular.items()):
        values = plots.drawable(values)
        seen = values > 1e-6 * np.nanmax(values, initial=0)
        places = np.arange(1, len(values) + 1)
        if seen.any():
            panel.plot(
                places[seen],
                values[seen],
                color=colour,
                linewidth=1.4,
                label=lettering.plain(name),
            )
    panel.set_yscale("log")
    plots.label_panel(panel, "", "place", "singular value")
    if panel.lines:
        panel.legend(fontsize=7.5, frameon=False, labelcolor=plots.INK)
    return figure


def _colours(named: Mapping[str, np.ndarray]) -> list[str]:
    """A colour for each; beyond five they come again."""
    return [COLOURS[i % len(COLOURS)] for i in range(len(named))]
