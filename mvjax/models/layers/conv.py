"""TEMP."""
from typing import Any
from flax import linen as nn
import jax, jax.numpy as jnp
from mvjax.models.layers import initializers
class Conv2D(nn.Module):
    features: int
    kernel_size: tuple = (3, 3)
    strides: tuple = (1, 1)
    padding: tuple = ((1, 1), (1, 1))
    use_bias: bool = True
    dtype: Any = jnp.float32
    @nn.compact
    def __call__(self, x):
        i = initializers.torch_uniform(self.kernel_size[0]*self.kernel_size[1]*x.shape[-1])
        k = self.param("kernel", i, (*self.kernel_size, x.shape[-1], self.features))
        b = self.param("bias", i, (self.features,))
        y = jax.lax.conv_general_dilated(x.astype(self.dtype), k.astype(self.dtype), self.strides, self.padding, dimension_numbers=("NHWC","HWIO","NHWC"))
        return y + b.astype(self.dtype)
