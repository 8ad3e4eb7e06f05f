"""DeCUR's changes of values on the device: brightness, contrast, grey, blur and the like.

The host's policy `modalities` cuts (with `colour`, `grey`, `blur` and `solarise` of 0 for each
view) and this changes what it cut, view by view, each draw on its own. Values are numbers
from 0 to 1 and saturate; the released arithmetic, which wraps around, is the host's alone.

    dict(name="modalities", views=("sar", "optical"), colour=(0.0, 0.8), grey=(0.2, 0.2),
         blur=(0.5, 0.5), solarise=(0.0, 0.2))
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.ops import images as image_ops
from mvjax.ops import photometry

_STRENGTH = 0.4  # Of brightness and contrast, around 1.
_SIGMA = (0.1, 2.0)  # Of the blur, in pixels.
_KERNEL = 13  # Its width: OpenCV's for the widest.
Shares = Annotated[tuple[limits.Share, ...], limits.Entries(least=0)]
_BY_VIEW = ("colour", "grey", "blur", "solarise", "drop_channels")


class Draw(NamedTuple):
    """What happens to images; factors of 1 change nothing."""

    brightness: jax.Array  # [N]
    contrast: jax.Array
    grey: jax.Array  # [N] bool
    blur: jax.Array
    sigma: jax.Array  # [N]
    solarise: jax.Array  # [N] bool
    kept: jax.Array  # [N, C], 0 for channels that are dropped.


@dataclasses.dataclass(frozen=True)
class Transform:
    """Views become float32 in [0, 1]; in evaluation nothing else changes."""

    views: limits.Names
    # Of each view how often a step is taken; (): never.
    colour: Shares = ()  # Brightness, then contrast.
    grey: Shares = ()
    blur: Shares = ()
    solarise: Shares = ()
    drop_channels: Shares = ()  # One or more channels, drawn, become 0.

    def __post_init__(self):
        for name in _BY_VIEW:
            given = getattr(self, name)
            if given and len(given) != len(self.views):
                raise errors.UserError(
                    f"The transform modalities has {len(given)} entries in {name!r}, but "
                    f"{len(self.views)} views: {', '.join(self.views)}."
                )

    def spec(self, spec: Any) -> Any:
        """What leaves it.

        Args:
          spec: `mvjax.data.batch.Spec` of what comes in, `[H, W, C]` or, with several
            draws, `[K, H, W, C]`.

        Raises:
          UserError: There is no such view, or it is no image of bytes or of floats.
        """
        changed = {}
        for name in self.views:
            if name not in spec.views:
                raise errors.unknown(
                    "view of the transform modalities:", name, spec.views
                )
            view = spec.views[name]
            if len(view.shape) not in (3, 4) or view.dtype not in ("uint8", "float32"):
                raise errors.UserError(
                    "The transform modalities needs images [H, W, C] or [K, H, W, C] of "
                    f"uint8 or float32; the view {name!r} is {list(view.shape)} of "
                    f"{view.dtype}."
                )
            if min(view.shape[-3:-1]) <= _KERNEL // 2:
                raise errors.UserError(
                    f"The transform modalities blurs over {_KERNEL} pixels; the view "
                    f"{name!r} has {view.shape[-3]}x{view.shape[-2]}."
                )
            changed[name] = view._replace(dtype="float32", low=0.0, high=1.0)
        return spec._replace(views=spec.views | changed)

    def __call__(self, batch: method.Batch, key: jax.Array | None) -> method.Batch:
        """A batch with changed views `[B, H, W, C]` or `[B, K, H, W, C]`."""
        views = dict(batch["views"])
        for name in self.views:
            images = jnp.clip(image_ops.to_float(views[name]), 0, 1)
            if key is not None:
                rows = images.reshape(-1, *images.shape[-3:])
                draws = self.draw(rng_lib.named(key, name), name, rows)
                images = self.apply(rows, draws).reshape(images.shape)
            views[name] = images
        return batch | {"views": views}

    def draw(self, key: jax.Array, view: str, images: jax.Array) -> Draw:
        """Parameters for the images `[N, H, W, C]` of a view."""
        place, channels = self.views.index(view), images.shape[-1]
        shares = [(getattr(self, k) or (0.0,) * (place + 1))[place] for k in _BY_VIEW]
        keys = jax.random.split(key, len(images))
        numbers = jax.vmap(lambda k: jax.random.uniform(k, (9 + channels,)))(keys)
        colour, grey, blur, solarise, drop = (
            numbers[:, i] < share for i, share in enumerate(shares)
        )
        factors = 1 + _STRENGTH * (2 * numbers[:, 5:7] - 1)
        count = 1 + jnp.floor(numbers[:, 8] * channels)
        order = jnp.argsort(jnp.argsort(numbers[:, 9:], axis=1), axis=1)  # [N, C]
        kept = jnp.where(drop[:, None], order >= count[:, None], True)
        low, high = _SIGMA
        return Draw(
            brightness=jnp.where(colour, factors[:, 0], 1.0),
            contrast=jnp.where(colour, factors[:, 1], 1.0),
            grey=grey,
            blur=blur,
            sigma=low + (high - low) * numbers[:, 7],
            solarise=solarise,
            kept=kept.astype(jnp.float32),
        )

    def apply(self, images: jax.Array, draw: Draw) -> jax.Array:
        """Images `[N, H, W, C]` in [0, 1], changed as it was drawn."""
        images = photometry.brightness(images, draw.brightness)
        mean = jnp.mean(images, axis=(1, 2), keepdims=True)  # Of each channel.
        images = photometry.blend(images, mean, draw.contrast)
        grey = jnp.mean(images, axis=-1, keepdims=True)
        images = jnp.where(_rows(draw.grey), grey, images)
        if any(self.blur):
            blurred = photometry.smooth(images, draw.sigma, size=_KERNEL)
            images = jnp.where(_rows(draw.blur), blurred, images)
        bright = _rows(draw.solarise) & (images >= 0.5)
        images = jnp.where(bright, 1 - images, images)
        return images * draw.kept[:, None, None, :]


def _rows(chosen: jax.Array) -> jax.Array:
    """`[N]` for images `[N, H, W, C]`."""
    return chosen[:, None, None, None]
