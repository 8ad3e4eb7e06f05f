"""Linear layers with PyTorch's default initialisation."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.models.layers import initializers


class Linear(nn.Module):
    """`x @ kernel + bias`; `params` kernel `[in, out]` and bias `[out]`."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32  # Compute type; parameters are float32.

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[..., in]` to `[..., features]`."""
        init = initializers.torch_uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        y = jnp.dot(x.astype(self.dtype), kernel.astype(self.dtype))
        if not self.use_bias:
            return y
        bias = self.param("bias", init, (self.features,))
        return y + bias.astype(self.dtype)
