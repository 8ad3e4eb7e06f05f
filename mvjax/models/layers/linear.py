"""Linear layers with PyTorch's default initialisation."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.models.layers import alone
from mvjax.models.layers import initializers
from mvjax.models.layers import repeated

# Rows from which on a product takes so long that turning its result is worth it.
_MANY = 1_024


class Linear(nn.Module):
    """`x @ kernel + bias`; `params` kernel `[in, out]` and bias `[out]`."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32  # Compute type; parameters are float32.
    kernel_init: nn.initializers.Initializer | None = None  # None: PyTorch's default.
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to `[..., features]`."""
        default = initializers.torch_uniform(x.shape[-1])
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init or default, shape)
        y = product(x.astype(self.dtype), kernel.astype(self.dtype))
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init or default, (self.features,))
        return y + bias.astype(self.dtype)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel`, whose gradients are matrix products of the arrays as they lie.

    JAX's own rule gives the gradient of the kernel transposed; to undo that, XLA's CPU
    compiler copies dy into another order. Forward-mode differentiation does not pass
    through.

    Args:
      x: `[..., C]`.
      kernel: `[C, D]` of the same type.

    Returns:
      `[..., D]` of the same type.
    """
    return repeated.keep(_product(x, kernel))


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.dot(x, kernel)


def _forward(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(x, kernel), (x, kernel)


def _backward(
    residuals: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    x, rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    if len(rows) >= _MANY and is_tall(*kernel.shape):
        dkernel = turn(add_rows(rows, x))
    else:
        dkernel = add_rows(x, rows)
    return jnp.dot(dy, kernel.T), dkernel


_product.defvjp(_forward, _backward)


def add_rows(a: jax.Array, b: jax.Array, dtype: Any = None) -> jax.Array:
    """The product `a.T @ b` of `[rows, M]` and `[rows, N]`, `[M, N]`; adds in `dtype`."""
    contract = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(a, b, contract, preferred_element_type=dtype)


def is_tall(m: int, n: int) -> bool:
    """Whether `turn(add_rows(b, a))` is faster than the same `add_rows(a, b)`, `[m, n]`.

    On CPUs such a product takes up to 2.7 times as long if m is the larger one, of 1,024
    by 128 for example.
    """
    return jax.default_backend() == "cpu" and m >= max(2 * n, 192)


def turn(x: jax.Array) -> jax.Array:
    """The transpose of `[M, N]`, written to memory.

    XLA's CPU compiler would exchange the factors of the product that x is, or read x
    across its rows in the operations that follow.
    """
    return alone.run(jnp.transpose, x, probe=x[0, 0])
