"""Measured values to levels 0 to 255, as the published readers of remote sensing do it.

All functions cut fractions off and, where nothing else is said, clip to the range first.
"""

from collections.abc import Sequence

import numpy as np

_DEVIATIONS = 2  # On either side of the mean.
_TINY = 1e-5
_REFLECTANCE = 10_000  # What Sentinel-2 calls 1.


def normalise(values: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Two deviations on either side of the mean become 0 to 255, uint8.

    Args:
      values: Of one band, any shape and number type.
      mean: Of the band, in the units of the values.
      std: Its deviation.
    """
    low = mean - _DEVIATIONS * std
    width = 2 * _DEVIATIONS * std
    with np.errstate(invalid="ignore"):  # Gaps, NaN, become 0.
        return np.clip((values - low) / width * 255, 0, 255).astype(np.uint8)


def normalise_bands(
    bands: np.ndarray, means: Sequence[float], stds: Sequence[float], axis: int
) -> np.ndarray:
    """`normalise` of each band along an axis, uint8."""
    parts = [
        normalise(band, mean, std)
        for band, mean, std in zip(
            np.moveaxis(bands, axis, 0), means, stds, strict=True
        )
    ]
    return np.stack(parts, axis=axis)


def reflectance(values: np.ndarray, *, wrap: bool = False) -> np.ndarray:
    """Reflectances 0 to 10,000 to 0 to 255, uint8.

    Args:
      values: Integers.
      wrap: Whether brighter ones start anew from 0, as in the released builder.
    """
    levels = values / _REFLECTANCE * 255.0
    if wrap:
        return levels.astype(np.int64).astype(np.uint8)
    return np.clip(levels, 0, 255).astype(np.uint8)


def unit_reflectance(values: np.ndarray) -> np.ndarray:
    """Reflectances 0 to 10,000 to 0..1 and beyond, float32."""
    return values.astype(np.float32) / np.float32(_REFLECTANCE)


def clip_quantiles(values: np.ndarray, low: float = 0.01) -> np.ndarray:
    """Values cut to the range of their quantiles `low` and `1 - low`."""
    return np.clip(values, *np.quantile(values, (low, 1 - low)))


def clip_pairs(bands: np.ndarray, low: float = 0.01) -> np.ndarray:
    """What the released reader of SSL4EO-S12 makes of `clip_quantiles` for two bands.

    Its quantiles are of every other pixel of a row, whatever the band: a defect that its
    weights saw.

    Args:
      bands: `[S, 2, H, W]`, as the file holds them.
      low: See `clip_quantiles`.
    """
    mixed = bands.reshape(-1, bands.shape[1])
    limits = np.quantile(mixed, (low, 1 - low), axis=0)  # [2, 2]
    return np.clip(bands, limits[0][:, None, None], limits[1][:, None, None])


def stretch_percentiles(
    values: np.ndarray, seen: np.ndarray | None = None
) -> np.ndarray:
    """From the 1st to the 99th percentile to 0 to 255, uint8.

    Args:
      values: Of any shape.
      seen: What the percentiles are of; None: the values themselves.
    """
    seen = values if seen is None else seen
    low, high = np.percentile(seen, 1), np.percentile(seen, 99)
    part = (np.clip(values, low, high) - low) / (high - low + _TINY)
    return (part * 255).astype(np.uint8)


def unit_range(values: np.ndarray) -> np.ndarray:
    """From the least to the greatest value to 0..1, float32; flat ones become 0."""
    values = values.astype(np.float32, copy=False)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
