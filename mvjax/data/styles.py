"""The published augmentations of MV-MR's images, each a class that draws and applies.

`draw(generator, width, height)` gives the parameters of one image, `apply(image, draw)` is
free of chance. Images are `[H, W, 3]` uint8; normalisation is the method's. The orders
of the steps are those of the released code, and so are the distributions.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.data import photometry
from mvjax.data import pictures

_TRIES = 10  # Boxes that are drawn before the greatest one that fits is taken.
_BINS = 31  # Of the magnitudes of RandAugment.
_POLICY_BINS = 10  # Of those of AutoAugment.
# Shift of RandAugment's and AutoAugment's greatest translation, by the side.
_TRANSLATION = 150 / 331


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    """What `generator.uniform` gives, in a third of its time."""
    return low + (high - low) * generator.random()


@functools.cache
def _logarithms(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(np.log(numbers).tolist())


def draw_box(
    generator: np.random.Generator,
    width: int,
    height: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> pictures.Box:
    """A box of a random part of the area and of a random ratio of width to height.

    Where ten draws do not fit into the image, the greatest box in its middle whose ratio
    is allowed.
    """
    for _ in range(_TRIES):
        area = _between(generator, *scale) * width * height
        aspect = math.exp(_between(generator, *_logarithms(ratio)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(0, height - h + 1))
            left = int(generator.integers(0, width - w + 1))
            return pictures.Box(top, left, h, w)
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return pictures.Box((height - h) // 2, (width - w) // 2, h, w)


def draw_jitter(
    generator: np.random.Generator,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> photometry.Jitter:
    """Factors around 1, a shift around 0, and a random order."""
    order = tuple(int(step) for step in generator.permutation(4))
    factors = [
        _between(generator, max(0.0, 1 - most), 1 + most)
        for most in (brightness, contrast, saturation)
    ]
    return photometry.Jitter(order, *factors, _between(generator, -hue, hue))


class CustomDraw(NamedTuple):
    """Parameters of `Custom`."""

    box: pictures.Box
    flip: bool
    jitter: photometry.Jitter | None  # None: the colours stay.
    grey: bool
    sigma: float  # Of the blur.


@dataclasses.dataclass(frozen=True)
class Custom:
    """A random resized crop, flips, strong colours, grey, and always a blur."""

    size: int
    kernel: int | None = None  # Width of the blur; None: 3 for 32 pixels, 23 for 224.

    @property
    def blur_width(self) -> int:
        """Width of the blur, odd."""
        return self.kernel or 2 * int(0.05 * self.size) + 1

    def draw(
        self, generator: np.random.Generator, width: int, height: int
    ) -> CustomDraw:
        """Parameters for an image of this size."""
        box = draw_box(generator, width, height)
        flip, colours, grey = (generator.random() < p for p in (0.5, 0.8, 0.2))
        jitter = draw_jitter(generator, 0.8, 0.8, 0.8, 0.2)
        sigma = _between(generator, 0.1, 2.0)
        return CustomDraw(box, flip, jitter if colours else None, grey, sigma)

    def apply(self, image: np.ndarray, draw: CustomDraw) -> np.ndarray:
        """The augmented image, a square of `size`."""
        image = pictures.resized_crop(image, draw.box, self.size)
        image = pictures.mirror(image) if draw.flip else image
        image = photometry.jitter(image, draw.jitter) if draw.jitter else image
        image = photometry.grey(image) if draw.grey else image
        return photometry.blur(image, self.blur_width, draw.sigma)


class Cifar20Draw(NamedTuple):
    """Parameters of `Cifar20`."""

    jitter: photometry.Jitter | None
    grey: bool
    box: pictures.Box
    flip: bool


@dataclasses.dataclass(frozen=True)
class Cifar20:
    """Mild colours and grey of the whole image, then a bicubic crop and flips."""

    size: int

    def draw(
        self, generator: np.random.Generator, width: int, height: int
    ) -> Cifar20Draw:
        """Parameters for an image of this size."""
        colours, grey, flip = (generator.random() < p for p in (0.8, 0.1, 0.5))
        jitter = draw_jitter(generator, 0.4, 0.4, 0.4, 0.1)
        box = draw_box(generator, width, height, scale=(0.2, 1.0))
        return Cifar20Draw(jitter if colours else None, grey, box, flip)

    def apply(self, image: np.ndarray, draw: Cifar20Draw) -> np.ndarray:
        """The augmented image, a square of `size`."""
        image = photometry.jitter(image, draw.jitter) if draw.jitter else image
        image = photometry.grey(image) if draw.grey else image
        image = pictures.resized_crop(image, draw.box, self.size, pictures.BICUBIC)
        return pictures.mirror(image) if draw.flip else image


class CifarDraw(NamedTuple):
    """Parameters of `Cifar`."""

    top: int  # Of the window in the image with its margin.
    left: int
    flip: bool


@dataclasses.dataclass(frozen=True)
class Cifar:
    """A window of the image with a black margin, and flips.

    The released code cuts 32 pixels whatever the size is; here it is the size.
    """

    size: int
    padding: int = 4

    def draw(
        self, generator: np.random.Generator, width: int, height: int
    ) -> CifarDraw:
        """Parameters for an image of this size, which is at least the window's."""
        spare = [side + 2 * self.padding - self.size for side in (height, width)]
        if min(spare) < 0:
            raise errors.UserError(
                f"The style cifar cuts {self.size} pixels, more than an image of "
                f"{height}x{width} has with a margin of {self.padding}."
            )
        top, left = (int(generator.integers(0, n + 1)) for n in spare)
        return CifarDraw(top, left, bool(generator.random() < 0.5))

    def apply(self, image: np.ndarray, draw: CifarDraw) -> np.ndarray:
        """The augmented image, a square of `size`."""
        top, left = draw.top - self.padding, draw.left - self.padding
        image = pictures.crop(image, pictures.Box(top, left, self.size, self.size))
        return pictures.mirror(image) if draw.flip else image


