"""Standard deviation around each pixel, as released with MV-MR."""

import itertools

import jax
import jax.numpy as jnp

from mvjax.core import errors

STABILISER = 1e-8  # Added to variances, as in the released code.


def local_std(images: jax.Array, *, size: int = 3) -> jax.Array:
    """sqrt(E[x^2] - E[x]^2 + 1e-8) of the window around each pixel, for each channel.

    The means are of differences from the central pixel, so that a constant window has
    exactly the least value, 1e-4, and no rounding error makes a variance negative: the
    released code subtracts squares, and replaces the NaN of their root by 0.

    Args:
      images: `[B, H, W, C]`, any float type; their borders are reflected.
      size: Side of the window, odd.

    Returns:
      `[B, H, W, C]` float32.

    Raises:
      UserError: The window is even, or larger than what can be reflected.
    """
    reach, (height, width) = size // 2, images.shape[1:3]
    if size < 1 or size % 2 == 0 or reach >= min(height, width):
        raise errors.UserError(
            f"Local deviations need an odd size below {2 * min(height, width)}, twice the "
            f"smaller side of images {height} x {width}, not {size}."
        )
    x = images.astype(jnp.float32)
    pad = (reach, reach)
    padded = jnp.pad(x, ((0, 0), pad, pad, (0, 0)), mode="reflect")
    differences = [
        padded[:, i : i + height, j : j + width] - x
        for i, j in itertools.product(range(size), repeat=2)
    ]
    mean = sum(differences) / size**2
    square = sum(difference**2 for difference in differences) / size**2
    variance = jnp.maximum(square - mean**2, 0)
    return jnp.sqrt(variance + STABILISER)
