"""Colours and sharpness of images `[N, H, W, 3]` in [0, 1], a strength for each image.

The formulas are torchvision's for tensors; but for `grey` and `smooth`, functions clip
their results to [0, 1].
"""

import jax
import jax.numpy as jnp

_GREY = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision rounds it.


def grey(images: jax.Array) -> jax.Array:
    """Luma of RGB images, `[N, H, W, 1]`; images of one channel are their own."""
    if images.shape[-1] == 1:
        return images
    return sum(weight * images[..., i : i + 1] for i, weight in enumerate(_GREY))


def brightness(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales all values by `factor` `[N]`; 1 changes nothing."""
    return blend(images, jnp.zeros(()), factor)


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Stretches values around the image's mean luma by `factor` `[N]`."""
    mean = jnp.mean(grey(images), axis=(1, 2, 3), keepdims=True)
    return blend(images, mean, factor)


def saturation(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Stretches colours away from grey by `factor` `[N]`; 0: grey."""
    return blend(images, grey(images), factor)


def hue(images: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns hues by `shift` `[N]`, in parts of the whole circle, -0.5..0.5."""
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    value, low = jnp.max(images, axis=-1), jnp.min(images, axis=-1)
    span = value - low
    safe = jnp.where(span > 0, span, 1)
    saturated = jnp.where(value > 0, span / jnp.where(value > 0, value, 1), 0)
    to_red, to_green = (value - red) / safe, (value - green) / safe
    to_blue = (value - blue) / safe
    # Not `value == red`: compilers compute values twice, and round them otherwise.
    angle = jnp.where(
        (red >= green) & (red >= blue),
        to_blue - to_green,
        jnp.where(green >= blue, 2 + to_red - to_blue, 4 + to_green - to_red),
    )
    angle = (angle / 6 + shift[:, None, None]) % 1 * 6
    # Value of the channel whose own hue is `offset` sixths of the circle on.
    channels = []
    for offset in (5, 3, 1):
        place = (offset + angle) % 6
        part = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
        channels.append(value - value * saturated * part)
    return jnp.clip(jnp.stack(channels, axis=-1), 0, 1)


def blur(images: jax.Array, sigma: jax.Array, *, size: int) -> jax.Array:
    """What `smooth` gives, in [0, 1]."""
    return jnp.clip(smooth(images, sigma, size=size), 0, 1)


def smooth(images: jax.Array, sigma: jax.Array, *, size: int) -> jax.Array:
    """Convolves with a Gaussian of `sigma` `[N]` pixels; borders are reflected.

    Values may lie in any range, and are not clipped.

    Args:
      images: `[N, H, W, C]`.
      sigma: Above 0.
      size: Side of the kernel in pixels, odd.
    """
    reach = size // 2
    offsets = jnp.arange(-reach, reach + 1)
    weights = jnp.exp(-0.5 * (offsets / sigma[:, None]) ** 2)  # [N, size]
    weights = weights / jnp.sum(weights, axis=1, keepdims=True)
    for axis in (1, 2):
        pad = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(images, pad, mode="reflect")
        length = images.shape[axis]
        # A sum of shifted copies: each image has a kernel of its own.
        images = sum(
            weights[:, i, None, None, None]
            * jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
            for i in range(size)
        )
    return images


def blend(images: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    """`factor * images + (1 - factor) * other`, in [0, 1]."""
    factor = factor[:, None, None, None]
    return jnp.clip(factor * images + (1 - factor) * other, 0, 1)
