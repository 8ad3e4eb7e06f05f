"""Places of images and published operations with given parameters, by Pillow.

The results are those of torchvision 0.13. Random numbers are drawn elsewhere
(`data/styles.py`), so that a recording can give the parameters. All images are RGB;
nothing changes in place. Arrays go in and come out where nothing else is said.
"""

from collections.abc import Callable, Sequence
import math
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageEnhance
from PIL import ImageOps

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
_TINY = (
    1e-4  # Added before OpenCV rounds halves to even; Pillow rounds most of them up.
)


class Box(NamedTuple):
    """A part of an image in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def from_array(image: np.ndarray) -> Image.Image:
    """A Pillow image of `[H, W, 3]` uint8."""
    return Image.fromarray(np.ascontiguousarray(image))


def to_array(image: Image.Image) -> np.ndarray:
    """`[H, W, 3]` uint8 of an image, read-only."""
    return np.asarray(image)


def resize(
    image: np.ndarray,
    size: tuple[int, int],
    resampling: Image.Resampling = BILINEAR,
) -> np.ndarray:
    """An image of another height and width."""
    if image.shape[:2] == size:
        return image
    return to_array(from_array(image).resize(size[::-1], resampling))


def resize_shorter(image: np.ndarray, size: int) -> np.ndarray:
    """An image whose shorter side becomes `size`, the longer one rounded down."""
    height, width = image.shape[:2]
    long = int(size * max(height, width) / min(height, width))
    return resize(image, (size, long) if height <= width else (long, size))


def crop(image: np.ndarray, box: Box) -> np.ndarray:
    """A part of an image; where the box leaves the image it is black."""
    top, left = max(box.top, 0), max(box.left, 0)
    part = image[top : box.top + box.height, left : box.left + box.width]
    if part.shape[:2] == (box.height, box.width):
        return part
    found = np.zeros((box.height, box.width, 3), np.uint8)
    top, left = top - box.top, left - box.left
    found[top : top + part.shape[0], left : left + part.shape[1]] = part
    return found


def resized_crop(
    image: np.ndarray,
    box: Box,
    size: int,
    resampling: Image.Resampling = BILINEAR,
) -> np.ndarray:
    """A part of an image, resized to a square of `size`.

    It is cut out before it is resized, so pixels beside the box have no influence.
    """
    part = crop(image, box)
    if resampling == BILINEAR and max(part.shape[:2]) <= size:
        return _enlarge(part, size)
    return resize(part, (size, size), resampling)


def _enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """What Pillow makes of an image that shrinks nowhere, in a quarter of its time.

    Like Pillow, it rounds after the rows and after the columns; it may round halves
    otherwise.
    """
    import cv2

    for shape in ((size, image.shape[0]), (size, size)):
        wide = cv2.resize(image.astype(np.float32), shape)
        image = cv2.convertScaleAbs(wide, beta=_TINY)
    return image


def centre(image: np.ndarray, size: int) -> Box:
    """The square of `size` in the middle of an image."""
    height, width = image.shape[:2]
    return Box(round((height - size) / 2), round((width - size) / 2), size, size)


def mirror(image: np.ndarray) -> np.ndarray:
    """Left and right change places."""
    import cv2

    return cv2.flip(image, 1)


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Turns a Pillow image against the clock about its centre, nearest, black corners."""
    return image.rotate(degrees, resample=Image.Resampling.NEAREST, fillcolor=0)


def _affine(image: Image.Image, matrix: Sequence[float]) -> Image.Image:
    """Pixels `(x, y)` from `(a x + b y + c, d x + e y + f)`, nearest, black outside."""
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.NEAREST,
        fillcolor=0,
    )


def operate(image: Image.Image, name: str, magnitude: float) -> Image.Image:
    """One operation of RandAugment and AutoAugment on a Pillow image.

    Args:
      image: RGB.
      name: One of `OPERATIONS`.
      magnitude: As the operation takes it, perhaps negative; some take none.
    """
    return OPERATIONS[name](image, magnitude)


def _enhance(kind: type) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, magnitude: kind(image).enhance(1 + magnitude)


def _slope(magnitude: float) -> float:
    """A shear by way of its angle, whose rounding decides where pixels come from."""
    return math.tan(math.radians(math.degrees(math.atan(magnitude))))


OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, magnitude: image,
    "ShearX": lambda image, m: _affine(image, (1, _slope(m), 0, 0, 1, 0)),
    "ShearY": lambda image, m: _affine(image, (1, 0, 0, _slope(m), 1, 0)),
    "TranslateX": lambda image, m: _affine(image, (1, 0, -int(m), 0, 1, 0)),
    "TranslateY": lambda image, m: _affine(image, (1, 0, 0, 0, 1, -int(m))),
    "Rotate": rotate,
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
    "Posterize": lambda image, m: ImageOps.posterize(image, int(m)),
    "Solarize": lambda image, m: ImageOps.solarize(image, m),
    "AutoContrast": lambda image, m: ImageOps.autocontrast(image),
    "Equalize": lambda image, m: ImageOps.equalize(image),
    "Invert": lambda image, m: ImageOps.invert(image),
}
