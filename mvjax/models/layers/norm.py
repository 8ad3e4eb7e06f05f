"""Normalisation layers with PyTorch's conventions."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
    """Batch norm whose running variance is unbiased, as PyTorch stores it.

    Flax's own layer stores the biased variance. Statistics are of the global batch under
    `jit`. With `groups > 1` row `b * groups + g` of the batch belongs to group g: each
    group is normalised by its own statistics and the running ones are updated once for
    each group, in order, which is what that many separate PyTorch calls would do.

    Variables: `params` scale and bias `[C]`; `batch_stats` mean and var `[C]` and count
    `[]` int32, PyTorch's `num_batches_tracked`.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9  # Weight of the old running value; PyTorch's 0.1.
    groups: int = 1
    dtype: Any = jnp.float32  # Type of the result; statistics are float32.

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `[B, ..., C]` over all axes but the last."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        count = self.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        if not train:
            factor = scale * jax.lax.rsqrt(var.value + self.epsilon)
            shift = bias - mean.value * factor
            return (x * factor + shift).astype(self.dtype)
        y = x.astype(jnp.float32).reshape((-1, self.groups, *x.shape[1:]))
        axes = (0, *range(2, y.ndim - 1))
        batch_mean = jnp.mean(y, axis=axes, keepdims=True)  # [1, G, ..., C]
        batch_var = jnp.mean(jnp.square(y - batch_mean), axis=axes, keepdims=True)
        if not self.is_initializing():
            n = y.size // (self.groups * channels)
            means = batch_mean.reshape(self.groups, channels)
            variances = batch_var.reshape(self.groups, channels) * (n / max(n - 1, 1))
            for g in range(self.groups):
                mean.value = self._blend(mean.value, means[g])
                var.value = self._blend(var.value, variances[g])
            count.value = count.value + self.groups
        y = (y - batch_mean) * (jax.lax.rsqrt(batch_var + self.epsilon) * scale) + bias
        return y.reshape(x.shape).astype(self.dtype)

    def _blend(self, old: jax.Array, new: jax.Array) -> jax.Array:
        return self.momentum * old + (1 - self.momentum) * new


class GroupNorm(nn.Module):
    """Group norm over space and the channels of a group; `params` scale, bias `[C]`."""

    num_groups: int = 32
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `[B, ..., C]`; C is a multiple of `num_groups`."""
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        y = x.astype(jnp.float32).reshape(
            (x.shape[0], -1, self.num_groups, channels // self.num_groups)
        )
        mean = jnp.mean(y, axis=(1, 3), keepdims=True)
        var = jnp.mean(jnp.square(y - mean), axis=(1, 3), keepdims=True)
        y = ((y - mean) * jax.lax.rsqrt(var + self.epsilon)).reshape(x.shape)
        return (y * scale + bias).astype(self.dtype)
