"""A batch in parts, one after the other, so that what a part needs is small."""

from collections.abc import Callable
import functools
import math

import jax
import jax.numpy as jnp

from mvjax.models.layers import late

# Patches that are multiplied at once; they must stay in the caches. Written out for a
# whole batch they take ten times as long, most of it for fresh memory pages.
CHUNK_BYTES = 2**22
# Patches that XLA's CPU convolution is to write out at once. It writes out those of all
# images that it is given, into memory that stays with the process.
PATCH_BYTES = 2**26


def count_most(batch: int) -> int:
    """Most chunks of equal size of which each has rows of all devices, at least 1."""
    return max(batch // math.gcd(batch, jax.device_count()), 1)


def count(batch: int, image_bytes: int) -> int:
    """Smallest number of equal chunks that stay within `CHUNK_BYTES`.

    It divides the rows of a device: XLA gathers a batch of which chunks hold fewer rows
    than there are devices.
    """
    most = count_most(batch)
    for chunks in range(1, most):
        if most % chunks == 0 and batch // chunks * image_bytes <= CHUNK_BYTES:
            return chunks
    return most


def count_bands(rows: int, batch_bytes: int) -> int:
    """Smallest number of bands, of equally many rows, that stay within `CHUNK_BYTES`.

    It is 2 or more, unless there is one row or none: of a loop of one round XLA makes no
    loop.

    Args:
      rows: Of what comes out of an image.
      batch_bytes: Of all images together.
    """
    for bands in range(2, rows):
        if rows % bands == 0 and batch_bytes // bands <= CHUNK_BYTES:
            return bands
    return max(rows, 1)


def concatenate(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, image_bytes: int
) -> jax.Array:
    """A function of a batch, in as few parts as stay within `PATCH_BYTES`.

    On several devices in one: rows that stand together lie on one of them.

    Args:
      function: Of some rows of x, of as many rows.
      x: `[B, ...]`.
      image_bytes: Patches of one image.
    """
    parts = 1
    if jax.device_count() == 1 and x.shape[0] * image_bytes > PATCH_BYTES:
        parts = -(-x.shape[0] // max(PATCH_BYTES // image_bytes, 1))
    return jnp.concatenate([function(part) for part in jnp.array_split(x, parts)])


def add(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    dy: jax.Array,
    chunks: int,
    *,
    after: jax.Array | None = None,
) -> jax.Array:
    """Sums a function of `[B / chunks, ...]` arrays over the batch.

    Chunk t holds rows t, t + chunks, ...: a batch that is split over devices stays split.

    Args:
      function: Of parts of both arrays.
      x: `[B, ...]`.
      dy: `[B, ...]`.
      chunks: Their number.
      after: An array of floats that is made before the sum, see `layers/late.py`.
    """
    if chunks == 1:
        return late.wait(function(x, dy), after=after)
    x = x.reshape(-1, chunks, *x.shape[1:])
    dy = dy.reshape(-1, chunks, *dy.shape[1:])

    def step(t: jax.Array, total: jax.Array) -> jax.Array:
        take = functools.partial(
            jax.lax.dynamic_index_in_dim, index=t, axis=1, keepdims=False
        )
        return total + function(take(x), take(dy))

    total = jax.eval_shape(function, x[:, 0], dy[:, 0])
    start = late.zeros(total.shape, total.dtype, after=after)
    return jax.lax.fori_loop(0, chunks, step, start)
