"""Functions of a few images at a time, so that what they lay out stays in the cache.

Chunk t of n holds the rows t, t + n, ... of a batch, and n divides the rows of a device:
a batch that is split over devices stays split.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# What a chunk lays out; it must fit the level-2 cache. Written out for a whole batch,
# patches take ten times as long, most of it for fresh memory pages.
CHUNK_BYTES = 2**21


def count(batch: int, image_bytes: int, *, most: int) -> int:
    """Smallest number of equal chunks that stay within so many bytes.

    Args:
      batch: Images on all devices.
      image_bytes: What one image lays out.
      most: Bytes of a chunk, unless one image of each device has more.
    """
    rows = max(batch // jax.device_count(), 1)
    for chunks in range(1, rows):
        size = batch // chunks * image_bytes
        if rows % chunks == 0 and size <= most:
            return chunks
    return rows


def add(function: Callable, x: jax.Array, y: jax.Array, chunks: int) -> jax.Array:
    """Sums a function of `[B / chunks, ...]` arrays, which gives a pytree, over a batch."""
    if chunks == 1:
        return function(x, y)
    x, y = _split(x, chunks), _split(y, chunks)

    def step(t: jax.Array, total: jax.Array) -> jax.Array:
        return jax.tree.map(jnp.add, total, function(_take(x, t), _take(y, t)))

    total = jax.eval_shape(function, x[:, 0], y[:, 0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), total)
    return jax.lax.fori_loop(0, chunks, step, zeros)


def _split(x: jax.Array, chunks: int) -> jax.Array:
    return x.reshape(-1, chunks, *x.shape[1:])


def _take(x: jax.Array, t: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(x, t, axis=1, keepdims=False)
