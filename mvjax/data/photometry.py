"""Colours and sharpness of images `[H, W, 3]` uint8 with given parameters.

The results are those of torchvision 0.13 on Pillow images, but for single levels of few
pixels. OpenCV computes them: one call on a whole image takes less time than Pillow's
several, and lets other threads work meanwhile, which many of Pillow's do not. Random
numbers are drawn elsewhere (`data/styles.py`). Nothing changes in place.
"""

import functools
from typing import NamedTuple

import numpy as np

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # The steps of a `Jitter`.
_TINY = 1e-4  # What whole numbers need so that float32 does not fall below them.
_CUT = _TINY - 0.5  # Added before rounding, where Pillow cuts fractions off.


class Jitter(NamedTuple):
    """Changes of colour: three factors, a shift of the hue in turns, and their order."""

    order: tuple[int, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float


def jitter(image: np.ndarray, jitter: Jitter) -> np.ndarray:
    """The changes of colour in their order."""
    for step in jitter.order:
        image = jitter_step(image, jitter, step)
    return image


def jitter_step(image: np.ndarray, jitter: Jitter, step: int) -> np.ndarray:
    """One of the four changes of colour."""
    change, parameter = (
        (brighten, jitter.brightness),
        (stretch, jitter.contrast),
        (saturate, jitter.saturation),
        (shift_hue, jitter.hue),
    )[step]
    return change(image, parameter)


def grey(image: np.ndarray) -> np.ndarray:
    """The brightness in all three channels."""
    import cv2

    return cv2.cvtColor(_luma(image), cv2.COLOR_GRAY2RGB)


def brighten(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the levels, up to 255."""
    return _stretch_around(image, 0, factor)


def stretch(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the distance of the levels from the image's mean brightness."""
    import cv2

    mean = cv2.mean(_luma(image))[0]
    return _stretch_around(image, int(mean + 0.5), factor)


def saturate(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the distance of the colours from grey."""
    import cv2

    return cv2.addWeighted(image, factor, grey(image), 1 - factor, _CUT)


def shift_hue(image: np.ndarray, turns: float) -> np.ndarray:
    """Shifts the hue by -0.5..0.5 turns, cut to whole levels of 256."""
    import cv2

    tables = _hue_tables()
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    levels = cv2.transform(hsv, tables.to_levels)
    levels += cv2.LUT(levels.astype(np.uint8), tables.corrections)
    shift = int(turns * 255) % 256
    table = tables.numbers.copy()
    table[:, : 256 - shift, 0] = tables.numbers[:, shift:, 0]
    table[:, 256 - shift :, 0] = tables.numbers[:, :shift, 0]
    hsv = cv2.LUT(levels.astype(np.uint8), table)
    return cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def blur_kernel(size: int, sigma: float) -> np.ndarray:
    """A Gaussian's values at whole pixels, `[size]` float32, whose sum is 1."""
    x = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    values = np.exp(-0.5 * (x / np.float32(sigma)) ** 2)
    return values / values.sum()


def blur(image: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Gaussian blur in float32 with reflected margins, rounded at the end.

    Args:
      image: RGB.
      size: Of the kernel, odd, less than twice the image's sides.
      sigma: Of the Gaussian, in pixels.
    """
    import cv2

    kernel, margin = blur_kernel(size, sigma), cv2.BORDER_REFLECT_101
    found = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=margin)
    return cv2.convertScaleAbs(found)


def _luma(image: np.ndarray) -> np.ndarray:
    """The brightness, `[H, W]` uint8."""
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _stretch_around(image: np.ndarray, level: int, factor: float) -> np.ndarray:
    """Multiplies the distance of the levels from one of them; fractions are cut off."""
    import cv2

    return cv2.addWeighted(image, factor, image, 0, level * (1 - factor) + _CUT)


class _HueTables(NamedTuple):
    """Between OpenCV's numbers and levels of hue, saturation and value.

    The numbers are degrees, 0..1 and 0..255, the levels Pillow's, 0..255.
    """

    to_levels: np.ndarray  # `[3, 4]` float32, a matrix; fractions are still to be cut.
    corrections: np.ndarray  # Of these before the cut, by level, `[1, 256, 3]`.
    numbers: np.ndarray  # `[1, 256, 3]` by level.


@functools.cache
def _hue_tables() -> _HueTables:
    """Pillow itself tells which whole levels it cuts to the one below by rounding."""
    import cv2
    from PIL import Image

    scales = np.array((255 / 360, 255, 1), np.float32)
    to_levels = np.zeros((3, 4), np.float32)
    to_levels[:, :3], to_levels[:, 3] = np.diag(scales), _TINY
    numbers = np.arange(256, dtype=np.float32)[None, :, None] / scales
    corrections = np.zeros((1, 256, 3), np.float32)
    for channel in (0, 1):
        pure = np.full((1, 256, 3), (0, 1, 255), np.float32)
        pure[..., channel] = numbers[..., channel]
        image = cv2.convertScaleAbs(cv2.cvtColor(pure, cv2.COLOR_HSV2RGB))
        found = np.asarray(Image.fromarray(image).convert("HSV"))[..., channel]
        corrections[..., channel][found == np.arange(256) - 1] = -2 * _TINY
    return _HueTables(to_levels, corrections, numbers)
