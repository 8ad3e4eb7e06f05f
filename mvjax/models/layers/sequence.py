"""Layers of sequences `[B, T, C]`: convolution over time, positions, pooling."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.models.layers import initializers
from mvjax.models.layers import linear


class Conv1D(nn.Module):
    """Convolution over time, kernel size 3; `params` kernel `[3, C, features]`, bias.

    Written as one matrix product of the three taps, which every backend does well.
    """

    features: int
    padding: int = 1  # Frames added at either end.
    circular: bool = False  # Added frames come from the other end; else they are zero.
    dtype: Any = jnp.float32  # Compute type; parameters are float32.

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, T, C]` to `[B, T + 2 * padding - 2, features]`."""
        channels = x.shape[-1]
        init = initializers.torch_uniform(3 * channels)
        kernel = self.param("kernel", init, (3, channels, self.features))
        bias = self.param("bias", init, (self.features,))
        margins = ((0, 0), (self.padding, self.padding), (0, 0))
        x = jnp.pad(
            x.astype(self.dtype), margins, mode="wrap" if self.circular else "constant"
        )
        length = x.shape[1] - 2
        taps = jnp.concatenate([x[:, i : i + length] for i in range(3)], axis=-1)
        kernel = kernel.reshape(-1, self.features).astype(self.dtype)
        return linear.product(taps, kernel) + bias.astype(self.dtype)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Sinusoidal positions `[length, width]` float32, sine and cosine in turn."""
    rates = np.exp(np.arange(0, width, 2) * -(np.log(10000.0) / width))
    angles = np.arange(length)[:, None] * rates  # [length, width / 2]
    table = np.empty((length, width))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)[:, : width // 2]
    return table.astype(np.float32)


def max_pool(x: jax.Array) -> jax.Array:
    """Maxima over time, kernel 3, stride 2, padding 1: `[B, T, C]` to `[B, T', C]`.

    T' is `(T + 1) // 2`. Three strided slices, because the gradient of XLA's own window
    maximum is a slow scatter on CPUs.
    """
    low = jnp.asarray(-jnp.inf, x.dtype)
    after = 1 + (x.shape[1] + 1) % 2
    padded = jnp.pad(x, ((0, 0), (1, after), (0, 0)), constant_values=low)
    count = (x.shape[1] + 1) // 2
    taps = [padded[:, i : i + 2 * count - 1 : 2] for i in range(3)]
    return jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
