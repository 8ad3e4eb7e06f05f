"""What ends a decoder: scores of single pixels, as large as the images."""

from typing import Any

import jax
import jax.numpy as jnp

from mvjax.models.layers import conv
from mvjax.ops import images


def enlarged(
    x: jax.Array, classes: int, size: tuple[int, int], dtype: Any
) -> jax.Array:
    """Maps `[B, h, w, C]` to scores `[B, *size, classes]`, float32 or wider.

    The convolution is the component `scores` of the module that calls this.
    """
    x = conv.Conv2D(
        classes,
        kernel_size=(1, 1),
        padding=((0, 0), (0, 0)),
        dtype=dtype,
        name="scores",
    )(x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return images.resize_bilinear(wide, tuple(size))
