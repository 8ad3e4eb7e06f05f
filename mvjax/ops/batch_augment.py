"""The augmentation that is one of MV-MR's representations (arXiv 2303.12130).

Random crop and resize, flip, brightness, contrast, saturation and hue in random order,
loss of colours, blur: torchvision 0.13's for tensors, by its formulas. Two kinds:

* `official`, as released: all images of a batch share one draw, and the changes, which
  clip to [0, 1], act on normalised values, whose negative ones they thereby lose;
* `per_image`: a draw for each image, which is brought back to [0, 1] before.

What is drawn and what is done with it are apart: `draw` and `apply`.
"""

from collections.abc import Sequence
import dataclasses
import functools
import itertools
import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import precision
from mvjax.ops import photometry

KINDS = ("official", "per_image")
WAYS = ("brightness", "contrast", "saturation", "hue")  # As `Draw.order` counts them.
_HUE = WAYS.index("hue")
_ORDERS = np.array(list(itertools.permutations(range(len(WAYS)))), np.int32)
_TRIES = 10  # Boxes that are drawn before the centre is taken.
_FACTOR = Annotated[float, limits.Range(low=0, high=1)]


class Draw(NamedTuple):
    """What happens to an image; arrays without axes, or `[B]` for images one by one."""

    top: jax.Array  # The box that is cut out, in pixels, int32.
    left: jax.Array
    height: jax.Array
    width: jax.Array
    flip: jax.Array  # Bool.
    jitter: jax.Array  # Bool: whether the four ways change anything.
    order: jax.Array  # Of the four ways, `[4]` or `[B, 4]` int32.
    brightness: jax.Array  # Factors, 1: no change.
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array  # Part of the circle.
    grey: jax.Array  # Bool.
    sigma: jax.Array  # Of the blur, in pixels.


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Settings of the chain; those of torchvision's transforms have their names."""

    kind: limits.one_of(*KINDS) = "official"
    size: limits.Pixels | None = (
        None  # Side of the result; None: height and width stay.
    )
    scale: tuple[limits.Part, limits.Part] = (0.08, 1.0)  # Of the area.
    ratio: tuple[limits.Positive, limits.Positive] = (3 / 4, 4 / 3)  # Width by height.
    # Whether boxes that shrink are smoothed first, as Pillow does.
    antialias: bool = False
    flip: limits.Share = 0.5  # How often.
    jitter: limits.Share = 0.8  # How often.
    brightness: _FACTOR = 0.8  # Factors lie between 1 - this and 1 + this.
    contrast: _FACTOR = 0.8
    saturation: _FACTOR = 0.8
    hue: Annotated[float, limits.Range(0, 0.5)] = 0.2  # Turns lie in -this..this.
    grey: limits.Share = 0.2  # How often.
    sigma: tuple[limits.Positive, limits.Positive] = (0.1, 2.0)

    def __call__(
        self,
        images: jax.Array,
        key: jax.Array,
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> jax.Array:
        """Augments normalised images `[B, H, W, C]`, C 1 or 3, to `[B, size, size, C]`.

        Args:
          images: Any float type.
          key: For all draws.
          mean: What was taken off images in [0, 1], of each channel or of all; of use to
            `per_image`.
          std: What was left was divided by it.

        Raises:
          UserError: The images have another number of channels, or the statistics have.
        """
        batch, *shape, channels = images.shape
        images = images.astype(jnp.float32)
        size = (self.size, self.size) if self.size else tuple(shape)
        sides = dict(size=size, kernel=blur_size(min(size)), antialias=self.antialias)
        if self.kind == "official":
            return apply(images, self.draw(key, shape), **sides)
        for name, given in (("mean", mean), ("std", std)):
            if len(given) not in (1, channels):
                raise errors.UserError(
                    f"{name} has {len(given)} entries for images of {channels} channels. "
                    f"Choices: 1 or {channels} entries."
                )
        mean, std = jnp.array(mean), jnp.array(std)
        keys = jax.random.split(key, batch)
        draws = jax.vmap(functools.partial(self.draw, shape=shape))(keys)
        images = apply(images * std + mean, draws, **sides)
        return (images - mean) / std

    def draw(self, key: jax.Array, shape: Sequence[int]) -> Draw:
        """Draws for one image, or for a whole batch, of height and width `shape`."""
        numbers = jax.random.uniform(key, (2 * _TRIES + 11,))  # In [0, 1).
        shared, boxes = numbers[:11], numbers[11:]

        def between(number: jax.Array, low: float, high: float) -> jax.Array:
            return low + (high - low) * number

        box = _draw_box(shared[:2], boxes.reshape(2, -1), shape, self.scale, self.ratio)
        order = jnp.asarray(_ORDERS)[_whole(shared[2], len(_ORDERS))]
        factors = {
            name: between(number, 1 - getattr(self, name), 1 + getattr(self, name))
            for name, number in zip(WAYS[:3], shared[3:6], strict=True)
        }
        return Draw(
            *box,
            **factors,
            order=order,
            hue=between(shared[6], -self.hue, self.hue),
            sigma=between(shared[7], *self.sigma),
            flip=shared[8] < self.flip,
            jitter=shared[9] < self.jitter,
            grey=shared[10] < self.grey,
        )


def blur_size(side: int) -> int:
    """Side of the blur's kernel that MV-MR takes for images of `side` pixels."""
    return 2 * int(0.05 * side) + 1


def apply(
    images: jax.Array,
    draw: Draw,
    *,
    size: tuple[int, int],
    kernel: int,
    antialias: bool = False,
) -> jax.Array:
    """Does to images what was drawn.

    Args:
      images: `[B, H, W, C]` float32, C 1 or 3.
      draw: One for all images, or a row for each.
      size: Height and width of the result.
      kernel: Side of the blur's kernel, odd.
      antialias: See `resized_crop`.

    Returns:
      `[B, *size, C]` float32.

    Raises:
      UserError: The images have another number of channels.
    """
    if images.shape[-1] not in (1, 3):
        raise errors.UserError(
            f"The augmentation takes images of 1 or 3 channels, not {images.shape[-1]}."
        )

    def one(image: jax.Array, draw: Draw) -> jax.Array:
        image = flip(resized_crop(image, draw, size, antialias=antialias), draw)
        return blur(grey(jitter(image, draw), draw), draw, kernel)

    rows = 0 if jnp.ndim(draw.top) else None
    return jax.vmap(one, in_axes=(0, rows))(images, draw)


def resized_crop(
    image: jax.Array, draw: Draw, size: tuple[int, int], *, antialias: bool = False
) -> jax.Array:
    """Cuts the box out of `[H, W, C]` and resizes it, bilinear.

    Pixels beside the box have no influence. With `antialias`, pixels of a box that
    shrinks are means over as many of its pixels as there are for each, as Pillow takes
    them; without, they lie between the two nearest.
    """
    rows = _resizing(draw.top, draw.height, image.shape[0], size[0], antialias)
    columns = _resizing(draw.left, draw.width, image.shape[1], size[1], antialias)
    image = precision.einsum("uh,hwc->uwc", rows, image)
    return precision.einsum("vw,uwc->uvc", columns, image)


def flip(image: jax.Array, draw: Draw) -> jax.Array:
    """Mirrors `[H, W, C]` where it was drawn."""
    return jnp.where(draw.flip, image[:, ::-1], image)


def jitter(image: jax.Array, draw: Draw) -> jax.Array:
    """Does to `[H, W, C]` the four changes of colour in their order, where drawn.

    The orders of a batch's images differ. As the hue takes most time, it is turned once
    for all, and the other changes of each image come before it or after it.
    """
    changed, turn = image, jnp.argmax(draw.order == _HUE)
    for place in range(_HUE):
        changed = jnp.where(place < turn, blend(changed, draw, place), changed)
    if image.shape[-1] > 1:  # Without colours, torchvision leaves the image alone.
        changed = turn_hue(changed, draw.hue)
    for place in range(1, len(WAYS)):
        changed = jnp.where(place > turn, blend(changed, draw, place), changed)
    return jnp.where(draw.jitter, changed, image)


def blend(image: jax.Array, draw: Draw, place: int) -> jax.Array:
    """Does to `[H, W, C]` the change at `place` of the order, which is not the hue's."""
    way, luma = draw.order[place], photometry.grey(image)
    other = jnp.where(way == 1, jnp.mean(luma), luma)
    other = jnp.where(way == 0, 0, other)
    factors = jnp.stack([draw.brightness, draw.contrast, draw.saturation])
    found = photometry.blend(image[None], other[None], factors[way][None])[0]
    if image.shape[-1] > 1:
        return found
    return jnp.where(way == 2, image, found)


def grey(image: jax.Array, draw: Draw) -> jax.Array:
    """Takes the colours off `[H, W, C]` where it was drawn."""
    return jnp.where(draw.grey, photometry.grey(image), image)


def blur(image: jax.Array, draw: Draw, kernel: int) -> jax.Array:
    """Blurs `[H, W, C]`; values may lie in any range."""
    return photometry.smooth(image[None], draw.sigma[None], size=kernel)[0]


def turn_hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hues of `[H, W, 3]` by a part of the circle, as torchvision does.

    In [0, 1] it is `photometry.hue`. Outside, the largest value of a pixel stays as it
    is, and the others are clipped.
    """
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.max(image, axis=-1)
    span = value - jnp.min(image, axis=-1)
    safe = jnp.where(span > 0, span, 1)
    to_red, to_green, to_blue = ((value - x) / safe for x in (red, green, blue))
    # Not `value == red`: compilers compute values twice, and round them otherwise.
    angle = jnp.where(
        (red >= green) & (red >= blue),
        to_blue - to_green,
        jnp.where(green >= blue, 2 + to_red - to_blue, 4 + to_green - to_red),
    )
    turns = angle / 6 + shift
    angle = (turns - jnp.floor(turns)) * 6  # `% 1` calls a function for each pixel.
    sector = jnp.floor(angle)
    part = angle - sector
    # Value times saturation is the span, also where the value is 0 or negative.
    low = jnp.clip(value - span, 0, 1)
    falling = jnp.clip(value - span * part, 0, 1)
    rising = jnp.clip(value - span * (1 - part), 0, 1)
    sector = sector.astype(jnp.int32) % 6
    choices = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    channels = [jax.lax.select_n(sector, *choice) for choice in choices]
    return jnp.stack(channels, axis=-1)


def _resizing(
    start: jax.Array, length: jax.Array, side: int, size: int, antialias: bool
) -> jax.Array:
    """Matrix `[size, side]` that takes `length` pixels from `start` on to `size` ones."""
    scale = length.astype(jnp.float32) / size
    place = (jnp.arange(size) + 0.5) * scale - 0.5  # In the box, as torch rounds it.
    pixel = (jnp.arange(side) - start).astype(jnp.float32)
    reach = jnp.maximum(scale, 1) if antialias else 1
    weights = jnp.maximum(1 - jnp.abs(pixel[None] - place[:, None]) / reach, 0)
    weights *= (pixel >= 0) & (pixel < length)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _draw_box(
    corner: jax.Array,
    tries: jax.Array,
    shape: Sequence[int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[jax.Array, ...]:
    """Top, left, height and width of torchvision's random box, int32.

    Args:
      corner: Draws from [0, 1) for the corner, `[2]`.
      tries: For the area and the ratio of each try, `[2, tries]`.
      shape: Height and width of the image.
      scale: Least and largest share of the area.
      ratio: Least and largest ratio of width by height.
    """
    rows, columns = shape
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * tries[0])
    low, high = (math.log(end) for end in ratio)
    shapes = jnp.exp(low + (high - low) * tries[1])
    width = jnp.round(jnp.sqrt(area * shapes)).astype(jnp.int32)
    height = jnp.round(jnp.sqrt(area / shapes)).astype(jnp.int32)
    fits = (width > 0) & (width <= columns) & (height > 0) & (height <= rows)
    first = jnp.argmax(fits)
    height, width = height[first], width[first]
    top = _whole(corner[0], jnp.maximum(rows - height, 0) + 1)
    left = _whole(corner[1], jnp.maximum(columns - width, 0) + 1)
    centre = _central_box(rows, columns, ratio)
    drawn = (top, left, height, width)
    return tuple(
        jnp.where(jnp.any(fits), a, b).astype(jnp.int32) for a, b in zip(drawn, centre)
    )


def _whole(number: jax.Array, count: jax.Array | int) -> jax.Array:
    """A whole number below `count` of one in [0, 1), int32."""
    return jnp.minimum((number * count).astype(jnp.int32), count - 1)


def _central_box(
    rows: int, columns: int, ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """The box that is taken where none of the tries fits."""
    height, width = rows, columns
    if columns / rows < ratio[0]:
        height = round(columns / ratio[0])
    elif columns / rows > ratio[1]:
        width = round(rows * ratio[1])
    return (rows - height) // 2, (columns - width) // 2, height, width
