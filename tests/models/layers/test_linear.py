"""The product of linear layers has the gradients of `jnp.dot`, in both types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import linear


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (4,), (0, 4)], ids=str)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_product_has_the_gradients_of_dot(shape, dtype):
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    kernel = jax.random.normal(jax.random.key(1), (4, 6), dtype)

    def pull_back(function):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(jnp.cos(jnp.arange(y.size, dtype=dtype)).reshape(y.shape))

    tolerance = 1e-6 if dtype == jnp.float32 else 2e-2  # bfloat16 has 8 bits.
    for actual, desired in zip(
        pull_back(linear.product), pull_back(jnp.dot), strict=True
    ):
        assert actual.dtype == dtype
        actual, desired = (np.float32(a) for a in (actual, desired))
        np.testing.assert_allclose(actual, desired, tolerance, tolerance)
