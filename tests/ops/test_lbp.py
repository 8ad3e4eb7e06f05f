"""Local binary patterns are counted as their definition says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import lbp

describe = jax.jit(lbp.describe, static_argnames=("pool", "uniform"))

RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def slow(plane):
    height, width = plane.shape
    found = np.zeros((height - 2, width - 2), int)
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            for k, (down, right) in enumerate(RING):
                if plane[i + down, j + right] >= plane[i, j]:
                    found[i - 1, j - 1] |= 1 << k
    return found


def test_codes_and_histograms_equal_a_plain_loop():
    images = np.random.default_rng(0).integers(0, 5, (2, 8, 11, 2)).astype(np.float32)
    wanted = slow(images[1, ..., 1])
    np.testing.assert_array_equal(lbp.codes(jnp.asarray(images))[1, ..., 1], wanted)
    every = describe(images, pool=3, uniform=False)
    assert every.shape == (2, 2, 3, 512)
    count = np.bincount(wanted[3:6, 6:9].ravel(), minlength=256) / 9
    np.testing.assert_allclose(every[1, 1, 2, 256:], count, atol=1e-6)
    uniform = describe(images, pool=3)
    assert uniform.shape == (2, 2, 3, 118)
    # Codes with at most two changes round the circle keep bins of their own.
    text = [f"{code:08b}" for code in range(256)]
    kept = [sum(a != b for a, b in zip(t, t[1:] + t[0])) <= 2 for t in text]
    np.testing.assert_allclose(uniform[1, 1, 2, 59:-1], count[kept], atol=1e-6)
    np.testing.assert_allclose(uniform[1, 1, 2].reshape(2, 59).sum(1), 1, atol=1e-6)


def test_cells_must_fit():
    with pytest.raises(errors.UserError, match=r"LBP at pool=7.*6 x 9.*: 1 to 6\."):
        lbp.describe(jnp.zeros((1, 8, 11, 1)), pool=7)
