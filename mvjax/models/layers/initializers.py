"""Initial values of parameters, drawn on the host.

NumPy draws them because XLA would compile one program for each shape: a minute for a
network of a hundred layers on a laptop. The numbers are the same on every platform.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform in +-1/sqrt(fan_in), PyTorch's default for weights and for biases."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32):
        def draw(data: np.ndarray) -> np.ndarray:
            generator = np.random.default_rng(np.asarray(data).tolist())
            return generator.uniform(-bound, bound, shape).astype(dtype)

        result = jax.ShapeDtypeStruct(shape, dtype)
        return jax.pure_callback(draw, result, jax.random.key_data(key))

    return init
