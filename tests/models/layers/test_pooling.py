"""Pooling agrees with plain loops, and its gradient with PyTorch's rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import pooling


def slow(x, size, stride, padding):
    """Values, and how often each input is the first greatest of a window."""
    margin = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = np.pad(x, margin, constant_values=-np.inf)
    b, h, w, c = x.shape
    rows, columns = (h - size) // stride + 1, (w - size) // stride + 1
    y, chosen = np.zeros((b, rows, columns, c)), np.zeros(x.shape)
    for k, i, j, d in np.ndindex(b, rows, columns, c):
        r, s = i * stride, j * stride
        window = x[k, r : r + size, s : s + size, d]
        first = np.unravel_index(np.argmax(window), window.shape)
        y[k, i, j, d] = window[first]
        chosen[k, r + first[0], s + first[1], d] += 1
    return y, chosen[:, padding : h - padding, padding : w - padding]


@pytest.mark.parametrize(
    "shape, size, stride, padding",
    [
        ((2, 8, 8, 3), 3, 2, 1),
        ((1, 7, 9, 2), 3, 2, 1),
        ((2, 6, 5, 2), 2, 2, 0),
        ((1, 9, 9, 1), 5, 2, 2),
        ((1, 7, 6, 1), 3, 1, 1),
        ((1, 8, 9, 2), 2, 3, 1),  # Windows leave pixels out.
        ((1, 10, 11, 1), 3, 2, 0),  # The last column is of no window.
    ],
)
def test_max_pool_equals_loops_also_where_values_are_equal(
    shape, size, stride, padding
):
    # Whole numbers of a small range: most windows hold their greatest value twice.
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(np.float32)
    y, chosen = slow(x, size, stride, padding)

    def total(x):
        return pooling.max_pool(x, size=size, stride=stride, padding=padding).sum()

    found = pooling.max_pool(jnp.asarray(x), size=size, stride=stride, padding=padding)
    np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(jax.grad(total)(jnp.asarray(x)), chosen)


def test_the_global_mean_of_a_half_precision_map_is_exact():
    ones = jnp.ones((2, 32, 32, 3), jnp.bfloat16)
    mean = pooling.global_mean(ones)
    assert mean.dtype == jnp.float32
    np.testing.assert_array_equal(mean, np.ones((2, 3)))


@pytest.mark.parametrize("side", [(2, 2), (3, 6), (6, 1)])
def test_adaptive_mean_has_pytorchs_bins(side):
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    expected = np.zeros((2, *side, 3))
    for i, j in np.ndindex(*side):
        rows = slice(
            int(np.floor(i * 5 / side[0])), int(np.ceil((i + 1) * 5 / side[0]))
        )
        columns = slice(
            int(np.floor(j * 4 / side[1])), int(np.ceil((j + 1) * 4 / side[1]))
        )
        expected[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    found = pooling.adaptive_mean(jnp.asarray(x), side)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
