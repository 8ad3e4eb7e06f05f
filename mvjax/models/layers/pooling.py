"""Pooling of maps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def max_pool(x: jax.Array, *, size: int, stride: int, padding: int) -> jax.Array:
    """Largest value of each window, PyTorch's `max_pool2d`.

    Of equal values the first of a window gets the gradient, as in PyTorch. XLA's own
    gradient is a scatter, which is a plain loop on CPUs. Forward-mode differentiation does
    not pass through.

    Args:
      x: Maps `[B, H, W, C]`, any float type.
      size: Side of the square windows, at most 16.
      stride: Steps down and to the right.
      padding: Rows and columns of minus infinity on each side.

    Returns:
      `[B, H', W', C]` of the same type, H' = (H + 2 padding - size) // stride + 1.
    """
    return _max_pool(x, size, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, size: int, stride: int, padding: int) -> jax.Array:
    return _forward(x, size, stride, padding)[0]


def _forward(
    x: jax.Array, size: int, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The result, and the number of each window's first greatest place."""
    margin = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(x, margin, constant_values=-jnp.inf)
    height, width = ((n - size) // stride * stride + 1 for n in padded.shape[1:3])
    best, chosen = padded[:, :height:stride, :width:stride], jnp.uint8(0)
    for i in range(size):
        for j in range(size):
            tap = padded[:, i : i + height : stride, j : j + width : stride]
            greater = tap > best
            best = jnp.where(greater, tap, best)
            chosen = jnp.where(greater, jnp.uint8(i * size + j), chosen)
    return best, (chosen, jax.ShapeDtypeStruct(x.shape, x.dtype))


def _backward(
    size: int,
    stride: int,
    padding: int,
    residuals: tuple[jax.Array, jax.ShapeDtypeStruct],
    dy: jax.Array,
) -> tuple[jax.Array]:
    """Gradient of the input.

    Its rows and columns are split by their remainder when divided by the stride. Row q of
    those of remainder a is place i = a + m * stride of window q - m, so that each part is a
    sum of a few shifted maps, without the zeros in between that adding up places would
    need. XLA's CPU computes such sums at once with the layer before.
    """
    chosen, x = residuals
    reach = (size - 1) // stride  # Windows before the own one that hold a row.
    sides = [-(-(side + padding) // stride) for side in x.shape[1:3]]
    margin = [(reach, max(side - had, 0)) for side, had in zip(sides, dy.shape[1:3])]
    margin = ((0, 0), *margin, (0, 0))
    dy, chosen = jnp.pad(dy, margin), jnp.pad(chosen, margin)

    def part(a: int, b: int) -> jax.Array:
        total = jnp.zeros((dy.shape[0], *sides, dy.shape[3]), dy.dtype)
        for i in range(a, size, stride):
            for j in range(b, size, stride):
                row, column = reach - i // stride, reach - j // stride
                rows = slice(row, row + sides[0])
                columns = slice(column, column + sides[1])
                mine = chosen[:, rows, columns] == i * size + j
                total += jnp.where(mine, dy[:, rows, columns], 0)
        return total

    rows = [
        jnp.stack([part(a, b) for b in range(stride)], axis=3) for a in range(stride)
    ]  # [B, H / s, W / s, s, C] each.
    dx = jnp.stack(rows, axis=2)
    dx = dx.reshape(len(dy), sides[0] * stride, sides[1] * stride, -1)
    return (dx[:, padding:, padding:][:, : x.shape[1], : x.shape[2]],)


_max_pool.defvjp(_forward, _backward)


def global_mean(x: jax.Array) -> jax.Array:
    """Mean over space of `[B, H, W, C]`, `[B, C]`, float32 or wider whatever x is."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def adaptive_mean(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Means over a grid of bins, PyTorch's `adaptive_avg_pool2d`.

    Bin i of s in a row of n pixels is [floor(i n / s), ceil((i + 1) n / s)): bins overlap
    where s does not divide n, and repeat pixels where there are more bins than these.

    Args:
      x: Maps `[B, H, W, C]`, float.
      size: Number of bins down and to the right.

    Returns:
      `[B, *size, C]` of the same type.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows, columns = (
        jnp.asarray(_shares(bins, pixels), wide)
        for bins, pixels in zip(size, x.shape[1:3])
    )
    y = jnp.einsum("bvwc,hv->bhwc", x, rows, preferred_element_type=wide)
    return jnp.einsum("bhvc,wv->bhwc", y, columns).astype(x.dtype)


def _shares(bins: int, pixels: int) -> np.ndarray:
    """How much each pixel of a row has of each bin's mean, `[bins, pixels]`."""
    first = np.arange(bins) * pixels // bins
    behind = -(-(np.arange(bins) + 1) * pixels // bins)
    place = np.arange(pixels)
    inside = (place >= first[:, None]) & (place < behind[:, None])
    return inside / inside.sum(axis=1, keepdims=True)
