"""The plain view of an image: resized by its shorter side, then the square in its middle.

The validation transform of ImageNet: 256, then 224 pixels; of VOC: 330, then 300. The
same in training and in evaluation.
"""

import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import images
from mvjax.data import pictures

_SHARE = 224 / 256  # Of the square in the shorter side, where nothing else is said.


@dataclasses.dataclass(frozen=True)
class Policy:
    """Squares of one view `[H, W, 3]` uint8; other views stay."""

    view: limits.Text = "image"
    size: limits.Pixels = 224  # Side of what leaves it.
    # The shorter side before the square is cut; None: 256 for 224, others in proportion.
    resize: limits.Pixels | None = None

    def __post_init__(self):
        if self.shorter < self.size:
            raise errors.UserError(
                f"The policy resize_crop has resize={self.shorter}, less than "
                f"size={self.size}, the square that is cut out."
            )

    @property
    def shorter(self) -> int:
        """The shorter side before the square is cut."""
        return int(self.size / _SHARE) if self.resize is None else self.resize

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        view = images.check_rgb(spec, self.view, "resize_crop")
        view = view._replace(shape=(self.size, self.size, 3), varies=False)
        return spec._replace(views=spec.views | {self.view: view})

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does: all."""
        return tuple(spec.views)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record with its square; nothing is drawn."""
        del generator
        image = self.cut(record["views"][self.view])
        return record | {"views": record["views"] | {self.view: image}}

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The square of an image `[H, W, 3]` uint8, `[size, size, 3]`."""
        image = pictures.resize_shorter(image, self.shorter)
        return pictures.crop(image, pictures.centre(image, self.size))
