"""DeCUR's augmentations of one view: what there is, what is drawn, and what it does.

`draw_place` and `draw_look` give the parameters of one image, `apply` is free of chance.
The steps, their order and their distributions are those of the released code; only those
of its arithmetic that wrap around are an option (`data/band_photometry.py`). Normalisation
is the method's.
"""

import math
from typing import NamedTuple

import numpy as np

from mvjax.data import band_photometry
from mvjax.data import pictures

_TRIES = 10  # Boxes that are drawn before the square in the middle is taken.
_RATIO = (3 / 4, 4 / 3)  # Of width to height.
_STRENGTH = 0.4  # Of brightness and contrast, around 1.
_SIGMA = (0.1, 2.0)  # Of the blur.


class Steps(NamedTuple):
    """How often each step is taken, and the least part of the area of a crop."""

    scale: float = 0.2
    colour: float = 0.0  # Brightness, then contrast.
    grey: float = 0.0
    blur: float = 0.0
    solarise: float = 0.0
    flip: float = 0.5  # Left and right change places.
    flip_vertical: float = 0.0
    drop_channels: float = 0.0  # One or more channels, drawn, become 0.


KINDS = {
    "sar": Steps(grey=0.2, blur=0.5, flip_vertical=0.5),
    "ms": Steps(colour=0.8, grey=0.2, blur=0.5, solarise=0.2, flip_vertical=0.5),
    # RGB and elevation of GeoNRW.
    "rgb": Steps(colour=0.8, grey=0.2, blur=0.5, solarise=0.2, flip_vertical=0.5),
    "dem": Steps(flip_vertical=0.5),
    # RGB and HHA of SUN RGB-D.
    "photo": Steps(scale=0.5, colour=0.8, grey=0.2, blur=0.5),
    "hha": Steps(scale=0.5),
    # All of BigEarthNet, when it is classified.
    "patch": Steps(scale=0.8, flip_vertical=0.5),
}


class Place(NamedTuple):
    """Which part of the image, and which way round."""

    box: pictures.Box
    flip: bool
    flip_vertical: bool


class Look(NamedTuple):
    """What is done to the values; None: the step is not taken."""

    brightness: float | None = None
    contrast: float | None = None
    grey: bool = False
    sigma: float | None = None
    solarise: bool = False
    dropped: tuple[int, ...] = ()  # Channels.


def draw_box(
    generator: np.random.Generator,
    width: int,
    height: int,
    scale: float,
    ratio: tuple[float, float] = _RATIO,
) -> pictures.Box:
    """A box of a random part of the area, wider or higher with equal chance.

    Unlike torchvision's its ratio is uniform and not its logarithm. Where ten draws do not
    fit into the image, the greatest square in its middle.
    """
    for _ in range(_TRIES):
        area = generator.uniform(scale, 1.0) * height * width
        aspect = generator.uniform(*ratio)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if generator.random() < 0.5:
            w, h = h, w
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(0, height - h + 1))
            left = int(generator.integers(0, width - w + 1))
            return pictures.Box(top, left, h, w)
    side = min(height, width)
    return pictures.Box((height - side) // 2, (width - side) // 2, side, side)


def draw_place(
    generator: np.random.Generator, steps: Steps, width: int, height: int
) -> Place:
    """A place in an image of this size."""
    box = draw_box(generator, width, height, steps.scale)
    flips = generator.random(2)
    return Place(box, bool(flips[0] < steps.flip), bool(flips[1] < steps.flip_vertical))


def draw_look(generator: np.random.Generator, steps: Steps, channels: int) -> Look:
    """Changes of the values of an image with so many channels."""
    colour, grey, blur, solarise, drop = generator.random(5)
    coloured, low, high = colour < steps.colour, 1 - _STRENGTH, 1 + _STRENGTH
    brightness, contrast = generator.uniform(low, high, 2).tolist()
    sigma = float(generator.uniform(*_SIGMA))
    dropped: tuple[int, ...] = ()
    if drop < steps.drop_channels:
        count = generator.integers(1, channels + 1)
        dropped = tuple(generator.choice(channels, count, replace=False).tolist())
    return Look(
        brightness if coloured else None,
        contrast if coloured else None,
        bool(grey < steps.grey),
        sigma if blur < steps.blur else None,
        bool(solarise < steps.solarise),
        dropped,
    )


def cut(image: np.ndarray, place: Place, size: int, resampling: str) -> np.ndarray:
    """The part of an image `[H, W]` or `[H, W, C]`, a square of `size`, not yet flipped."""
    return band_photometry.resized_crop(image, place.box, size, resampling)


def turn(image: np.ndarray, place: Place) -> np.ndarray:
    """An image flipped as its place says."""
    image = image[:, ::-1] if place.flip else image
    return np.ascontiguousarray(image[::-1] if place.flip_vertical else image)


def change(image: np.ndarray, look: Look, *, released: bool = False) -> np.ndarray:
    """An image `[H, W, C]` of other values.

    Args:
      image: uint8, or float32 in 0..1.
      look: What is done.
      released: Whether levels wrap around and solarisation is the released one, see
        `band_photometry`.
    """
    if look.brightness is not None:
        image = band_photometry.brighten(image, look.brightness, wrap=released)
    if look.contrast is not None:
        image = band_photometry.stretch(image, look.contrast, wrap=released)
    image = band_photometry.grey(image) if look.grey else image
    if look.sigma is not None:
        image = band_photometry.blur(image, look.sigma)
    if look.solarise:
        image = band_photometry.solarise(image, released=released)
    if look.dropped:
        kept = np.ones(image.shape[2], image.dtype)
        kept[list(look.dropped)] = 0
        image = image * kept
    return image
