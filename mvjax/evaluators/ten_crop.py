"""Top-k accuracy of logits averaged over ten crops of a view.

The crops are the four corners and the centre, then the same of the mirror image, as in
torchvision's `ten_crop` and in the released evaluation of MV-MR; logits are averaged, not
probabilities. Of images as large as the crop all five places are one, so that an image
and its mirror image are what is averaged.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators import classification
from mvjax.evaluators.common import offer as offer_lib


def corners(shape: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """Where the five squares begin: top left, top right, bottom left and right, centre.

    Args:
      shape: Height and width of the images.
      size: Side of a square.

    Returns:
      Top and left of each, in pixels; half a pixel is rounded to the even one.
    """
    bottom, right = (length - size for length in shape)
    middle = (round(bottom / 2), round(right / 2))
    return [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]


@dataclasses.dataclass(frozen=True)
class Evaluator(classification.Evaluator):
    """The scores of `classification`, of logits `[B, K]` of ten crops."""

    view: limits.Text = "image"
    size: limits.Pixels = 224  # Side of a crop.

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: See `classification.Evaluator.check`; or there is no such view, or it
            holds no images of that size.
        """
        if self.view not in offer.spec.views:
            raise errors.unknown("view", self.view, offer.spec.views)
        shape = tuple(offer.spec.views[self.view].shape)
        if len(shape) != 3 or min(shape[:2]) < self.size:
            raise errors.UserError(
                f"View {self.view!r} has shape {shape}; no crop of {self.size} pixels "
                "(size) is in it."
            )
        return super().check(offer)

    def predict(
        self, predict: Callable[[dict[str, Any]], Any], batch: dict[str, Any]
    ) -> dict[str, jax.Array]:
        """Logits `[B, 10, K]` of the crops in place of those of the images."""
        images = np.asarray(batch["views"][self.view])
        # What was computed once for each record is not of its crops.
        rest = {name: part for name, part in batch.items() if name != "constant"}
        logits = []
        for image in (images, images[:, :, ::-1]):
            found: dict[tuple[int, int], jax.Array] = {}  # Equal places are seen once.
            for top, left in corners(image.shape[1:3], self.size):
                if (top, left) not in found:
                    crop = image[:, top : top + self.size, left : left + self.size]
                    views = batch["views"] | {self.view: crop}
                    outputs = predict(rest | {"views": views})
                    found[top, left] = classification.mean_logits(outputs[self.output])
                logits.append(found[top, left])
        return {self.output: jnp.stack(logits, axis=1)}
