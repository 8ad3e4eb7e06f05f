"""Two coloured views of a grey image, the coloured MNIST of SDIM and EDIM.

View one has a coloured background, view two a coloured stroke, see `ops/colouring.py`;
with a view `partner` the second shows that image. Evaluation has the colours that the
data give as the factors `color_bg` and `color_fg`; training draws others for each epoch.
"""

import dataclasses
from typing import Any

import jax

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.ops import colouring

_SOURCES = ("digit", "partner")  # Views of the data, the second where there are pairs.
_FACTORS = ("color_bg", "color_fg")
_FIELDS = "the transform colouring"


@dataclasses.dataclass(frozen=True)
class Transform:
    """Makes the views from `digit`; batches that have them already stay as they are."""

    views: limits.Names = ("x", "y")
    redraw: bool = True  # New colours in each epoch of training.
    seed: limits.Natural = 0  # Of those.

    def spec(self, spec: Any) -> Any:
        """What leaves it.

        Args:
          spec: `mvjax.data.batch.Spec` of the data set.

        Raises:
          UserError: The views cannot be made from it.
        """
        if set(self.views) <= set(spec.views):
            return spec
        if len(self.views) != 2:
            raise errors.UserError(
                f"{_FIELDS} makes two views, not {len(self.views)}: {self.views}."
            )
        if "digit" not in spec.views:
            raise errors.UserError(
                f"{_FIELDS} makes its views from the data's view 'digit'; the data set "
                f"has {tuple(spec.views)}."
            )
        if missing := [name for name in _FACTORS if name not in spec.factors]:
            raise errors.unknown(f"factor of {_FIELDS}:", missing[0], spec.factors)
        digit = spec.views["digit"]
        grey = (*digit.shape[:2], 1)
        for name in set(_SOURCES) & set(spec.views):
            view = spec.views[name]
            method.check_image(name, view, grey, fields=_FIELDS, floats=False)
        shape = (*digit.shape[:2], 3)
        made = digit._replace(shape=shape, dtype="float32", low=0.0, high=1.0)
        return spec._replace(views={name: made for name in self.views})

    def __call__(self, batch: method.Batch, key: jax.Array | None) -> method.Batch:
        """A batch with the two views `[B, H, W, 3]` in [0, 1] and the colours they show.

        Those of training follow from epoch and index, not from the key.
        """
        held = batch["views"]
        if all(name in held for name in self.views):
            return batch
        factors = dict(batch.get("factors", {}))
        if not set(_FACTORS) <= set(factors):
            raise errors.UserError(
                "Coloured digits need the factors color_bg and color_fg; the data have "
                f"{tuple(factors)}. Give the views {self.views} instead."
            )
        if key is not None and self.redraw:
            drawn = colouring.draw(self.seed, batch["epoch"], batch["index"])
            factors |= dict(zip(_FACTORS, drawn, strict=True))
        partner = held.get("partner", held["digit"])
        images = (
            colouring.colour_background(held["digit"], factors["color_bg"]),
            colouring.colour_foreground(partner, factors["color_fg"]),
        )
        views = dict(zip(self.views, images, strict=True))
        return batch | {"views": views, "factors": factors}
