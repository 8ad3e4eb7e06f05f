"""Linear interpolation equals plain loops, its gradient finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.ops import interpolation


def at(image, row, column):
    """Bilinear value `[C]` of `[H, W, C]` at a place in pixels, zeros around it."""
    rows, columns = (
        np.maximum(0, 1 - np.abs(place - np.arange(count)))
        for place, count in zip((row, column), image.shape)
    )
    return np.einsum("ijc,i,j->c", image, rows, columns)


def test_samples_are_bilinear_and_zero_outside():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 5, 2)).astype(np.float32)
    places = rng.uniform(-1.8, 1.8, (2, 3, 6, 2)).astype(np.float32)
    places[0, 0, :3] = [[-1, -1], [1, 1], [-3, 0]]
    found = interpolation.sample(x, places)
    for b, g, n in np.ndindex(2, 3, 6):
        pixel = (np.float64(places[b, g, n]) + 1) / 2 * [3, 4]
        np.testing.assert_allclose(found[b, g, n], at(x[b, g], *pixel), 1e-4, 1e-5)
    np.testing.assert_array_equal(found[0, 0, 0], x[0, 0, 0, 0])
    np.testing.assert_array_equal(found[0, 0, 1], x[0, 0, -1, -1])
    assert not np.any(found[0, 0, 2])


def test_gradients_are_those_of_the_interval_behind_a_point():
    x = jnp.asarray([[[1.0], [3.0], [10.0]]])  # [1, 3, 1]
    slope = jax.jit(jax.grad(lambda p: interpolation.sample(x, p).sum()))
    # A step of one pixel is one unit; on the middle point the rise is that behind it, on
    # the last one the fall to the zeros outside.
    for place, expected in ((-0.5, 2.0), (0.0, 7.0), (0.7, 7.0), (1.0, -10.0)):
        found = slope(jnp.asarray([[-1.0, place]]))
        assert found[0, 1] == pytest.approx(expected)


def test_resized_images_keep_their_corners():
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 2)).astype(np.float32)
    resize = jax.jit(interpolation.resize, static_argnums=1)
    found = np.asarray(resize(x, (7, 5)))
    assert found.shape == (1, 7, 5, 2)
    for i, j in np.ndindex(7, 5):
        expected = at(x[0], i * 2 / 6, j * 3 / 4)
        np.testing.assert_allclose(found[0, i, j], expected, 1e-4, 1e-5)
    flat = resize(x[:, :1, :1], (2, 3))
    np.testing.assert_array_equal(flat, np.broadcast_to(x[:, :1, :1], (1, 2, 3, 2)))
