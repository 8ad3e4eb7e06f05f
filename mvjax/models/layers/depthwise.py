"""Convolution of one kernel for each channel, formulated for XLA's CPU."""

import functools

import jax
import jax.numpy as jnp

from mvjax.models.layers import alone
from mvjax.models.layers import chunks as chunks_lib
from mvjax.models.layers import repeated
from mvjax.models.layers import taps as taps_lib

_NONE = ((0, 0), (0, 0))  # No padding.


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
    return repeated.keep(_alone(x, kernel, padding, dilation))


def _weighted_sum(taps: list[jax.Array], kernel: jax.Array) -> jax.Array:
    """Shifted maps `[B, H', W', C]` times the kernel's rows, which one loop adds up."""
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(taps_lib.wide(taps[0]))
    total = sum(tap * weight for tap, weight in zip(taps, weights))
    return total.astype(taps[0].dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _alone(
    x: jax.Array, kernel: jax.Array, padding: taps_lib.Padding, dilation: int
) -> jax.Array:
    """Stride 1; nothing is fused with it.

    Within `repeated.run` XLA fuses the slice that takes the kernel out of the stacked ones
    with the sum, and the sum with each operation behind it, which takes several times as
    long.
    """

    def sum_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _weighted_sum(
            taps_lib.take(x, kernel.shape[:2], (1, 1), _NONE, dilation), kernel
        )

    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return alone.run(sum_up, x, kernel, probe=kernel[0, 0, 0, 0])


class _Bands:
    """A batch cut into bands of equally many rows, each with what its taps reach."""

    def __init__(
        self,
        x: jax.Array,
        size: tuple[int, int],
        padding: taps_lib.Padding,
        dilation: int,
    ) -> None:
        self._size, self._dilation = size, dilation
        self._x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        self._reach = dilation * (size[0] - 1)
        height = self._x.shape[1] - self._reach  # Of what comes out.
        self.number = chunks_lib.count_bands(height, x.nbytes)
        self.rows = height // self.number  # Of a band of it.

    def taps(self, t: jax.Array) -> list[jax.Array]:
        """What the taps of the kernel meet in band t, see `taps.take`."""
        band = jax.lax.dynamic_slice_in_dim(
            self._x, t * self.rows, self.rows + self._reach, axis=1
        )
        return taps_lib.take(band, self._size, (1, 1), _NONE, self._dilation)


def _forward(
    x: jax.Array, kernel: jax.Array, padding: taps_lib.Padding, dilation: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _alone(x, kernel, padding, dilation), (x, kernel)


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
    dx = _alone(dy, kernel[::-1, ::-1], margins, dilation)

    def gradient(taps: list[jax.Array], dy: jax.Array) -> jax.Array:
        """Sums by products with ones, which are quicker than sums of columns."""
        ones = jnp.ones((1, dy[..., 0].size), dy.dtype)
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
    if chunks > 1:

        def of_images(x: jax.Array, dy: jax.Array) -> jax.Array:
            return gradient(taps_lib.take(x, size, (1, 1), padding, dilation), dy)

        dkernel = chunks_lib.add(of_images, x, dy, chunks)
    else:
        bands = _Bands(x, size, padding, dilation)

        def step(t: jax.Array, total: jax.Array) -> jax.Array:
            part = jax.lax.dynamic_slice_in_dim(dy, t * bands.rows, bands.rows, axis=1)
            return total + gradient(bands.taps(t), part)

        dkernel = jnp.zeros(kernel.shape, taps_lib.wide(x))
        dkernel = jax.lax.fori_loop(0, bands.number, step, dkernel)
    return dx, dkernel.astype(kernel.dtype)


_alone.defvjp(_forward, _backward)
