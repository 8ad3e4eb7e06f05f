"""Images of samples above maps of what counts in them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mvjax.report import lettering
from mvjax.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BRIGHT = 99.0  # Percentile of a map that is white; a few pixels would hide the rest.


def beside(
    images: Mapping[str, np.ndarray], maps: Mapping[str, np.ndarray]
) -> "Figure":
    """For each view a row of images above a row of their maps, dark at 0.

    Args:
      images: `[N, H, W, C]` by view, uint8 or float; of other channels than one or three
        the first three are shown, or the first alone, each image from its darkest to its
        brightest value.
      maps: `[N, H, W]` by view, not negative; all of a sample share one scale.
    """
    count = len(next(iter(images.values())))
    rows = 2 * len(images)
    figure = plots.make_figure((plots.WIDTH - 0.8) / count * rows + 0.1)
    panels = figure.subplots(rows, count, squeeze=False)
    tops = [
        max(float(np.percentile(found[i], _BRIGHT)) for found in maps.values())
        for i in range(count)
    ]
    for row, (view, batch) in enumerate(images.items()):
        for i in range(count):
            above, below = panels[2 * row, i], panels[2 * row + 1, i]
            above.imshow(_visible(batch[i]), interpolation="nearest")
            top = tops[i] or 1.0
            below.imshow(maps[view][i], cmap="inferno", vmin=0, vmax=top)
        panels[2 * row, 0].set_ylabel(lettering.plain(view, 24), fontsize=8)
        panels[2 * row + 1, 0].set_ylabel("counts", fontsize=8)
    for panel in panels.ravel():
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
        panel.yaxis.label.set_color(plots.INK)
    return figure


def _visible(image: np.ndarray) -> np.ndarray:
    """An image `[H, W, C]` as `[H, W, 3]` in [0, 1]."""
    image = plots.drawable(image)
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    low, high = np.nanmin(image), np.nanmax(image)
    return np.broadcast_to((image - low) / ((high - low) or 1.0), (*image.shape[:2], 3))
