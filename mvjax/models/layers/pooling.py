"""Pooling of maps."""

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array, *, size: int, stride: int, padding: int) -> jax.Array:
    """Largest value of each window, PyTorch's `max_pool2d`.

    Of equal values the first of a window gets the gradient, as in PyTorch. XLA's own
    gradient is a scatter, which is a plain loop on CPUs.

    Args:
      x: Maps `[B, H, W, C]`, any float type.
      size: Side of the square windows.
      stride: Steps down and to the right.
      padding: Rows and columns of minus infinity on each side.

    Returns:
      `[B, H', W', C]` of the same type, H' = (H + 2 padding - size) // stride + 1.
    """
    margin = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = jnp.pad(x, margin, constant_values=-jnp.inf)
    height, width = ((side - size) // stride * stride + 1 for side in x.shape[1:3])
    best = None
    for i in range(size):
        for j in range(size):
            tap = x[:, i : i + height : stride, j : j + width : stride]
            best = tap if best is None else jnp.where(tap > best, tap, best)
    return best


def global_mean(x: jax.Array) -> jax.Array:
    """Mean over space of `[B, H, W, C]`, `[B, C]`, float32 or wider whatever x is."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
