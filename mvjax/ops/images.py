"""Images between storage and network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def to_float(x: jax.Array) -> jax.Array:
    """Scales uint8 images to float32 in [0, 1]; other types are only cast."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)


def resize_bilinear(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes by bilinear interpolation between pixel centres, without antialiasing.

    PyTorch's `interpolate(mode="bilinear", align_corners=False)`. Sides that become whole
    multiples of themselves are enlarged pixel by pixel, where `jax.image.resize` multiplies
    with matrices that hold two numbers a row; forward-mode differentiation does not pass
    through there.

    Args:
      x: Images `[B, H, W, C]`, float.
      size: New height and width.

    Returns:
      `[B, *size, C]` of the same type.
    """
    if any(side < 1 or new % side for side, new in zip(x.shape[1:3], size)):
        shape = (x.shape[0], *size, x.shape[-1])
        return jax.image.resize(x, shape, "bilinear", antialias=False)
    for axis in (2, 1):  # The shorter result first.
        x = _enlarge(x, axis, size[axis - 1] // x.shape[axis])
    return x


def _phases(factor: int) -> np.ndarray:
    """Shares of the pixel before, the pixel and the one behind in each new one, `[3, factor]`."""
    place = (np.arange(factor) + 0.5) / factor - 0.5  # From the middle of the pixel.
    before, behind = np.maximum(-place, 0), np.maximum(place, 0)
    return np.stack([before, 1 - before - behind, behind])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _enlarge(x: jax.Array, axis: int, factor: int) -> jax.Array:
    """Makes one side of `[B, H, W, C]` so many times as long; beyond an edge it goes on."""
    if factor == 1:
        return x
    last = x.shape[axis] - 1
    before = jnp.take(x, np.maximum(np.arange(last + 1) - 1, 0), axis)
    behind = jnp.take(x, np.minimum(np.arange(last + 1) + 1, last), axis)
    shape = [1] * (x.ndim + 1)
    shape[axis + 1] = factor
    y = sum(
        jnp.expand_dims(part, axis + 1) * share.astype(x.dtype).reshape(shape)
        for part, share in zip((before, x, behind), _phases(factor))
    )
    return y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])


def _enlarge_forward(x: jax.Array, axis: int, factor: int) -> tuple[jax.Array, None]:
    return _enlarge(x, axis, factor), None


def _enlarge_backward(
    axis: int, factor: int, _: None, dy: jax.Array
) -> tuple[jax.Array]:
    """Each pixel gets back what it gave to itself and to its neighbours."""
    if factor == 1:
        return (dy,)
    dy = dy.reshape(*dy.shape[:axis], -1, factor, *dy.shape[axis + 1 :])
    phases = [jnp.take(dy, p, axis + 1) for p in range(factor)]
    before, own, behind = (
        sum(phase * share for phase, share in zip(phases, shares))
        for shares in _phases(factor).astype(dy.dtype)
    )
    count = own.shape[axis]

    def part(x: jax.Array, start: int, stop: int) -> jax.Array:
        return jax.lax.slice_in_dim(x, start, stop, axis=axis)

    def shift(x: jax.Array, low: int, high: int) -> jax.Array:
        return jax.lax.pad(
            x,
            jnp.zeros((), x.dtype),
            [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)],
        )

    dx = own
    dx += shift(part(before, 1, count), 0, 1) + shift(part(before, 0, 1), 0, count - 1)
    dx += shift(part(behind, 0, count - 1), 1, 0)
    dx += shift(part(behind, count - 1, count), count - 1, 0)
    return (dx,)


_enlarge.defvjp(_enlarge_forward, _enlarge_backward)
