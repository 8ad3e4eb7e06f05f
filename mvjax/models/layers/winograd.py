"""3x3 convolutions of stride 1 by Winograd's minimal filtering, for XLA's CPU.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), F(2x2, 3x3):
a window of 4x4 pixels gives 2x2 outputs through 16 products of transformed numbers where
the sum of products needs 36. Over all windows and channels each of the 16 is a matrix
product. The transforms only add, subtract and halve, so results differ from the direct
sum by some units in the last place of float32. Maps of an odd size are computed with one
more row or column.

The batch is taken in chunks, because 16 transformed maps of a quarter of the size are
four times as many numbers, and pay only where they do not leave the cache.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.models.layers import chunks

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right).

# With fewer channels, in or out, the transforms take more than they save.
LEAST_CHANNELS = 128
# Inputs and outputs of a chunk; with fewer, two threads divide the work badly.
CHUNK_BYTES = 9 * 2**20

# The paper's matrix G along both axes: from nine taps to 16 multipliers.
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_TAPS = np.kron(_G, _G)


def applies(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding
) -> bool:
    """Whether the functions below compute this convolution, and faster than others."""
    return (
        kernel.shape[:2] == (3, 3)
        and strides == (1, 1)
        and max(map(max, padding)) <= 2
        and min(kernel.shape[2:]) >= LEAST_CHANNELS
        and x.dtype == jnp.float32
    )


def conv2d(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Cross-correlates images with a 3x3 kernel.

    Args:
      x: Images `[B, H, W, C]`, float32.
      kernel: Weights `[3, 3, C, D]`, float32.
      padding: Zeros above and below, left and right.

    Returns:
      `[B, H', W', D]`, H' and W' being the padded sizes less 2, float32.
    """
    return _correlate(x, list(_transform_kernel(kernel)), padding)


def input_gradient(dy: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """Gradient of the images of `conv2d`: its kernel, turned, over padded dy.

    Args:
      dy: Gradients of the outputs `[B, H', W', D]`, float32.
      kernel: Weights `[3, 3, C, D]`, float32.
      padding: As in `conv2d`.

    Returns:
      `[B, H, W, C]`, float32.
    """
    multipliers = [k.T for k in _transform_kernel(kernel[::-1, ::-1])]
    return _correlate(dy, multipliers, tuple((2 - a, 2 - b) for a, b in padding))


def kernel_gradient(x: jax.Array, dy: jax.Array, padding: Padding) -> jax.Array:
    """Gradient of the kernel of `conv2d`.

    Args:
      x: Inputs `[B, H, W, C]`, float32.
      dy: Gradients of the outputs `[B, H', W', D]`, float32.
      padding: As in `conv2d`.

    Returns:
      `[3, 3, C, D]`, float32.
    """
    channels, features = x.shape[-1], dy.shape[-1]

    def multiply(x: jax.Array, dy: jax.Array) -> jax.Array:
        even = ((0, 0), *((0, size % 2) for size in dy.shape[1:3]), (0, 0))
        windows = _stack(_windows, _rows(_windows, _pad(x, padding)))
        outputs = _stack(_outputs, _rows(_outputs, jnp.pad(dy, even)))
        return jnp.einsum("pnc,pnd->pcd", windows, outputs)

    image_bytes = 4 * dy.shape[1] * dy.shape[2] * (channels + features)
    # The sum of the products is read and written for each chunk.
    most = max(chunks.CHUNK_BYTES, 64 * channels * features)
    count = chunks.count(x.shape[0], image_bytes, most=most)
    products = chunks.add(multiply, x, dy, count)
    kernel = jnp.dot(_TAPS.T, products.reshape(16, -1))
    return kernel.reshape(3, 3, channels, features)


def _transform_kernel(kernel: jax.Array) -> jax.Array:
    """The 16 multipliers of windows, `[16, C, D]`."""
    multipliers = jnp.dot(_TAPS, kernel.reshape(9, -1))
    return multipliers.reshape(16, *kernel.shape[2:])


def _correlate(
    x: jax.Array, multipliers: list[jax.Array], padding: Padding
) -> jax.Array:
    """`conv2d` with a transformed kernel, 16 matrices `[C, D]`."""
    channels, features = multipliers[0].shape
    height, width = (x.shape[1 + i] + sum(padding[i]) - 2 for i in (0, 1))

    def convolve(x: jax.Array) -> jax.Array:
        rows = _rows(_windows, _pad(x, padding))
        windows = [part for row in rows for part in _windows(row, 2)]
        # Single products: one of 16 matrices takes two threads a fifth longer.
        products = [jnp.dot(*pair) for pair in zip(windows, multipliers, strict=True)]
        columns = [_sums(products[j::4]) for j in range(4)]
        y = [jnp.stack(_sums(four), axis=3) for four in zip(*columns)]
        y = jnp.stack(y, axis=2)  # [b, h, 2, w, 2, D]
        y = y.reshape(len(x), 2 * y.shape[1], 2 * y.shape[3], features)
        return y[:, :height, :width]

    image_bytes = 4 * height * width * (channels + features)
    count = chunks.count(x.shape[0], image_bytes, most=CHUNK_BYTES)
    return chunks.concatenate(convolve, x, count)


def _pad(x: jax.Array, padding: Padding) -> jax.Array:
    """Zeros round images, and below and to the right of an odd number of outputs."""
    odd = [(x.shape[1 + axis] + sum(padding[axis])) % 2 for axis in (0, 1)]
    margins = ((low, high + more) for (low, high), more in zip(padding, odd))
    return jnp.pad(x, ((0, 0), *margins, (0, 0)))


def _rows(
    function: Callable[[jax.Array, int], Sequence[jax.Array]], x: jax.Array
) -> jax.Array:
    """A transform along the height of images: `[4, b, h, W, C]`."""
    return jnp.stack(function(x, 1))


def _stack(
    function: Callable[[jax.Array, int], Sequence[jax.Array]], rows: jax.Array
) -> jax.Array:
    """A transform of rows along the width: `[16, b h w, C]`."""
    parts = jnp.stack(function(rows, 3), axis=1)
    return parts.reshape(16, -1, parts.shape[-1])


def _windows(x: jax.Array, axis: int) -> Sequence[jax.Array]:
    """The paper's matrix B^T, for all windows of four pixels at a stride of two."""
    end = x.shape[axis] - 3
    a, b, c, d = (jax.lax.slice_in_dim(x, i, i + end, 2, axis) for i in range(4))
    return a - c, b + c, c - b, b - d


def _outputs(dy: jax.Array, axis: int) -> Sequence[jax.Array]:
    """The paper's matrix A, for gradients of pairs of outputs."""
    even, odd = (jax.lax.slice_in_dim(dy, i, None, 2, axis) for i in (0, 1))
    return even, even + odd, even - odd, -odd


def _sums(products: Sequence[jax.Array]) -> Sequence[jax.Array]:
    """The paper's matrix A^T: two outputs of four products."""
    a, b, c, d = products
    return a + b + c, b - c - d
