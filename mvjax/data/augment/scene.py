"""Mirrored, scaled and cropped scenes whose margin the network sees as 0.

As in the released code of CMX (arXiv 2203.04838) all image views and all dense truths are
mirrored together, resized by one of `scales`, normalised and cropped; what is smaller than
the crop then gets a margin all around, 0 in images and `ignore` in truths. As the margin has
to be 0 after the normalisation, this policy normalises and not the method, whose `mean` and
`std` stay empty; evaluators that pad images pad them with 0, too.

A crop starts anywhere from 0 to one pixel beyond the last place where it fits, as
released, so that it may lack its last row or column, which is margin then.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import band_photometry
from mvjax.data import batch
from mvjax.data import images

Size = tuple[int, int]  # Height and width.


class Draw(NamedTuple):
    """Parameters of one scene."""

    mirror: bool = False
    scale: float = 1.0
    top: int = 0
    left: int = 0


@dataclasses.dataclass(frozen=True)
class Policy:
    """Crops of `[H, W, C]` views and `[H, W]` truths that show one place.

    Evaluation sees whole scenes: what is larger than the crop shrinks until it fits, what
    is smaller gets a margin. So where all scenes have one size, `crop` of the evaluation's
    policy should be that.
    """

    crop: tuple[limits.Pixels, limits.Pixels] = (480, 640)  # Height and width.
    scales: limits.some(limits.Positive) = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    mirror: limits.Share = 0.5  # How often left and right change places.
    # Of views that are normalised, a tuple for each: of the channels of images in [0, 1]
    # the mean, which is taken off, and what the rest is divided by.
    views: limits.AnyNames = ()
    means: tuple[tuple[float, ...], ...] = ()
    stds: tuple[tuple[limits.Positive, ...], ...] = ()
    ignore: int = 255  # What truths are in the margin.

    def __post_init__(self):
        if not len(self.views) == len(self.means) == len(self.stds):
            raise errors.UserError(
                f"The policy scene has {len(self.views)} views, {len(self.means)} entries "
                f"in means and {len(self.stds)} in stds; wanted is one for each view."
            )

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        views, targets = images.spatial(spec)
        if not views:
            raise errors.UserError(
                "The policy scene needs a view [H, W, C]; there is none."
            )
        for name, mean, std in zip(self.views, self.means, self.stds):
            if name not in views:
                raise errors.unknown("view of the policy scene:", name, views)
            channels = spec.views[name].shape[2]
            if not len(mean) == len(std) == channels:
                raise errors.UserError(
                    f"The policy scene has {len(mean)} means and {len(std)} deviations "
                    f"for the view {name!r}, which has {channels} channels."
                )
        found = {k: self._view(k, spec.views[k]) for k in views}
        truths = {k: self._truth(k, spec.targets[k]) for k in targets}
        return spec._replace(views=spec.views | found, targets=spec.targets | truths)

    def _view(self, name: str, view: batch.ViewSpec) -> batch.ViewSpec:
        view = view._replace(shape=(*self.crop, view.shape[2]), varies=False)
        if name in self.views:
            return view._replace(dtype="float32", low=-np.inf, high=np.inf)
        return view._replace(low=min(view.low, 0.0), high=max(view.high, 0.0))

    def _truth(self, name: str, truth: batch.TargetSpec) -> batch.TargetSpec:
        if truth.ignore not in (None, self.ignore):
            raise errors.UserError(
                f"The policy scene has ignore={self.ignore}; the truth {name!r} is "
                f"{truth.ignore:g} where it is not known: set ignore={truth.ignore:g}."
            )
        if int(np.array(self.ignore).astype(truth.dtype)) != self.ignore:
            raise errors.UserError(
                f"The policy scene has ignore={self.ignore}, which the truth {name!r} of "
                f"{truth.dtype} cannot hold."
            )
        shape = (*self.crop, *truth.shape[2:])
        return truth._replace(shape=shape, ignore=self.ignore, varies=False)

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does."""
        return images.others(spec)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record whose scene is drawn anew; None: whole.

        Raises:
          UserError: Its images and dense truths have several sizes.
        """
        size = self._size(record)
        if generator is None:
            fit = min(1.0, *(most / side for most, side in zip(self.crop, size)))
            draw = Draw(scale=fit)
        else:
            draw = self.draw(size, generator)
        return self.apply(record, draw)

    def draw(self, size: Size, generator: np.random.Generator) -> Draw:
        """Parameters of a scene of this height and width."""
        # As many numbers for each scene, so that later ones hang on nothing.
        mirror, row, column = generator.random(3)
        scale = self.scales[int(generator.integers(len(self.scales)))]
        starts = [
            int(share * (side - crop + 2)) if side > crop else 0
            for share, side, crop in zip((row, column), _scaled(size, scale), self.crop)
        ]
        return Draw(bool(mirror < self.mirror), scale, *starts)

    def apply(self, record: batch.Record, draw: Draw) -> batch.Record:
        """The record as these parameters make it."""
        size = _scaled(self._size(record), draw.scale)
        views = {
            name: self._cut(view, draw, size, name) if view.ndim == 3 else view
            for name, view in record["views"].items()
        }
        targets = {
            name: self._cut(truth, draw, size) if np.ndim(truth) > 1 else truth
            for name, truth in record.get("targets", {}).items()
        }
        return record | {"views": views} | ({"targets": targets} if targets else {})

    def _cut(
        self, array: np.ndarray, draw: Draw, size: Size, view: str | None = None
    ) -> np.ndarray:
        """What is left of an image, or where no view is named of a truth."""
        array = np.ascontiguousarray(array[:, ::-1]) if draw.mirror else array
        smooth = view is not None or array.dtype.kind == "f"
        array = band_photometry.resize(array, size, "bilinear" if smooth else "nearest")
        height, width = self.crop
        array = array[draw.top : draw.top + height, draw.left : draw.left + width]
        if view in self.views:
            place = self.views.index(view)
            array = _normalise(array, self.means[place], self.stds[place])
        return _frame(array, self.crop, self.ignore if view is None else 0)

    def _size(self, record: batch.Record) -> Size:
        """Height and width of all images and dense truths."""
        views = {k: v for k, v in record["views"].items() if v.ndim == 3}
        truths = {k: v for k, v in record.get("targets", {}).items() if np.ndim(v) > 1}
        sizes = {name: array.shape[:2] for name, array in (views | truths).items()}
        first, size = next(iter(sizes.items()))
        for name, other in sizes.items():
            if other != size:
                raise errors.UserError(
                    f"The policy scene cuts all at one place, but {first!r} has "
                    f"{size[0]}x{size[1]} pixels and {name!r} {other[0]}x{other[1]}."
                )
        return size


def _scaled(size: Size, scale: float) -> Size:
    return max(int(size[0] * scale), 1), max(int(size[1] * scale), 1)


def _normalise(
    image: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]
) -> np.ndarray:
    """`[H, W, C]` float32 of bytes or of numbers in [0, 1]."""
    if image.dtype != np.uint8:
        return ((image.astype(np.float64) - mean) / std).astype(np.float32)
    import cv2

    levels = (np.arange(256)[:, None] / 255.0 - mean) / std  # [256, C]
    found = cv2.LUT(np.ascontiguousarray(image), levels.astype(np.float32)[None])
    return found.reshape(image.shape)  # OpenCV drops a last axis of 1.


def _frame(array: np.ndarray, size: Size, fill: int) -> np.ndarray:
    """An array `[H, W, ...]` in the middle of a larger one."""
    if array.shape[:2] == size:
        return np.ascontiguousarray(array)
    found = np.full((*size, *array.shape[2:]), fill, array.dtype)
    top, left = ((most - side) // 2 for most, side in zip(size, array.shape[:2]))
    found[top : top + array.shape[0], left : left + array.shape[1]] = array
    return found
