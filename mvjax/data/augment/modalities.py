"""DeCUR's random views of each modality, and the plain one that evaluation sees.

Each view has steps of its own: those of its kind (`data/modality_steps.py`), but for the
fields that say otherwise, which have an entry for each view:

    dict(name="modalities", size=224, draws=2, views=("sar", "optical"),
         kinds=("sar", "ms"), solarise=(0.0, 0.0))

Draws are independent, of one view and of several. With `joint=True` all views and all
truths with two axes or more are cut at one place instead, as a transfer wants it: one of
BigEarthNet (`kinds=("patch", "patch")`) or of GeoNRW (`resampling="nearest"`).

A view with an axis of seasons `[S, H, W, C]` loses it: each draw is of one season.
Evaluation sees one season, and the square in the middle of the image.
"""

import dataclasses
from typing import Annotated

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import band_photometry
from mvjax.data import batch
from mvjax.data import images
from mvjax.data import modality_steps as steps_lib

_SHARE = 224 / 256  # Of the square in the shorter side, where nothing else is said.
_SEASON = 2  # The one that the released code takes where it is fixed.
Shares = Annotated[tuple[limits.Share, ...], limits.Entries(least=0)]
_BY_VIEW = steps_lib.Steps._fields


@dataclasses.dataclass(frozen=True)
class Policy:
    """Squares of views `[H, W, C]` or `[S, H, W, C]`, uint8 or float32 in 0..1."""

    views: limits.Names
    # Of each view: "sar", "ms", "rgb", "dem", "photo", "hha" or "patch".
    kinds: limits.some(limits.one_of(*steps_lib.KINDS))
    size: limits.Pixels = 224  # Side of what leaves it.
    draws: limits.Count = 1  # Above 1 each view has as many, `[K, size, size, C]`.
    # Of each view how often a step is taken; () is what its kind says.
    scale: tuple[limits.Part, ...] = ()  # Least part of the area of a crop.
    colour: Shares = ()
    grey: Shares = ()
    blur: Shares = ()
    solarise: Shares = ()
    flip: Shares = ()
    flip_vertical: Shares = ()
    drop_channels: Shares = ()
    drop_view: Shares = ()  # Of each view how often it is 0; at most one is at a time.
    # "released": levels of uint8 wrap around, see `data/band_photometry.py`.
    arithmetic: limits.one_of("saturate", "released") = "saturate"
    resampling: limits.one_of(*band_photometry.RESAMPLING) = "bilinear"
    joint: bool = False  # One place for all views and dense truths.
    # "augment": each draw has its own season; "random": all of a record have one; "fixed".
    season: limits.one_of("augment", "random", "fixed") = "augment"
    # Views of one channel that get three alike, as the released code makes of elevation.
    triple: limits.AnyNames = ()
    # In evaluation: the square in the middle, or the image as it is stored.
    plain: limits.one_of("centre", "native") = "centre"
    # The shorter side before that; None: 256 for 224, others in proportion.
    resize: limits.Pixels | None = None

    def __post_init__(self):
        for name in ("kinds", *_BY_VIEW, "drop_view"):
            given = getattr(self, name)
            if len(given) != len(self.views) and (given or name == "kinds"):
                raise errors.UserError(
                    f"The policy modalities has {len(given)} entries in {name!r}, but "
                    f"{len(self.views)} views: {', '.join(self.views)}."
                )
        for name in self.triple:
            if name not in self.views:
                raise errors.unknown("view in `triple`:", name, self.views)
        if sum(self.drop_view) > 1:
            raise errors.UserError(
                "The policy modalities drops one view at a time; the shares in "
                f"`drop_view` sum up to {sum(self.drop_view):g}, more than 1."
            )
        if self.plain == "centre" and self.shorter < self.size:
            raise errors.UserError(
                f"The policy modalities has resize={self.shorter}, less than "
                f"size={self.size}, the square that is cut out."
            )

    @property
    def shorter(self) -> int:
        """The shorter side before evaluation's square is cut."""
        return int(self.size / _SHARE) if self.resize is None else self.resize

    @property
    def steps(self) -> dict[str, steps_lib.Steps]:
        """The steps of each view."""
        found = {}
        for i, (name, kind) in enumerate(zip(self.views, self.kinds, strict=True)):
            fields = {k: getattr(self, k) for k in _BY_VIEW}
            given = {k: values[i] for k, values in fields.items() if values}
            found[name] = steps_lib.KINDS[kind]._replace(**given)
        return found

    def spec(self, spec: batch.Spec) -> batch.Spec:
        """What the records look like that leave it."""
        views = {
            name: self._leave(name, self._stored(spec, name)) for name in self.views
        }
        targets = dict(spec.targets)
        for name in images.spatial(spec)[1]:
            if not self.joint:
                raise errors.UserError(
                    f"The policy modalities cuts each view elsewhere, so the truth {name!r} "
                    "would fit none of them; set joint=True."
                )
            sides = (self.size, self.size)
            targets[name] = targets[name]._replace(
                shape=images.with_draws(sides, self.draws), varies=False
            )
        names = {k: v for k, v in spec.channel_names.items() if k not in self.triple}
        return spec._replace(
            views=spec.views | views, targets=targets, channel_names=names
        )

    def _stored(self, spec: batch.Spec, name: str) -> batch.ViewSpec:
        """A view as it comes, without its axis of seasons."""
        if name not in spec.views:
            raise errors.unknown("view of the policy modalities:", name, spec.views)
        view = spec.views[name]
        if len(view.shape) not in (3, 4) or view.dtype not in ("uint8", "float32"):
            raise errors.UserError(
                f"The policy modalities needs images [H, W, C] or [S, H, W, C] of uint8 or "
                f"float32; the view {name!r} is {list(view.shape)} of {view.dtype}."
            )
        if self.plain == "native" and (
            view.varies or tuple(view.shape[-3:-1]) != (self.size, self.size)
        ):
            found = (
                "many sizes" if view.varies else f"{view.shape[-3]}x{view.shape[-2]}"
            )
            raise errors.UserError(
                f"The policy modalities has plain=native and size={self.size}; the images "
                f"of the view {name!r} have {found}. Set size to theirs, or plain=centre."
            )
        return view._replace(shape=view.shape[-3:])

    def _leave(self, name: str, view: batch.ViewSpec) -> batch.ViewSpec:
        """A view as it leaves."""
        channels = view.shape[2]
        if name in self.triple:
            if channels != 1:
                raise errors.UserError(
                    f"The view {name!r} of `triple` has {channels} channels, expected 1."
                )
            channels = 3
        shape = images.with_draws((self.size, self.size, channels), self.draws)
        low, high = view.low, view.high
        if view.dtype == "float32":  # Brightness and contrast may leave the range.
            low, high = -np.inf, np.inf
        return view._replace(shape=shape, low=low, high=high, varies=False)

    def steady(self, spec: batch.Spec) -> tuple[str, ...]:
        """Names of the views that training sees as evaluation does."""
        return tuple(name for name in spec.views if name not in self.views)

    def __call__(
        self, record: batch.Record, generator: np.random.Generator | None
    ) -> batch.Record:
        """A record with its draws; None: of the middle, all draws alike."""
        season = None if generator is None else generator.random()  # Of all draws.
        draws = [self._draw(record, generator, season) for _ in range(self.draws)]
        parts = {}
        for part, found in draws[0].items():
            if self.draws > 1:
                found = {k: np.stack([d[part][k] for d in draws]) for k in found}
            parts[part] = record[part] | found
        return record | parts

    def _draw(
        self,
        record: batch.Record,
        generator: np.random.Generator | None,
        season: float | None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """One draw of the views, and of the dense truths, by part of the record."""
        views = {}
        for name in self.views:
            image = record["views"][name]
            if image.ndim == 4:
                image = image[self._season(len(image), generator, season)]
            views[name] = np.repeat(image, 3, axis=2) if name in self.triple else image
        truths = {k: v for k, v in record.get("targets", {}).items() if np.ndim(v) > 1}
        if generator is None:
            views = {
                name: self._middle(image, smooth=True) for name, image in views.items()
            }
            truths = {
                k: self._middle(v, smooth=_is_smooth(v)) for k, v in truths.items()
            }
        else:
            views, truths = self._augment(views, truths, generator)
        return {"views": views} | ({"targets": truths} if truths else {})

    def _season(
        self, count: int, generator: np.random.Generator | None, shared: float | None
    ) -> int:
        """Which season of so many is seen."""
        if generator is None or self.season == "fixed":
            return min(_SEASON, count - 1)
        return int(count * (generator.random() if self.season == "augment" else shared))

    def _middle(self, image: np.ndarray, *, smooth: bool) -> np.ndarray:
        """What evaluation sees of an image or a dense truth."""
        if self.plain == "native":
            return image
        way = self.resampling if smooth else "nearest"
        return band_photometry.centre(image, self.shorter, self.size, way)

    def _augment(
        self,
        views: dict[str, np.ndarray],
        truths: dict[str, np.ndarray],
        generator: np.random.Generator,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Random squares of the views, and of the dense truths where geometry is joint."""
        steps, released, place = self.steps, self.arithmetic == "released", None
        if self.joint:
            place = self._joint_place(views, truths, generator)
        found = {}
        for name, image in views.items():
            height, width, channels = image.shape
            here = place or steps_lib.draw_place(generator, steps[name], width, height)
            look = steps_lib.draw_look(generator, steps[name], channels)
            image = steps_lib.cut(image, here, self.size, self.resampling)
            image = steps_lib.change(image, look, released=released)
            found[name] = steps_lib.turn(image, here)
        if self.drop_view:
            chosen = np.searchsorted(
                np.cumsum(self.drop_view), generator.random(), "right"
            )
            for name in self.views[chosen : chosen + 1]:
                found[name] = np.zeros_like(found[name])
        for name, truth in truths.items():
            way = self.resampling if _is_smooth(truth) else "nearest"
            truths[name] = steps_lib.turn(
                steps_lib.cut(truth, place, self.size, way), place
            )
        return found, truths

    def _joint_place(
        self,
        views: dict[str, np.ndarray],
        truths: dict[str, np.ndarray],
        generator: np.random.Generator,
    ) -> steps_lib.Place:
        """The place of all, by the steps of the first view."""
        sides = {name: x.shape[:2] for name, x in (views | truths).items()}
        height, width = sides[self.views[0]]
        for name, other in sides.items():
            if other != (height, width):
                raise errors.UserError(
                    f"The policy modalities has joint=True, but {self.views[0]!r} has "
                    f"{height}x{width} pixels and {name!r} {other[0]}x{other[1]}."
                )
        return steps_lib.draw_place(generator, self.steps[self.views[0]], width, height)


def _is_smooth(truth: np.ndarray) -> bool:
    """Whether values of a dense truth may be mixed."""
    return truth.dtype.kind == "f"
