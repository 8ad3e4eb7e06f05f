"""Colour histograms share each value among the two bins beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import colour_histogram

describe = jax.jit(
    colour_histogram.describe, static_argnames=("bins", "low", "high", "pool")
)


def test_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    images = rng.normal(scale=1.5, size=(2, 11, 9, 2)).astype(np.float32)
    wanted = np.zeros((2, 2, 4))
    for b, i, j, c in np.ndindex(images.shape):
        place = min(max((images[b, i, j, c] + 2) / 4 * 4 - 0.5, 0), 3)
        low = int(place)
        wanted[b, c, low] += (1 - place + low) / 99
        if low < 3:
            wanted[b, c, low + 1] += (place - low) / 99
    found = describe(images, bins=4, low=-2, high=2)
    assert found.shape == (2, 1, 1, 8)
    np.testing.assert_allclose(found.reshape(2, 2, 4), wanted, atol=1e-6)
    cells = describe(images[:, :8, :8], bins=4, low=-2, high=2, pool=4)
    whole = describe(images[:, :8, :8], bins=4, low=-2, high=2)
    np.testing.assert_allclose(cells.mean((1, 2)), whole[:, 0, 0], atol=1e-6)


def test_mistakes_are_named():
    images = jnp.zeros((1, 8, 9, 1))
    with pytest.raises(errors.UserError, match="low=1, high=1"):
        colour_histogram.describe(images, low=1, high=1)
    with pytest.raises(errors.UserError, match="pool=9.*1 to 8"):
        colour_histogram.describe(images, pool=9)
