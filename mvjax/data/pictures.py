"""Changes of Pillow images as torchvision 0.13 makes them, each with given parameters.

Random numbers are drawn elsewhere (`data/styles.py`), so that a recording can give the
parameters. All images are RGB; nothing changes in place.
"""

from collections.abc import Callable, Sequence
import math
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageEnhance
from PIL import ImageOps

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # The steps of a `Jitter`.


class Box(NamedTuple):
    """A part of an image in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class Jitter(NamedTuple):
    """Changes of colour: three factors, a shift of the hue in turns, and their order."""

    order: tuple[int, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float


def from_array(image: np.ndarray) -> Image.Image:
    """A Pillow image of `[H, W, 3]` uint8."""
    return Image.fromarray(np.ascontiguousarray(image))


def to_array(image: Image.Image) -> np.ndarray:
    """`[H, W, 3]` uint8 of an image, in memory of its own."""
    return np.array(image, np.uint8)


def crop(
    image: Image.Image,
    box: Box,
    size: int | None = None,
    resampling: Image.Resampling = BILINEAR,
) -> Image.Image:
    """A part of an image, resized to a square of `size`; None: as it is.

    It is cut out before it is resized, so pixels beside the box have no influence. Where
    the box leaves the image it is black.
    """
    part = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
    return part if size is None else part.resize((size, size), resampling)


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """An image whose shorter side becomes `size`, the longer one rounded down."""
    width, height = image.size
    if min(width, height) == size:
        return image
    short, long = sorted((width, height))
    other = int(size * long / short)
    return image.resize((size, other) if width <= height else (other, size), BILINEAR)


def centre(width: int, height: int, size: int) -> Box:
    """The square of `size` in the middle of an image."""
    return Box(round((height - size) / 2), round((width - size) / 2), size, size)


def mirror(image: Image.Image) -> Image.Image:
    """Left and right change places."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def grey(image: Image.Image) -> Image.Image:
    """The brightness in all three channels."""
    return image.convert("L").convert("RGB")


def brighten(image: Image.Image, factor: float) -> Image.Image:
    """Multiplies the levels, up to 255."""
    return ImageEnhance.Brightness(image).enhance(factor)


def shift_hue(image: Image.Image, turns: float) -> Image.Image:
    """Shifts the hue by -0.5..0.5 turns, cut to whole levels of 256."""
    hue, saturation, value = image.convert("HSV").split()
    levels = np.uint8(int(turns * 255) % 256)
    shifted = Image.fromarray(np.asarray(hue) + levels)  # Wraps round, as hues do.
    return Image.merge("HSV", (shifted, saturation, value)).convert("RGB")


def jitter_step(image: Image.Image, jitter: Jitter, step: int) -> Image.Image:
    """One of the four changes of colour."""
    if step == HUE:
        return shift_hue(image, jitter.hue)
    factors = (jitter.brightness, jitter.contrast, jitter.saturation)
    return _ENHANCE[step](image).enhance(factors[step])


def jitter(image: Image.Image, jitter: Jitter) -> Image.Image:
    """The changes of colour in their order."""
    for step in jitter.order:
        image = jitter_step(image, jitter, step)
    return image


_ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def blur_kernel(size: int, sigma: float) -> np.ndarray:
    """A Gaussian's values at whole pixels, `[size]` float32, whose sum is 1."""
    x = np.linspace(-(size - 1) / 2, (size - 1) / 2, size, dtype=np.float32)
    values = np.exp(-0.5 * (x / np.float32(sigma)) ** 2)
    return values / values.sum()


def blur(image: Image.Image, size: int, sigma: float) -> Image.Image:
    """Gaussian blur in float32 with reflected margins, rounded at the end.

    Args:
      image: RGB.
      size: Of the kernel, odd, less than twice the image's sides.
      sigma: Of the Gaussian, in pixels.
    """
    import cv2

    kernel = blur_kernel(size, sigma)
    pixels = np.asarray(image)
    found = cv2.sepFilter2D(
        pixels, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101
    )
    return Image.fromarray(np.rint(np.clip(found, 0, 255)).astype(np.uint8))


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Turns an image against the clock about its centre, nearest, black corners."""
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
    """One operation of RandAugment and AutoAugment.

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
