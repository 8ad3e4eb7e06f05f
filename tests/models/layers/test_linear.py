"""The product of linear layers has the gradients of `jnp.dot`, in both types."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import linear

TALL = (2, 600, 256)  # Of more channels than come out, in many rows.


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,), (0, 4), TALL], ids=str)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_product_has_the_gradients_of_dot(shape, dtype):
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    kernel = jax.random.normal(jax.random.key(1), (shape[-1], 6), dtype)

    def pull_back(function):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(jnp.cos(jnp.arange(y.size, dtype=dtype)).reshape(y.shape))

    tolerance = 1e-6 if dtype == jnp.float32 else 2e-2  # bfloat16 has 8 bits.
    for actual, desired in zip(
        pull_back(linear.product), pull_back(jnp.dot), strict=True
    ):
        assert actual.dtype == dtype
        actual, desired = (np.float32(a) for a in (actual, desired))
        # Of sums of 1,200 numbers, small ones are noise.
        scale = np.abs(desired).max() if shape == TALL else 1
        np.testing.assert_allclose(actual, desired, tolerance, tolerance * scale)


def test_gradient_of_a_tall_kernel_multiplies_the_narrow_factor_first():
    """The compiler must not exchange them again."""
    x, kernel = jnp.ones(TALL), jnp.ones((TALL[-1], 8))

    def loss(kernel):
        return jnp.sin(linear.product(x, kernel)).sum()

    program = jax.jit(jax.grad(loss)).lower(kernel).compile().as_text()
    assert re.search(r"f32\[8,256\]\S* dot\(", program)
    assert not re.search(r"f32\[256,8\]\S* dot\(", program)
