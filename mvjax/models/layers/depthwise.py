"""Convolution of one kernel for each channel, formulated for XLA's CPU."""

import functools

import jax
import jax.numpy as jnp

from mvjax.models.layers import chunks as chunks_lib
from mvjax.models.layers import repeated
from mvjax.models.layers import taps as taps_lib


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: taps_lib.Padding,
    dilation: int,
) -> jax.Array:
    """What `conv.conv2d` gives for C groups of one channel and one kernel each.

    Args:
      x: Images `[B, H, W, C]`.
      kernel: Weights `[kh, kw, 1, C]` of the same type.
      strides: Steps down and to the right.
      padding: Zeros above and below, left and right.
      dilation: Pixels from one tap of the kernel to the next.

    Returns:
      `[B, H', W', C]` of the same type.
    """
    reaches = [dilation * (side - 1) for side in kernel.shape[:2]]
    wide = any(max(sides) > reach for sides, reach in zip(padding, reaches))
    if strides != (1, 1) or wide:
        taps = taps_lib.take(x, kernel.shape[:2], strides, padding, dilation)
        return _weighted_sum(taps, kernel)
    return repeated.keep(_in_a_loop(x, kernel, padding, dilation))


def _weighted_sum(taps: list[jax.Array], kernel: jax.Array) -> jax.Array:
    """Shifted maps `[B, H', W', C]` times the kernel's rows, which one loop adds up."""
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(taps_lib.wide(taps[0]))
    total = sum(tap * weight for tap, weight in zip(taps, weights))
    return total.astype(taps[0].dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _in_a_loop(
    x: jax.Array, kernel: jax.Array, padding: taps_lib.Padding, dilation: int
) -> jax.Array:
    """Stride 1, image by image in a loop, which nothing is fused with.

    Within `repeated.run` XLA fuses the slice that takes the kernel out of the stacked ones
    with the sum, and the sum with each operation behind it, which takes several times as
    long.
    """

    def one(x: jax.Array) -> jax.Array:
        taps = taps_lib.take(x, kernel.shape[:2], (1, 1), padding, dilation)
        return _weighted_sum(taps, kernel)

    return chunks_lib.apply(one, x, chunks_lib.count_most(len(x)))


def _forward(
    x: jax.Array, kernel: jax.Array, padding: taps_lib.Padding, dilation: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _in_a_loop(x, kernel, padding, dilation), (x, kernel)


def _backward(
    padding: taps_lib.Padding,
    dilation: int,
    residuals: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    size = kernel.shape[:2]
    margins = tuple(
        tuple(dilation * (side - 1) - given for given in sides)
        for side, sides in zip(size, padding)
    )
    dx = _in_a_loop(dy, kernel[::-1, ::-1], margins, dilation)

    def gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
        """Sums by products with ones, which are quicker than sums of columns."""
        ones = jnp.ones((1, dy[..., 0].size), dy.dtype)
        taps = taps_lib.take(x, size, (1, 1), padding, dilation)
        sums = [
            jnp.dot(
                ones,
                (tap * dy).reshape(-1, dy.shape[-1]),
                preferred_element_type=taps_lib.wide(x),
            )
            for tap in taps
        ]
        return jnp.concatenate(sums).reshape(*size, 1, -1)

    chunks = chunks_lib.count_most(len(x))
    return dx, chunks_lib.add(gradient, x, dy, chunks).astype(kernel.dtype)


_in_a_loop.defvjp(_forward, _backward)
