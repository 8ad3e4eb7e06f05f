"""The quick activations are the exact ones."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.models.layers import activations


def test_gelu_is_x_times_the_normal_distribution_function():
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e4, 0.0, 1e4]])
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    y, slopes = jax.jit(jax.vmap(jax.value_and_grad(activations.gelu)))(jnp.float32(x))
    # The error function is within some units in the last place of 1, times x up to 12.
    np.testing.assert_allclose(y, x * below, rtol=3e-7, atol=2e-6)
    np.testing.assert_allclose(slopes, below + x * density, atol=5e-7)


def test_gelu_keeps_the_type():
    assert activations.gelu(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
