"""Handwritten digits bundled with scikit-learn, with their edges: real and offline.

1,797 images, 8x8, values 0..16, here scaled to 0..255. Views `image` and `edge`,
`[size, size, 1]` uint8; the edge view is taken at 8x8 before the resizing. The split is
fixed: of each class a random 80 % (seed 0) are for training, the rest for testing; both
keep the order of the file. With `mask` there is also a truth for each pixel, the target
`mask` `[size, size]`: 0 paper, 1 to 10 ink of the digits 0 to 9, 255 the blurred edge.
"""

import numpy as np

from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import edges
from mvjax.data import images as images_lib

CLASSES = 10
TRAIN_FRACTION = 0.8
MASK = "mask"
EDGE = 255  # Class of the pixels of which nobody can tell.
_FAINT, _FULL = 64, 128  # What is between is neither paper nor ink.


def spec(
    *, split: str = "train", size: limits.Pixels = 16, mask: bool = False
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split
    view = batch.ViewSpec((size, size, 1), "uint8", 0.0, 255.0)
    truth = batch.TargetSpec((size, size), "uint8", 0, CLASSES, ignore=EDGE)
    views, targets = {"image": view, "edge": view}, {MASK: truth} if mask else {}
    return batch.Spec(views, CLASSES, targets=targets)


def _mask(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class of each pixel, `[N, size, size]` uint8, of images `[N, size, size, 1]`."""
    ink = images[..., 0]
    classes = np.where(ink < _FULL, EDGE, 1 + labels[:, None, None])
    return np.where(ink < _FAINT, 0, classes).astype(np.uint8)


class Source(arrays.ArraySource):
    """Digits and edges in memory."""

    def __init__(
        self,
        *,
        split: str = "train",
        size: int = 16,
        mask: bool = False,
        limit: int | None = None,
    ):
        """Loads and resizes.

        Args:
          split: "train" (1,438 records), "test" (359) or "all".
          size: Height and width of the views.
          mask: Whether there is a class for each pixel.
          limit: Number of records to keep; None: all.
        """
        from sklearn import datasets

        arrays.check_limit(limit)
        bunch = datasets.load_digits()
        chosen = arrays.random_split(
            bunch.target, split=split, train_fraction=TRAIN_FRACTION
        )[:limit]
        images = np.rint(bunch.images[chosen] * (255 / 16)).astype(np.uint8)[..., None]
        views = {
            "image": images_lib.resize(images, size),
            "edge": images_lib.resize(edges.edge_view(images), size),
        }
        labels = bunch.target[chosen]
        targets = {MASK: _mask(views["image"], labels)} if mask else {}
        super().__init__(spec(size=size, mask=mask), views, labels, targets=targets)
