"""Linear interpolation between the points of a grid, with gradients, as products.

The weights of all grid points are written out: nothing is gathered, and so no gradient is
a scatter, which is a plain loop on CPUs and slow on accelerators.
"""

import jax
import jax.numpy as jnp


def weights(places: jax.Array, count: int) -> jax.Array:
    """How much each of `count` points in a row has of the values at `places`.

    Outside of the row the values fall to zero within the distance of two points. The
    gradient of a place on a point is that of the interval behind it, as in PyTorch.

    Args:
      places: `[...]` in [-1, 1], where -1 is the first point and 1 the last one.
      count: At least 1; the only point of one is -1.

    Returns:
      `[..., count]`, float32 or wider.
    """
    places = places.astype(jnp.promote_types(places.dtype, jnp.float32))
    places = ((places + 1) * (0.5 * (count - 1)))[..., None]
    first = jnp.floor(places)
    share, points = places - first, jnp.arange(count)
    before, behind = points == first, points == first + 1
    return jnp.where(before, 1 - share, jnp.where(behind, share, 0))


def sample(x: jax.Array, places: jax.Array) -> jax.Array:
    """Bilinear values of maps at any places; PyTorch's `grid_sample`, `align_corners=True`.

    Zeros lie around the maps. The product costs `H W N C`, as much as comparing N samples
    with all places in an attention.

    Args:
      x: `[..., H, W, C]`, float.
      places: `[..., N, 2]`, row and column in [-1, 1]; the leading axes are those of x.

    Returns:
      `[..., N, C]` of the type of x.
    """
    height, width, channels = x.shape[-3:]
    rows = weights(places[..., 0], height)  # [..., N, H]
    columns = weights(places[..., 1], width)
    both = (rows[..., :, None] * columns[..., None, :]).astype(x.dtype)
    both = both.reshape(*both.shape[:-2], height * width)
    return jnp.matmul(both, x.reshape(*x.shape[:-3], height * width, channels))


def resize(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes bilinearly, corners on corners.

    PyTorch's `interpolate(mode="bilinear", align_corners=True)`.

    Args:
      x: Images `[B, H, W, C]`, float.
      size: New height and width.

    Returns:
      `[B, *size, C]` of the same type.
    """
    rows, columns = (
        weights(jnp.linspace(-1, 1, new), old).astype(x.dtype)
        for new, old in zip(size, x.shape[1:3])
    )
    # Half as much is left to do where the rows, which lie further apart, come first.
    return jnp.einsum("bhvc,wv->bhwc", jnp.einsum("buvc,hu->bhvc", x, rows), columns)
