"""Coloured pairs of one grey image, the coloured MNIST of SDIM/EDIM (section 5).

Sanchez et al., ECCV 2020, as released: view x has a coloured background and a grey
stroke, view y a coloured stroke on black; they share nothing but the shape.
"""

import jax
import jax.numpy as jnp
import numpy as np

PALETTE = np.array(  # The colours are RGB in 0..255.
    [
        (255, 0, 0),
        (255, 128, 0),
        (255, 255, 0),
        (128, 255, 0),
        (0, 255, 0),
        (0, 255, 128),
        (0, 255, 255),
        (0, 128, 255),
        (0, 0, 255),
        (128, 0, 255),
        (255, 0, 255),
        (255, 0, 128),
    ],
    np.uint8,
)
COLOURS = len(PALETTE)


def colour_background(image: jax.Array, colour: jax.Array) -> jax.Array:
    """Paints the dark pixels, dimmed by their grey; the stroke stays grey.

    Args:
      image: Grey images `[B, H, W, 1]` uint8; bytes from 128 on are the stroke.
      colour: Rows of `PALETTE`, `[B]` integer.

    Returns:
      `[B, H, W, 3]` float32 in [0, 1].
    """
    p, dark, stroke = _parts(image)
    return (_rgb(colour) * (dark - dark * p) + 255 * (stroke * p)) / 255


def colour_foreground(image: jax.Array, colour: jax.Array) -> jax.Array:
    """Paints the stroke, scaled by its grey; shapes as in `colour_background`."""
    p, dark, stroke = _parts(image)
    return (_rgb(colour) * (stroke * p) + 255 * (dark * p)) / 255


def draw(seed: int, epoch: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Colours of samples in an epoch, the same in any batch and on any device.

    Args:
      seed: Chooses the stream.
      epoch: `[]` integer.
      index: Samples' indices `[B]`.

    Returns:
      Background and foreground colour, independent and uniform, each `[B]` int32.
    """
    key = jax.random.fold_in(jax.random.key(seed), epoch)

    def one(i: jax.Array) -> jax.Array:
        return jax.random.randint(jax.random.fold_in(key, i), (2,), 0, COLOURS)

    colours = jax.vmap(one)(index)
    return colours[:, 0], colours[:, 1]


def _parts(image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Grey values in [0, 1] and the masks of dark and stroke pixels, float32."""
    p = image.astype(jnp.float32) / 255
    stroke = (image >= 128).astype(jnp.float32)
    return p, 1 - stroke, stroke


def _rgb(colour: jax.Array) -> jax.Array:
    """Palette rows in a shape that broadcasts against images, float32."""
    return jnp.asarray(PALETTE, jnp.float32)[colour][:, None, None, :]
