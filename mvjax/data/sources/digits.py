"""Handwritten digits bundled with scikit-learn, with their edges: real and offline.

1,797 images, 8x8, values 0..16, here scaled to 0..255. Views `image` and `edge`,
`[size, size, 1]` uint8; the edge view is taken at 8x8 before the resizing. The split is
fixed: of each class a random 80 % (seed 0) are for training, the rest for testing; both
keep the order of the file.
"""

import numpy as np

from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import edges
from mvjax.data import images as images_lib

CLASSES = 10
TRAIN_FRACTION = 0.8


def spec(*, split: str = "train", size: limits.Pixels = 16) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split
    view = batch.ViewSpec((size, size, 1), "uint8", 0.0, 255.0)
    return batch.Spec({"image": view, "edge": view}, CLASSES)


class Source(arrays.ArraySource):
    """Digits and edges in memory."""

    def __init__(
        self, *, split: str = "train", size: int = 16, limit: int | None = None
    ):
        """Loads and resizes.

        Args:
          split: "train" (1,438 records), "test" (359) or "all".
          size: Height and width of the views.
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
        super().__init__(spec(size=size), views, bunch.target[chosen])
