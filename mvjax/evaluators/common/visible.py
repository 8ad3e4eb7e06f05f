"""Images of any number of channels and any range as pictures that a person can see."""

from collections.abc import Sequence

import numpy as np

_COLOURS = ("red", "green", "blue")


def visible(image: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """An image stretched from its least to its greatest value.

    Args:
      image: `[H, W, C]`; NaN and what no axis can show is dark.
      names: Of the channels. Where red, green and blue are among them, they are shown,
        else the first three, or the first.

    Returns:
      `[H, W, 3]` uint8.
    """
    chosen = list(range(3 if image.shape[-1] >= 3 else 1))
    if set(_COLOURS) <= set(names):
        chosen = [list(names).index(colour) for colour in _COLOURS]
    found = image[..., chosen].astype(np.float64)
    found = np.where(np.isfinite(found), found, np.nan)
    if np.isnan(found).all():
        return np.zeros((*image.shape[:2], 3), np.uint8)
    low, high = np.nanmin(found), np.nanmax(found)
    found = np.nan_to_num((found - low) / max(high - low, 1e-12))
    return np.broadcast_to(np.rint(255 * found), (*image.shape[:2], 3)).astype(np.uint8)
