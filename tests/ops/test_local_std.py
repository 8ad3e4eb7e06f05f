"""Local deviations are those of each pixel's window."""

import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import local_std


@pytest.mark.parametrize("size", [1, 3, 5])
def test_equals_the_deviation_of_each_window(size):
    images = np.random.default_rng(0).normal(size=(2, 4, 5, 2)).astype(np.float32)
    found = local_std.local_std(images, size=size)
    reach = size // 2
    pad = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = np.pad(images.astype(np.float64), pad, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    wanted = np.sqrt(np.var(windows, axis=(-2, -1)) + 1e-8)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_constant_areas_have_exactly_the_least_value():
    images = np.full((1, 4, 4, 1), 1234.567, np.float32)
    np.testing.assert_array_equal(local_std.local_std(images), np.float32(1e-4))


def test_windows_must_fit():
    for size in (2, 9, 0):
        with pytest.raises(errors.UserError, match=f"4 x 7, not {size}"):
            local_std.local_std(jnp.zeros((1, 4, 7, 1)), size=size)
