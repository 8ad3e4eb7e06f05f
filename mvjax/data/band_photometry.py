"""Images of any number of channels with given parameters, as DeCUR's released code has it.

Images are `[H, W, C]`, uint8 in 0..255 or float32 in 0..1, and OpenCV computes them. Where
uint8 leaves its range it saturates; with `wrap=True` it starts anew from the other end,
fractions being cut off, as in the released code. Floats are never cut. Random numbers
are drawn elsewhere (`data/modality_steps.py`). Nothing changes in place.
"""

from collections.abc import Callable

import numpy as np

from mvjax.data import pictures

_RELEASED = 0.5  # Threshold of the released solarisation, of levels 0 to 255.
_LEVELS = 256
RESAMPLING = ("bilinear", "nearest")


def resize(
    image: np.ndarray, size: tuple[int, int], resampling: str = "bilinear"
) -> np.ndarray:
    """An image of another height and width, without antialiasing.

    Args:
      image: `[H, W]` or `[H, W, C]`, of any type for "nearest".
      size: Height and width.
      resampling: One of `RESAMPLING`.
    """
    if image.shape[:2] == size:
        return image
    if resampling == "nearest":
        rows, columns = (
            np.arange(new) * old // new for new, old in zip(size, image.shape[:2])
        )
        return image[rows[:, None], columns]
    import cv2

    found = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return found.reshape(*size, *image.shape[2:])  # OpenCV drops a last axis of 1.


def resize_exact(image: np.ndarray, side: int) -> np.ndarray:
    """A square of another side whose whole numbers are the same on every machine."""
    import cv2

    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)


def resize_cubic(image: np.ndarray, side: int) -> np.ndarray:
    """A square of another side, between four times four pixels."""
    import cv2

    if image.shape[:2] == (side, side):
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)


def resized_crop(
    image: np.ndarray, box: pictures.Box, size: int, resampling: str = "bilinear"
) -> np.ndarray:
    """A part of an image, resized to a square of `size`."""
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    return resize(part, (size, size), resampling)


def centre(
    image: np.ndarray, shorter: int, size: int, resampling: str = "bilinear"
) -> np.ndarray:
    """The square of `size` in the middle of an image whose shorter side is `shorter`.

    Args:
      image: `[H, W]` or `[H, W, C]`.
      shorter: What the shorter side becomes; the longer one is rounded down.
      size: Side of the square, at most `shorter`.
      resampling: One of `RESAMPLING`.
    """
    height, width = image.shape[:2]
    if min(height, width) != shorter:
        long = int(shorter * max(height, width) / min(height, width))
        sides = (shorter, long) if height <= width else (long, shorter)
        image = resize(image, sides, resampling)
    box = pictures.centre(image, size)
    return image[box.top : box.top + size, box.left : box.left + size]


def brighten(image: np.ndarray, factor: float, *, wrap: bool = False) -> np.ndarray:
    """Multiplies all values."""
    if image.dtype != np.uint8:
        return image * np.float32(factor)
    return _map_levels(image, lambda levels: levels * factor, wrap)


def stretch(image: np.ndarray, factor: float, *, wrap: bool = False) -> np.ndarray:
    """Multiplies the distance of the values from their channel's mean."""
    mean = image.mean(axis=(0, 1))  # [C]
    if image.dtype != np.uint8:
        return (image - mean) * np.float32(factor) + mean
    return _map_levels(image, lambda levels: (levels - mean) * factor + mean, wrap)


def _map_levels(
    image: np.ndarray, change: Callable[[np.ndarray], np.ndarray], wrap: bool
) -> np.ndarray:
    """Changes each level of uint8, `[256, 1]` to `[256, 1]` or `[256, C]`."""
    import cv2

    levels = change(np.arange(_LEVELS, dtype=np.float64)[:, None])
    if wrap:
        table = levels.astype(np.int64).astype(np.uint8)
    else:
        table = np.clip(np.rint(levels), 0, _LEVELS - 1).astype(np.uint8)
    return cv2.LUT(image, table[None]).reshape(image.shape)


def grey(image: np.ndarray) -> np.ndarray:
    """The mean of the channels, cut to whole levels, in each of them."""
    import cv2

    channels = image.shape[2]
    if image.dtype != np.uint8:
        mean = image.mean(axis=2, keepdims=True)
    else:
        rows = image.reshape(-1, channels)
        total = cv2.reduce(rows, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
        mean = (total // channels).astype(np.uint8).reshape(*image.shape[:2], 1)
    return np.repeat(mean, channels, axis=2)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur whose kernel is as wide as OpenCV takes for `sigma`, reflected."""
    import cv2

    found = cv2.GaussianBlur(image, (0, 0), sigma)
    return found.reshape(image.shape)


def solarise(image: np.ndarray, *, released: bool = False) -> np.ndarray:
    """Inverts the bright half of the values.

    Args:
      image: See the top of this file.
      released: Whether to invert what is below half a level instead, which of uint8 makes
        0 to 255 and nothing else: the released code gives a threshold for 0..1.
    """
    if image.dtype != np.uint8:
        return np.where(image >= 0.5, 1 - image, image)
    bright = image < _RELEASED if released else image >= _LEVELS // 2
    return np.where(bright, _LEVELS - 1 - image, image)