class OperationsDraw(NamedTuple):
    """Parameters of `RandAugment` and `AutoAugment`."""

    box: pictures.Box
    operations: tuple[tuple[str, float], ...]  # Names and signed magnitudes, in order.


def _apply_operations(image: np.ndarray, draw: OperationsDraw, size: int) -> np.ndarray:
    picture = pictures.from_array(pictures.resized_crop(image, draw.box, size))
    for name, magnitude in draw.operations:
        picture = pictures.operate(picture, name, magnitude)
    return pictures.to_array(picture)


class Magnitudes(NamedTuple):
    """What the bins of an operation stand for."""

    values: tuple[float, ...]  # One where the operation takes none.
    signed: bool  # Whether either sign is as likely.


@functools.cache
def magnitudes(bins: int, size: int) -> dict[str, Magnitudes]:
    """Magnitudes of the operations by bin, for squares of `size`."""

    def ramp(end: float, start: float = 0.0) -> tuple[float, ...]:
        return tuple(np.linspace(start, end, bins, dtype=np.float32).tolist())

    bits = 8 - np.round(np.arange(bins) / ((bins - 1) / 4))
    signed = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0}
    signed |= dict.fromkeys(("TranslateX", "TranslateY"), _TRANSLATION * size)
    signed |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9)
    found = {name: Magnitudes(ramp(most), True) for name, most in signed.items()}
    found["Posterize"] = Magnitudes(tuple(bits.tolist()), False)
    found["Solarize"] = Magnitudes(ramp(0.0, start=255.0), False)
    for name in ("Identity", "AutoContrast", "Equalize", "Invert"):
        found[name] = Magnitudes((0.0,), False)
    return found


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """A random resized crop and four operations, each any of 14, of one magnitude.

    Cubuk et al., "RandAugment", NeurIPS 2020; without flips.
    """

    size: int
    count: int = 4
    magnitude: int = 10  # Of `_BINS`.

    OPERATIONS = tuple(name for name in pictures.OPERATIONS if name != "Invert")

    def draw(
        self, generator: np.random.Generator, width: int, height: int
    ) -> OperationsDraw:
        """Parameters for an image of this size."""
        box = draw_box(generator, width, height)
        table, drawn = magnitudes(_BINS, self.size), []
        for _ in range(self.count):
            name = self.OPERATIONS[generator.integers(len(self.OPERATIONS))]
            values, signed = table[name]
            value = values[self.magnitude] if len(values) > 1 else values[0]
            flipped = signed and generator.random() < 0.5
            drawn.append((name, -value if flipped else value))
        return OperationsDraw(box, tuple(drawn))

    def apply(self, image: np.ndarray, draw: OperationsDraw) -> np.ndarray:
        """The augmented image, a square of `size`."""
        return _apply_operations(image, draw, self.size)


