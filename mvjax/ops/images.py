"""Images between storage and network."""

import jax
import jax.numpy as jnp


def to_float(x: jax.Array) -> jax.Array:
    """Scales uint8 images to float32 in [0, 1]; other types are only cast."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)
