"""Two-dimensional convolution, with a formulation of its gradients for CPUs.

XLA turns the gradient of a kernel into a convolution whose window is the whole image;
on CPUs that runs at a tenth of the speed of a matrix product. Here that gradient is a sum
of matrix products over small parts of the batch, each part small enough for the cache.
"""

import functools
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from mvjax.models.layers import initializers

Padding = tuple[tuple[int, int], tuple[int, int]]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
PART_BYTES = 2**20  # Bytes of shifted copies that a part of the batch may take.


class Conv2D(nn.Module):
    """Convolution of `[B, H, W, I]`; `params` kernel `[h, w, I, O]` and bias `[O]`."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = ((1, 1), (1, 1))
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        init = initializers.torch_uniform(shape[0] * shape[1] * shape[2])
        kernel = self.param("kernel", init, shape)
        y = conv2d(
            x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding
        )
        if not self.use_bias:
            return y
        return y + self.param("bias", init, (self.features,)).astype(self.dtype)


def conv2d(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding
) -> jax.Array:
    """Convolves `[B, H, W, I]` with `[h, w, I, O]` to `[B, H', W', O]`.

    The result is that of `lax.conv_general_dilated`; on CPUs the kernel's gradient is
    computed in another way, equal up to rounding.
    """
    if jax.default_backend() != "cpu":
        return _plain(x, kernel, strides, padding)
    return _conv2d_cpu(x, kernel, strides, padding)


def _plain(x, kernel, strides, padding):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=DIMENSIONS
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d_cpu(x, kernel, strides, padding):
    return _plain(x, kernel, strides, padding)


def _forward(x, kernel, strides, padding):
    return _plain(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, residuals, dy):
    x, kernel = residuals
    _, pull = jax.vjp(lambda x: _plain(x, kernel, strides, padding), x)
    return pull(dy)[0], _kernel_gradient(x, dy, kernel, strides, padding)


_conv2d_cpu.defvjp(_forward, _backward)


def _kernel_gradient(x, dy, kernel, strides, padding):
    """Gradient `[h, w, I, O]` for inputs `[B, H, W, I]` and gradients of the output."""
    height, width, inputs, outputs = kernel.shape
    if strides == (1, 1):
        products = functools.partial(_split_products, size=(height, width))
        area = x.shape[1] * dy.shape[2] * (width * inputs + height * outputs)
    else:
        products = functools.partial(
            _patch_products, size=(height, width), strides=strides
        )
        area = dy.shape[1] * dy.shape[2] * height * width * inputs
    batch = x.shape[0]
    parts = _divisor(batch, batch * area * x.dtype.itemsize / PART_BYTES)

    def part(a: jax.Array, i: jax.Array) -> jax.Array:
        # Rows i, i + parts, ...: on several devices each one keeps its own rows.
        a = a.reshape(batch // parts, parts, *a.shape[1:])
        return lax.dynamic_index_in_dim(a, i, axis=1, keepdims=False)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        return total + products(part(x, i), part(dy, i), padding=padding)

    zero = jnp.zeros(kernel.shape, jnp.float32)
    return lax.fori_loop(0, parts, add, zero).astype(kernel.dtype)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a^T b` of `[..., M]` and `[..., N]`, summed over everything else, float32."""
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    return lax.dot_general(
        a, b, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )


def _split_products(x, dy, *, size, padding):
    """Stride 1: shifts the inputs along the width and `dy` along the height.

    One product of `[.., w * I]` and `[.., h * O]` then holds all h * w kernel entries.
    """
    height, width = size
    rows, inputs = x.shape[1], x.shape[3]
    outputs, out_rows = dy.shape[3], dy.shape[1]
    x = jnp.pad(x, ((0, 0), (0, 0), padding[1], (0, 0)))
    # Input row r meets output row r - i + top for kernel row i.
    above = height - 1 - padding[0][0]
    below = rows + height - 1 - out_rows - above
    zero = jnp.zeros((), dy.dtype)
    dy = lax.pad(dy, zero, ((0, 0, 0), (above, below, 0), (0, 0, 0), (0, 0, 0)))
    columns = dy.shape[2]
    across = jnp.concatenate(
        [x[:, :, j : j + columns] for j in range(width)], axis=-1
    )  # [b, H, W', w * I]
    down = jnp.concatenate(
        [dy[:, i : i + rows] for i in range(height)], axis=-1
    )  # [b, H, W', h * O]
    entries = _product(across, down).reshape(width, inputs, height, outputs)
    return jnp.transpose(entries, (2, 0, 1, 3))[::-1]


def _patch_products(x, dy, *, size, strides, padding):
    """Any stride: patches of the inputs, `[b, H', W', h * w * I]`, against `dy`."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (
        (n - 1) * s + 1 for n, s in zip(dy.shape[1:3], strides, strict=True)
    )
    patches = jnp.concatenate(
        [
            x[:, i : i + rows : strides[0], j : j + columns : strides[1]]
            for i in range(size[0])
            for j in range(size[1])
        ],
        axis=-1,
    )
    return _product(patches, dy).reshape(*size, x.shape[3], dy.shape[3])


def _divisor(size: int, wanted: float) -> int:
    """The smallest divisor of `size` that is at least `wanted`."""
    return next((d for d in range(1, size + 1) if size % d == 0 and d >= wanted), size)
