"""Linear layers with PyTorch's default initialisation."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.models.layers import initializers
from mvjax.models.layers import repeated


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
    rows = (x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1]))
    dkernel = jax.lax.dot_general(*rows, (((0,), (0,)), ((), ())))
    return jnp.dot(dy, kernel.T), dkernel


_product.defvjp(_forward, _backward)
