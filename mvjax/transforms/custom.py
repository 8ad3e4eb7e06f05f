"""MV-MR's augmentation `custom` on the device: an augmented view beside the plain one.

A random crop, resized with antialiasing, flips, changes of colour in a random order, loss
of colours, and always a blur: the steps, chances and ranges are those of the host's style
`custom` (`data/styles.py`), and each image has parameters of its own. Two things differ:
crops are cut out of the plain view, as the host's policy leaves it, not out of the stored
image; and nothing is rounded to whole levels between the steps.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.ops import batch_augment
from mvjax.ops import images as image_ops

AUGMENTATION = batch_augment.Augmentation("per_image", antialias=True)
_FIELDS = "the transform custom"


@dataclasses.dataclass(frozen=True)
class Transform:
    """Both views become float32 in [0, 1]; in evaluation they are the plain one."""

    view: limits.Text = "image"  # The plain one.
    augmented: limits.Text = "augmented"  # Name of the view that is added.

    def spec(self, spec: Any) -> Any:
        """What leaves it.

        Args:
          spec: `mvjax.data.batch.Spec` of what comes in, with the view `[H, W, 3]`.

        Raises:
          UserError: There is no such view, it is no RGB image, or the other is there.
        """
        if self.view not in spec.views:
            raise errors.unknown(f"view of {_FIELDS}:", self.view, spec.views)
        if self.augmented in spec.views:
            raise errors.UserError(
                f"{_FIELDS} adds the view {self.augmented!r}, which the data or the "
                "host's policy give; choose another config.data.train_policy, such as "
                "name=resize_crop or name=None."
            )
        view = spec.views[self.view]
        wanted = (*view.shape[:2], 3)
        method.check_image(self.view, view, wanted, fields=_FIELDS)
        made = view._replace(dtype="float32", low=0.0, high=1.0)
        views = {self.view: made, self.augmented: made}
        return spec._replace(views=spec.views | views)

    def __call__(self, batch: method.Batch, key: jax.Array | None) -> method.Batch:
        """A batch with both views, `[B, H, W, 3]`."""
        plain = augmented = image_ops.to_float(batch["views"][self.view])
        if key is not None:
            key = rng_lib.named(key, self.augmented)
            # Sums of weights that add up to one may exceed it by a rounding.
            augmented = jnp.clip(AUGMENTATION(plain, key), 0, 1)
        views = {self.view: plain, self.augmented: augmented}
        return batch | {"views": batch["views"] | views}
