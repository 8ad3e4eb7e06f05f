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
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, _, inputs, _ = kernel.shape
    part_bytes = x[0].size * kernel.shape[1] * x.dtype.itemsize
    parts = _divisor(x.shape[0], x.shape[0] * part_bytes / PART_BYTES)

    def split(a: jax.Array) -> jax.Array:
        return a.reshape(parts, a.shape[0] // parts, *a.shape[1:])

    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]):
        return total + _row_products(*part, kernel.shape, strides), None

    zero = jnp.zeros(kernel.shape, jnp.float32)
    total, _ = lax.scan(add, zero, (split(x), split(dy)))
    return total.astype(kernel.dtype)


def _row_products(x, dy, shape, strides):
    """The same gradient for some images, padded: one product for each kernel row."""
    height, width, inputs, outputs = shape
    rows, columns = dy.shape[1:3]
    across = jnp.concatenate(
        [
            x[:, :, j : j + (columns - 1) * strides[1] + 1 : strides[1]]
            for j in range(width)
        ],
        axis=-1,
    )  # [b, H, W', w * I]
    flat = dy.reshape(-1, outputs)
    products = []
    for i in range(height):
        part = across[:, i : i + (rows - 1) * strides[0] + 1 : strides[0]]
        part = part.reshape(-1, width * inputs)
        products.append(
            lax.dot_general(
                part,
                flat,
                (((0,), (0,)), ((), ())),
                preferred_element_type=jnp.float32,
            )
        )
    return jnp.stack(products).reshape(shape)


def _divisor(size: int, wanted: float) -> int:
    """The smallest divisor of `size` that is at least `wanted`."""
    return next((d for d in range(1, size + 1) if size % d == 0 and d >= wanted), size)