# AutoAugment's policy for ImageNet: pairs of operation, probability and bin.
_P, _S, _E, _A, _R = "Posterize", "Solarize", "Equalize", "AutoContrast", "Rotate"
_C, _I = "Color", "Invert"
POLICIES: tuple[tuple[tuple[str, float, int | None], ...], ...] = (
    ((_P, 0.4, 8), (_R, 0.6, 9)),
    ((_S, 0.6, 5), (_A, 0.6, None)),
    ((_E, 0.8, None), (_E, 0.6, None)),
    ((_P, 0.6, 7), (_P, 0.6, 6)),
    ((_E, 0.4, None), (_S, 0.2, 4)),
    ((_E, 0.4, None), (_R, 0.8, 8)),
    ((_S, 0.6, 3), (_E, 0.6, None)),
    ((_P, 0.8, 5), (_E, 1.0, None)),
    ((_R, 0.2, 3), (_S, 0.6, 8)),
    ((_E, 0.6, None), (_P, 0.4, 6)),
    ((_R, 0.8, 8), (_C, 0.4, 0)),
    ((_R, 0.4, 9), (_E, 0.6, None)),
    ((_E, 0.0, None), (_E, 0.8, None)),
    ((_I, 0.6, None), (_E, 1.0, None)),
    ((_C, 0.6, 4), ("Contrast", 1.0, 8)),
    ((_R, 0.8, 8), (_C, 1.0, 2)),
    ((_C, 0.8, 8), (_S, 0.8, 7)),
    (("Sharpness", 0.4, 7), (_I, 0.6, None)),
    (("ShearX", 0.6, 5), (_E, 1.0, None)),
    ((_C, 0.4, 0), (_E, 0.6, None)),
    ((_E, 0.4, None), (_S, 0.2, 4)),
    ((_S, 0.6, 5), (_A, 0.6, None)),
    ((_I, 0.6, None), (_E, 1.0, None)),
    ((_C, 0.6, 4), ("Contrast", 1.0, 8)),
    ((_E, 0.8, None), (_E, 0.6, None)),
)


@dataclasses.dataclass(frozen=True)
class AutoAugment:
    """A random resized crop and one of the 25 policies that were found for ImageNet.

    Cubuk et al., "AutoAugment", CVPR 2019; without flips.
    """

    size: int

    def draw(
        self, generator: np.random.Generator, width: int, height: int
    ) -> OperationsDraw:
        """Parameters for an image of this size."""
        box = draw_box(generator, width, height)
        policy = POLICIES[generator.integers(len(POLICIES))]
        chances, signs = generator.random(len(policy)), generator.random(len(policy))
        table, drawn = magnitudes(_POLICY_BINS, self.size), []
        for (name, share, place), chance, sign in zip(policy, chances, signs):
            if chance <= share:
                values, signed = table[name]
                value = values[place or 0]
                drawn.append((name, -value if signed and sign < 0.5 else value))
        return OperationsDraw(box, tuple(drawn))

    def apply(self, image: np.ndarray, draw: OperationsDraw) -> np.ndarray:
        """The augmented image, a square of `size`."""
        return _apply_operations(image, draw, self.size)


STYLES: dict[str, type] = {
    "custom": Custom,
    "randaugment": RandAugment,
    "autoaugment": AutoAugment,
    "cifar": Cifar,
    "cifar20": Cifar20,
}
NAMES: Sequence[str] = tuple(STYLES)


def make(name: str, size: int) -> Any:
    """The style of a name, one of `NAMES`, for squares of `size`."""
    return STYLES[name](size)


def augment(
    image: np.ndarray, style: Any, generator: np.random.Generator
) -> np.ndarray:
    """One random image of a style.

    Args:
      image: `[H, W, 3]` uint8.
      style: See `make`.
      generator: All random numbers come from it.

    Returns:
      `[size, size, 3]` uint8.
    """
    height, width = image.shape[:2]
    return style.apply(image, style.draw(generator, width, height))
