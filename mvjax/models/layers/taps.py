"""What the taps of a convolution's kernel meet."""

from typing import Any

import jax
import jax.numpy as jnp

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right).


def wide(x: jax.Array) -> Any:
    """Type in which sums are taken."""
    return jnp.promote_types(x.dtype, jnp.float32)


def take(
    x: jax.Array,
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: Padding,
    dilation: int,
) -> list[jax.Array]:
    """What each tap of a kernel meets, row by row: `kh kw` arrays `[B, H', W', C]`."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = [
        strides[axis]
        * ((x.shape[1 + axis] - dilation * (size[axis] - 1) - 1) // strides[axis])
        + 1
        for axis in (0, 1)
    ]
    return [
        x[:, i : i + reach[0] : strides[0], j : j + reach[1] : strides[1]]
        for i in range(0, dilation * size[0], dilation)
        for j in range(0, dilation * size[1], dilation)
    ]
