"""Grids of patches of images."""

import jax
import jax.numpy as jnp

from mvjax.core import errors


def split(images: jax.Array, count: int = 4, *, released: bool = False) -> jax.Array:
    """The patches of a grid of `count` x `count`, row by row.

    Args:
      images: `[B, H, W, C]`; a rest at the lower and the right border is left out.
      count: Patches along each axis.
      released: As the published MV-MR, which takes `H // count` for the side of a patch
        and `W // count` for the step in both directions: of images that are not square,
        other patches, and more or fewer.

    Returns:
      `[B, count * count, H // count, W // count, C]`, of the same type; with `released`
      `[B, rows * columns, H // count, H // count, C]`.

    Raises:
      UserError: The image has fewer pixels along an axis.
    """
    height, width = images.shape[1:3]
    if not 1 <= count <= min(height, width):
        raise errors.UserError(
            f"Images {height} x {width} cannot be split into {count} x {count} patches. "
            f"Choices: 1 to {min(height, width)}."
        )
    size = steps = (height // count, width // count)
    rows = columns = count
    if released:
        size, steps = (size[0], size[0]), (size[1], size[1])
        rows, columns = ((side - size[0]) // steps[0] + 1 for side in (height, width))
    parts = [
        images[:, top : top + size[0], left : left + size[1]]
        for top in range(0, rows * steps[0], steps[0])
        for left in range(0, columns * steps[1], steps[1])
    ]
    if not parts:
        raise errors.UserError(
            f"Images {height} x {width} hold no patch of {size[0]} x {size[1]} pixels."
        )
    return jnp.stack(parts, axis=1)
