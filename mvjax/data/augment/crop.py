"""Random resized crops and flips; in evaluation the centre, resized.

As in Szegedy et al., "Going Deeper with Convolutions", CVPR 2015: a box of a random part
of the image's area and of a random aspect ratio becomes a square. Every image view and
every truth with two axes or more is cut at the same place of the scene, whatever its own
resolution; masks of integers keep their classes (nearest neighbour).
"""

import dataclasses
import math

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import images

_TRIES = 10  # Boxes that are drawn before the greatest one that fits is taken.


@dataclasses.dataclass(frozen=True)
class Policy:
    """Crops of `[H, W, C]` views and `[H, W]` truths to squares."""

    size: limits.Pixels = 224  # Side of what leaves it.
    scale: tuple[limits.Part, limits.Part] = (0.08, 1.0)  # Of the area.
    ratio: tuple[limits.Positive, limits.Positive] = (3 / 4, 4 / 3)  # Width by height.
    flip: limits.Share = 0.5  # How often left and right change places.
    flip_vertical: limits.Share = 0.0  # The same for top and bottom.
    # Above 1 each view has as many random crops, `[K, size, size, C]`.
    draws: limits.Count = 1
    # Side of evaluation's crop by the image's shorter side.
    centre: limits.Part = 0.875
    resampling: limits.one_of(*images.RESAMPLING) = "bilinear"

    def __post_init__(self):
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise errors.UserError(
                    f"The policy crop has {name}=({low:g}, {high:g}); the smaller number "
                    "comes first."
                )

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        sides = (self.size, self.size)

        def leave(found: batch.ViewSpec | batch.TargetSpec):
            shape = (*sides, *found.shape[2:])
            return found._replace(
                shape=images.with_draws(shape, self.draws), varies=False
            )

        views, targets = images.spatial(spec)
        if not views:
            raise errors.UserError(
                "The policy crop needs a view [H, W, C]; there is none."
            )
        return spec._replace(
            views=spec.views | {k: leave(spec.views[k]) for k in views},
            targets=spec.targets | {k: leave(spec.targets[k]) for k in targets},
        )

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does."""
        return images.others(spec)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record with its crops; None: of the centre, all draws alike."""
        draws = [self._draw(record, generator) for _ in range(self.draws)]

        def cut(array: np.ndarray, smooth: bool) -> np.ndarray:
            made = [
                images.crop(
                    array,
                    box,
                    (self.size, self.size),
                    flips=flips,
                    resampling=self.resampling if smooth else "nearest",
                )
                for box, flips in draws
            ]
            return made[0] if self.draws == 1 else np.stack(made)

        return images.map_spatial(record, cut)

    def _draw(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> tuple[tuple[float, ...], tuple[bool, bool]]:
        """A box (left, top, right, bottom) in parts of the sides, and flips."""
        height, width = images.sides(record)
        if generator is None:
            side = self.centre * min(height, width)
            return _middle(side / width, side / height), (False, False)
        # As many numbers for each record, so that later ones hang on nothing.
        areas = generator.uniform(*self.scale, _TRIES) * height * width
        ratios = np.exp(generator.uniform(*np.log(self.ratio), _TRIES))
        place, flips = generator.uniform(size=2), generator.uniform(size=2)
        flips = (bool(flips[0] < self.flip), bool(flips[1] < self.flip_vertical))
        for area, ratio in zip(areas, ratios, strict=True):
            w, h = math.sqrt(area * ratio) / width, math.sqrt(area / ratio) / height
            if w <= 1 and h <= 1:
                left, top = place * (1 - w, 1 - h)
                return (left, top, left + w, top + h), flips
        fitting = float(np.clip(width / height, *self.ratio))
        w, h = min(1.0, fitting * height / width), min(1.0, width / fitting / height)
        return _middle(w, h), flips


def _middle(width: float, height: float) -> tuple[float, ...]:
    """A box of these sides around the centre, in parts of the image's."""
    left, top = (1 - width) / 2, (1 - height) / 2
    return left, top, left + width, top + height
