"""Images between storage and network."""

import jax
import jax.numpy as jnp


def to_float(x: jax.Array) -> jax.Array:
    """Scales uint8 images to float32 in [0, 1]; other types are only cast."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)


def resize_bilinear(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes by bilinear interpolation between pixel centres, without antialiasing.

    PyTorch's `interpolate(mode="bilinear", align_corners=False)`.

    Args:
      x: Images `[B, H, W, C]`, float.
      size: New height and width.

    Returns:
      `[B, *size, C]` of the same type.
    """
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)
