"""Random brightness, contrast, saturation, hue, grey and blur of RGB views.

The strengths are SimCLR's by default (Chen et al., ICML 2020, appendix A). Unlike there,
the four changes of colour always have this order; what is published for one method with
other orders belongs into a transform of its own.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.core import rng as rng_lib
from mvjax.ops import images as image_ops
from mvjax.ops import photometry


@dataclasses.dataclass(frozen=True)
class Transform:
    """Views become float32 in [0, 1]; in evaluation nothing else changes."""

    views: limits.AnyNames = ()  # (): all with three channels.
    jitter: limits.Share = 0.8  # How often colours change.
    brightness: limits.Share = 0.8  # Factors lie between 1 - this and 1 + this.
    contrast: limits.Share = 0.8
    saturation: limits.Share = 0.8
    hue: Annotated[float, limits.Range(0, 0.5)] = 0.2  # Shifts lie in -this..this.
    grey: limits.Share = 0.2  # How often an image loses its colours.
    blur: limits.Share = 0.5  # How often an image is blurred.
    sigma: tuple[limits.Positive, limits.Positive] = (0.1, 2.0)  # Of that, in pixels.

    def spec(self, spec: Any) -> Any:
        """What leaves it.

        Args:
          spec: `mvjax.data.batch.Spec` of what comes in, `[H, W, 3]` or, with several
            draws, `[K, H, W, 3]`.

        Raises:
          UserError: There is no such view, or it is no RGB image.
        """
        for name in self.views:
            if name not in spec.views:
                raise errors.unknown(
                    "view of the transform photometry:", name, spec.views
                )
        changed = {}
        for name in self._chosen({k: v.shape for k, v in spec.views.items()}):
            view = spec.views[name]
            image = view._replace(shape=view.shape[-3:])
            method.check_image(
                name, image, (*image.shape[:2], 3), fields="the transform photometry"
            )
            changed[name] = view._replace(dtype="float32", low=0.0, high=1.0)
        if not changed:
            raise errors.UserError(
                "The transform photometry needs a view of three channels; there is none."
            )
        return spec._replace(views=spec.views | changed)

    def __call__(self, batch: method.Batch, key: jax.Array | None) -> method.Batch:
        """A batch with changed views `[B, H, W, 3]` or `[B, K, H, W, 3]`."""
        views = dict(batch["views"])
        for name in self._chosen({k: v.shape[1:] for k, v in views.items()}):
            images = image_ops.to_float(views[name])
            if key is not None:
                shape = images.shape
                images = images.reshape(-1, *shape[-3:])
                keys = jax.random.split(rng_lib.named(key, name), len(images))
                images = self._change(images, keys).reshape(shape)
            views[name] = images
        return batch | {"views": views}

    def _chosen(self, shapes: dict[str, tuple[int, ...]]) -> list[str]:
        """Names of the views that are changed."""
        return list(self.views) or [
            name for name, s in shapes.items() if len(s) in (3, 4) and s[-1] == 3
        ]

    def _change(self, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Changes images `[N, H, W, 3]` by keys `[N]`."""
        draws = jax.vmap(lambda key: jax.random.uniform(key, (8,)))(keys)  # [N, 8]
        ways = (
            (photometry.brightness, 1.0, self.brightness),
            (photometry.contrast, 1.0, self.contrast),
            (photometry.saturation, 1.0, self.saturation),
            (photometry.hue, 0.0, self.hue),
        )
        jittered = images
        for i, (change, middle, reach) in enumerate(ways):
            if reach:
                jittered = change(jittered, middle + reach * (2 * draws[:, i] - 1))
        images = _where(draws[:, 4] < self.jitter, jittered, images)
        grey = jnp.broadcast_to(photometry.grey(images), images.shape)
        images = _where(draws[:, 5] < self.grey, grey, images)
        if not self.blur:
            return images
        low, high = self.sigma
        side = min(images.shape[1:3])
        size = side // 10 | 1  # A tenth of the side, odd.
        blurred = photometry.blur(images, low + (high - low) * draws[:, 7], size=size)
        return _where(draws[:, 6] < self.blur, blurred, images)


def _where(chosen: jax.Array, images: jax.Array, others: jax.Array) -> jax.Array:
    """Images where `chosen` `[N]`, others elsewhere."""
    return jnp.where(chosen[:, None, None, None], images, others)
