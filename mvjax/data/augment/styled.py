"""One published augmentation of an image; evaluation sees the plain image.

`style=custom` is what MV-MR fine-tunes with, whatever its pre-training used. What the
styles do stands in `data/styles.py`, and the pair of plain and augmented in `pair`.
"""

import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import images
from mvjax.data import styles
from mvjax.data.augment import resize_crop

PLAINS = ("native", "imagenet")


@dataclasses.dataclass(frozen=True)
class Policy:
    """Squares of one view `[H, W, 3]` uint8; other views stay."""

    view: limits.Text = "image"
    style: limits.one_of(*styles.NAMES) = "custom"
    size: limits.Pixels = 224  # Side of what leaves it.
    # The plain image: as it is stored, or the square in the middle, see `resize_crop`.
    plain: limits.one_of(*PLAINS) = "imagenet"

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        view = check_plain(spec, self.view, self.size, self.plain, "styled")
        return spec._replace(views=spec.views | {self.view: view})

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does."""
        return tuple(name for name in spec.views if name != self.view)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record with its augmented image; None: with its plain one."""
        image = record["views"][self.view]
        if generator is None:
            image = plain_image(image, self.size, self.plain)
        else:
            image = styles.augment(image, styles.make(self.style, self.size), generator)
        return record | {"views": record["views"] | {self.view: image}}


def check_plain(
    spec: batch.Spec, name: str, size: int, plain: str, policy: str
) -> batch.ViewSpec:
    """What a plain view looks like, `[size, size, 3]`.

    Raises:
      UserError: The stored one is no RGB image, or has another size and stays as it is.
    """
    view = images.check_rgb(spec, name, policy)
    if plain == "imagenet":
        return view._replace(shape=(size, size, 3), varies=False)
    if view.varies or tuple(view.shape[:2]) != (size, size):
        found = "many sizes" if view.varies else f"{view.shape[0]}x{view.shape[1]}"
        raise errors.UserError(
            f"The policy {policy} has plain=native and size={size}; the images of the "
            f"view {name!r} have {found}. Set size to theirs, or plain=imagenet, which "
            "makes them one size."
        )
    return view


def plain_image(image: np.ndarray, size: int, plain: str) -> np.ndarray:
    """The plain view of an image `[H, W, 3]` uint8, `[size, size, 3]`."""
    if plain == "native":
        return image
    return resize_crop.Policy(size=size).cut(image)
