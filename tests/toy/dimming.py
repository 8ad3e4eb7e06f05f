"""A transform from outside mvjax: darkens each row's images by its own factor."""

import dataclasses
from typing import Any

import jax

from mvjax.core import limits
from mvjax.core import method
from mvjax.ops import images as image_ops


@dataclasses.dataclass(frozen=True)
class Transform:
    """The view `rgb` becomes float32; evaluation keeps its brightness."""

    least: limits.Part = 0.5  # Smallest factor.

    def spec(self, spec: Any) -> Any:
        view = spec.views["rgb"]._replace(dtype="float32", low=0.0, high=1.0)
        return spec._replace(views=spec.views | {"rgb": view})

    def __call__(self, batch: method.Batch, key: jax.Array | None) -> method.Batch:
        rgb = image_ops.to_float(batch["views"]["rgb"])
        if key is not None:
            keys = jax.random.split(key, len(rgb))
            factor = jax.vmap(lambda k: jax.random.uniform(k, (), minval=self.least))
            rgb = rgb * factor(keys).reshape(-1, *[1] * (rgb.ndim - 1))
        return batch | {"views": batch["views"] | {"rgb": rgb}}
