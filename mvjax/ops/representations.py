"""The fixed representations of an image that MV-MR depends on, by name.

As released (arXiv 2303.12130 and its code): what `full_img_...` and `aug_...` stand for,
and which of them are divided by 32, which matters beside the floor below distances. The
order of features within a row does not: distances do not depend on it.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.ops import batch_augment
from mvjax.ops import canny
from mvjax.ops import colour_histogram
from mvjax.ops import dct
from mvjax.ops import hog
from mvjax.ops import lbp
from mvjax.ops import local_std
from mvjax.ops import patches
from mvjax.ops import scattering

SCALE = 32.0  # What the released code divides by, for its half precision.
# Those of the released training, in its order.
RELEASED = (
    "full_img",
    "full_img_scatnet",
    "full_img_augment",
    "full_img_hog",
    "full_img_std",
)


@dataclasses.dataclass(frozen=True)
class Scattering:
    """See `ops/scattering.py`."""

    scales: Annotated[int, limits.Range(low=1, high=10)] = 2  # J.
    angles: Annotated[int, limits.Range(low=1, high=64)] = 8  # L.
    order: limits.one_of(1, 2) = 2

    def __call__(self, images: jax.Array) -> jax.Array:
        return scattering.scatter(images, **vars(self))


@dataclasses.dataclass(frozen=True)
class Hog:
    """See `ops/hog.py`; the sizes are those of the released configs."""

    kind: limits.one_of(*hog.KINDS) = "released"
    bins: limits.Size = 24
    pool: limits.Pixels = 8
    max_angle: Annotated[float, limits.Range(above=0, high=2 * math.pi)] = math.pi
    stride: limits.Count = 1
    padding: limits.Natural = 1
    dilation: limits.Count = 1

    def __call__(self, images: jax.Array) -> jax.Array:
        return hog.describe(images, **vars(self))


@dataclasses.dataclass(frozen=True)
class Lbp:
    """See `ops/lbp.py`."""

    pool: limits.Pixels = 8
    uniform: bool = True

    def __call__(self, images: jax.Array) -> jax.Array:
        return lbp.describe(images, **vars(self))


@dataclasses.dataclass(frozen=True)
class Canny:
    """See `ops/canny.py`."""

    sigma: limits.Weight = 1.0
    low: limits.Share = 0.1
    high: limits.Share = 0.3
    sweeps: limits.Natural = canny.SWEEPS

    def __call__(self, images: jax.Array) -> jax.Array:
        return canny.detect(images, **vars(self))


@dataclasses.dataclass(frozen=True)
class ColourHistogram:
    """See `ops/colour_histogram.py`; the range is that of normalised images."""

    bins: limits.Size = 16
    low: float = -3.0
    high: float = 3.0
    pool: limits.Pixels | None = None

    def __call__(self, images: jax.Array) -> jax.Array:
        return colour_histogram.describe(images, **vars(self))


@dataclasses.dataclass(frozen=True)
class Settings:
    """What can be set of the representations; each uses what it needs."""

    scattering: Scattering = Scattering()
    hog: Hog = Hog()
    augment: batch_augment.Augmentation = batch_augment.Augmentation()
    std_size: limits.Count = 3  # Side of the window of local deviations, odd.
    patches: limits.Count = 4  # Of `patch_scatnet`, along each axis.
    lbp: Lbp = Lbp()
    canny: Canny = Canny()
    colour_histogram: ColourHistogram = ColourHistogram()


class _Entry(NamedTuple):
    compute: Callable[[Settings, jax.Array], jax.Array]
    scale: float = 1.0
    augmented: bool = False


def _pixels(settings: Settings, images: jax.Array) -> jax.Array:
    del settings  # Nothing can be set.
    return images


def _scattering(settings: Settings, images: jax.Array) -> jax.Array:
    return settings.scattering(images)


def _hog(settings: Settings, images: jax.Array) -> jax.Array:
    return settings.hog(images)


def _std(settings: Settings, images: jax.Array) -> jax.Array:
    return local_std.local_std(images, size=settings.std_size)


def _dct(settings: Settings, images: jax.Array) -> jax.Array:
    del settings  # Nothing can be set.
    return dct.dct2(images)


def _patches(settings: Settings, images: jax.Array) -> jax.Array:
    parts = patches.split(images, settings.patches)
    maps = settings.scattering(parts.reshape(-1, *parts.shape[2:]))
    return maps.reshape(*parts.shape[:2], -1)


def _lbp(settings: Settings, images: jax.Array) -> jax.Array:
    return settings.lbp(images)


def _canny(settings: Settings, images: jax.Array) -> jax.Array:
    return settings.canny(images)


def _colours(settings: Settings, images: jax.Array) -> jax.Array:
    return settings.colour_histogram(images)


_ENTRIES = {
    "full_img": _Entry(_pixels, SCALE),
    "full_img_scatnet": _Entry(_scattering, SCALE),
    "full_img_augment": _Entry(_pixels, SCALE, augmented=True),
    "full_img_hog": _Entry(_hog),
    "full_img_std": _Entry(_std),
    "aug_scatnet": _Entry(_scattering, augmented=True),
    "aug_hog": _Entry(_hog, augmented=True),
    "aug_std": _Entry(_std, augmented=True),
    "full_img_dct": _Entry(_dct),
    "patch_scatnet": _Entry(_patches),
    "lbp": _Entry(_lbp),
    "canny": _Entry(_canny),
    "colour_histogram": _Entry(_colours),
}
NAMES = tuple(_ENTRIES)


def is_deterministic(name: str) -> bool:
    """Whether a representation hangs on the image alone, so that it can be kept."""
    return not _ENTRIES[name].augmented


@dataclasses.dataclass(frozen=True)
class Representation:
    """One representation; equal ones are equal, and it may be a static argument.

    Args:
      name: One of `NAMES`.
      settings: What it uses.

    Raises:
      UserError: There is no such representation.
    """

    name: str
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        if self.name not in _ENTRIES:
            raise errors.unknown("representation", self.name, NAMES)

    def __call__(
        self,
        images: jax.Array,
        key: jax.Array | None = None,
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> jax.Array:
        """Features of normalised images.

        Args:
          images: `[B, H, W, C]`, any float type.
          key: Only for those that draw.
          mean: What was taken off images in [0, 1], see `batch_augment.Augmentation`.
          std: What was left was divided by it.

        Returns:
          `[B, P]` float32, without gradients.

        Raises:
          UserError: The images do not fit the settings, or the key is missing.
        """
        entry = _ENTRIES[self.name]
        x = jax.lax.stop_gradient(images).astype(jnp.float32)
        if entry.augmented:
            if key is None:
                raise errors.UserError(
                    f"The representation {self.name} draws, so it needs a key."
                )
            x = self.settings.augment(x, key, mean=mean, std=std)
        features = entry.compute(self.settings, x)
        return features.reshape(len(features), -1) / entry.scale


def widths(
    names: Iterable[str], shape: tuple[int, ...], settings: Settings = Settings()
) -> dict[str, int]:
    """Number of features P of each representation, computed from shapes alone.

    Args:
      names: Some of `NAMES`.
      shape: Of an image, `(H, W, C)`.
      settings: Of the representations.

    Raises:
      UserError: There is no such representation, or the images do not fit it. Ask when
        the config is read.
    """
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    key = jax.eval_shape(jax.random.key, 0)
    found = {}
    for name in names:
        features = jax.eval_shape(Representation(name, settings), images, key)
        found[name] = features.shape[1]
    return found
