"""Normalisation layers with PyTorch's conventions."""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp


def _identity(x: jax.Array) -> jax.Array:
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalise(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    epsilon: float,
    activation: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises `[B, G, ..., C]` by group and channel, then activates.

    The gradient is written out because it needs nothing but the input: a third of the
    memory traffic of what differentiation keeps. None flows through the statistics.

    Returns:
      The result, float32 or wider, and the groups' means and biased variances, `[G, C]`.
    """
    return _normalise_forward(x, scale, bias, epsilon, activation)[0]


def _group_sums(x: jax.Array) -> jax.Array:
    """Sums `[B, G, ..., C]` to `[G, C]`; space first, which is faster on CPUs."""
    return x.sum(axis=tuple(range(2, x.ndim - 1))).sum(axis=0)


def _spread(x: jax.Array, statistic: jax.Array) -> jax.Array:
    """`[G, C]` in a shape that broadcasts against `[B, G, ..., C]`."""
    groups, channels = statistic.shape
    return statistic.reshape(1, groups, *(1,) * (x.ndim - 3), channels)


def _normalise_forward(x, scale, bias, epsilon, activation):
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    share = x.shape[1] * x.shape[-1] / x.size
    mean = _group_sums(y) * share  # [G, C]
    var = _group_sums(jnp.square(y - _spread(x, mean))) * share
    factor = scale * jax.lax.rsqrt(var + epsilon)
    y = activation((y - _spread(x, mean)) * _spread(x, factor) + bias)
    return (y, mean, var), (x, scale, bias, mean, var)


def _normalise_backward(epsilon, activation, residuals, cotangents):
    x, scale, bias, mean, var = residuals
    share = x.shape[1] * x.shape[-1] / x.size
    inverse = jax.lax.rsqrt(var + epsilon)
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    normal = (y - _spread(x, mean)) * _spread(x, inverse)
    _, pull = jax.vjp(activation, normal * scale + bias)
    (dz,) = pull(cotangents[0])
    d_bias, d_scale = _group_sums(dz), _group_sums(dz * normal)  # [G, C]
    centred = dz - _spread(x, d_bias * share) - normal * _spread(x, d_scale * share)
    dx = _spread(x, inverse * scale) * centred
    return dx.astype(x.dtype), d_scale.sum(axis=0), d_bias.sum(axis=0)


_normalise.defvjp(_normalise_forward, _normalise_backward)


class BatchNorm(nn.Module):
    """Batch norm whose running variance is unbiased, as PyTorch stores it.

    Flax's own layer stores the biased variance. Statistics are of the global batch under
    `jit`. With `groups > 1` row `b * groups + g` of the batch belongs to group g: each
    group is normalised by its own statistics and the running ones are updated once for
    each group, in order, which is what that many separate PyTorch calls would do.
    `activation` is applied to the result, element by element.

    Variables: `params` scale and bias `[C]`, if `affine`; `batch_stats` mean and var `[C]`
    and count `[]` int32, PyTorch's `num_batches_tracked`.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9  # Weight of the old running value; PyTorch's 0.1.
    groups: int = 1
    affine: bool = True
    activation: Callable[[jax.Array], jax.Array] = _identity
    dtype: Any = jnp.float32  # Type of the result; statistics are float32.
    eval_epsilon: float | None = None  # None: as in training.

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `[B, ..., C]` over all axes but the last."""
        channels = x.shape[-1]
        scale, bias = jnp.ones((channels,)), jnp.zeros((channels,))
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (channels,))
            bias = self.param("bias", nn.initializers.zeros, (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        count = self.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        if not train:
            epsilon = self.epsilon if self.eval_epsilon is None else self.eval_epsilon
            factor = scale * jax.lax.rsqrt(var.value + epsilon)
            shift = bias - mean.value * factor
            return self.activation(x * factor + shift).astype(self.dtype)
        y, batch_mean, batch_var = _normalise(
            x.reshape((-1, self.groups, *x.shape[1:])),
            scale,
            bias,
            self.epsilon,
            self.activation,
        )
        if not self.is_initializing():
            n = x.size // (self.groups * channels)
            unbiased = batch_var * (n / max(n - 1, 1))
            for g in range(self.groups):
                mean.value = self._blend(mean.value, batch_mean[g])
                var.value = self._blend(var.value, unbiased[g])
            count.value = count.value + self.groups
        return y.reshape(x.shape).astype(self.dtype)

    def _blend(self, old: jax.Array, new: jax.Array) -> jax.Array:
        return self.momentum * old + (1 - self.momentum) * new


def layer_norm(epsilon: float, dtype: Any, name: str) -> nn.LayerNorm:
    """A layer norm whose variance is exact where the mean is large.

    Flax's fast variance cancels there: its error would exceed the epsilon of most models.
    """
    return nn.LayerNorm(epsilon, dtype=dtype, use_fast_variance=False, name=name)


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
