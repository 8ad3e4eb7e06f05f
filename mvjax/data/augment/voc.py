"""The published transforms of VOC07: whole images, mild colours, flips and rotations.

In training the image is squeezed into a square; in evaluation its shorter side becomes
`resize` and the square in the middle is taken.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import images
from mvjax.data import photometry
from mvjax.data import pictures
from mvjax.data.augment import resize_crop


class Draw(NamedTuple):
    """Parameters of one image in training."""

    brightness: float | None  # A factor; None: it stays.
    grey: bool
    flip: bool
    degrees: float  # Against the clock.


@dataclasses.dataclass(frozen=True)
class Policy:
    """Squares of one view `[H, W, 3]` uint8; other views stay."""

    view: limits.Text = "image"
    size: limits.Pixels = 300  # Side of what leaves it.
    resize: limits.Pixels = 330  # The shorter side in evaluation.
    brightness: limits.Rate = (
        0.2  # Factors lie within this of 1, in half of the images.
    )
    grey: limits.Share = 0.25  # How often the other half loses its colours.
    flip: limits.Share = 0.25
    degrees: limits.Weight = 25.0  # Greatest rotation, either way.

    def __post_init__(self):
        if self.resize < self.size:
            raise errors.UserError(
                f"The policy voc has resize={self.resize}, less than size={self.size}, the "
                "square that is cut out in evaluation."
            )

    @property
    def _plain(self) -> resize_crop.Policy:
        """What evaluation sees."""
        return resize_crop.Policy(self.view, self.size, self.resize)

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        view = images.check_rgb(spec, self.view, "voc")
        view = view._replace(shape=(self.size, self.size, 3), varies=False)
        return spec._replace(views=spec.views | {self.view: view})

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does."""
        return tuple(name for name in spec.views if name != self.view)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record with its augmented image; None: with its plain one."""
        if generator is None:
            return self._plain(record, None)
        image = self.apply(record["views"][self.view], self.draw(generator))
        return record | {"views": record["views"] | {self.view: image}}

    def draw(self, generator: np.random.Generator) -> Draw:
        """Parameters of one image."""
        brightens, greys, flips = generator.random(3)
        factor = generator.uniform(1 - self.brightness, 1 + self.brightness)
        return Draw(
            factor if brightens < 0.5 else None,
            bool(brightens >= 0.5 and greys < self.grey),
            bool(flips < self.flip),
            generator.uniform(-self.degrees, self.degrees),
        )

    def apply(self, image: np.ndarray, draw: Draw) -> np.ndarray:
        """The augmented image, a square of `size`."""
        image = pictures.resize(image, (self.size, self.size))
        if draw.brightness is not None:
            image = photometry.brighten(image, draw.brightness)
        image = photometry.grey(image) if draw.grey else image
        image = pictures.mirror(image) if draw.flip else image
        picture = pictures.rotate(pictures.from_array(image), draw.degrees)
        return pictures.to_array(picture)
