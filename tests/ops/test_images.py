"""Enlarged images equal those of `jax.image.resize`, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.ops import images

# Height and width before and after.
SIZES = {
    "four times": ((5, 6), (20, 24)),
    "twice and three times": ((5, 6), (10, 18)),
    "one side": ((5, 6), (5, 48)),
    "a pixel": ((1, 1), (4, 3)),
    "a row": ((1, 5), (8, 10)),
    "as it is": ((5, 6), (5, 6)),
    "no whole multiple": ((5, 6), (7, 12)),
    "smaller": ((6, 8), (3, 4)),
}


def plain(x, size):
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


@pytest.mark.parametrize("name", SIZES)
def test_resizing_equals_jax_with_gradients(name):
    before, after = SIZES[name]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *before, 3)), jnp.float32)
    dy = jnp.asarray(rng.normal(size=(2, *after, 3)), jnp.float32)

    def both(function):
        y, pull = jax.vjp(lambda x: function(x, after), x)
        return y, pull(dy)[0]

    for actual, desired in zip(both(images.resize_bilinear), both(plain), strict=True):
        assert actual.dtype == jnp.float32
        # A gradient is a sum of up to 64 products, in another order.
        np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_bfloat16():
    x = jnp.ones((1, 2, 2, 1), jnp.bfloat16)
    found = images.resize_bilinear(x, (4, 8))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, np.ones((1, 4, 8, 1)))
