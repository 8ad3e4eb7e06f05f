"""The plain image and an augmented one beside it, the two views of MV-MR.

The plain view is free of chance and the same in every epoch, so what is computed from it
can be kept. The styles of the augmented one stand in `data/styles.py`. For evaluation,
which needs the plain view alone, take `resize_crop` with the same size (where
`plain=imagenet`), or no policy (where `plain=native`).
"""

import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import styles
from mvjax.data.augment import styled


@dataclasses.dataclass(frozen=True)
class Policy:
    """Two squares of one view `[H, W, 3]` uint8; other views stay."""

    view: limits.Text = "image"  # The stored image, and the plain one that leaves it.
    augmented: limits.Text = "augmented"  # Name of the view that is added.
    style: limits.one_of(*styles.NAMES) = "custom"
    size: limits.Pixels = 224  # Side of both.
    # The plain image: as it is stored, or the square in the middle, see `resize_crop`.
    plain: limits.one_of(*styled.PLAINS) = "imagenet"

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it, in training and in evaluation."""
        view = styled.check_plain(spec, self.view, self.size, self.plain, "pair")
        if self.augmented in spec.views:
            raise errors.UserError(
                f"The policy pair adds the view {self.augmented!r}, which is there; set "
                "its field `augmented` to another name."
            )
        return spec._replace(views=spec.views | {self.view: view, self.augmented: view})

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does: the stored ones."""
        return tuple(spec.views)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record with both views; None: the plain image twice."""
        image = record["views"][self.view]
        plain = styled.plain_image(image, self.size, self.plain)
        augmented = plain
        if generator is not None:
            style = styles.make(self.style, self.size)
            augmented = styles.augment(image, style, generator)
        views = {self.view: plain, self.augmented: augmented}
        return record | {"views": record["views"] | views}
