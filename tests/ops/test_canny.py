"""Edges are OpenCV's; their hysteresis goes as far as it is told."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import canny

detect = jax.jit(canny.detect, static_argnames=("sigma", "low", "high", "sweeps"))


@pytest.mark.parametrize(("low", "high"), [(50.0, 150.0), (200.0, 400.0)])
def test_equals_opencv(low, high):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 20, 27), np.uint8)
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) * 2 for image in noise])
    for images in (noise, smooth):
        limits = (jnp.full(3, low), jnp.full(3, high))
        run = jax.jit(functools.partial(canny.edges, sweeps=200))
        found = run(images.astype(np.float32), *limits)
        wanted = [cv2.Canny(i, low, high, L2gradient=True) > 0 for i in images]
        assert np.any(wanted)
        np.testing.assert_array_equal(found, wanted)


def test_sweeps_follow_an_edge_pixel_by_pixel():
    # A vertical step whose contrast fades downwards: only its upper end is strong.
    image = np.zeros((1, 12, 8, 1), np.float32)
    image[0, :, 4:, 0] = np.linspace(2, 1, 12)[:, None]
    shares = {}
    for sweeps in (0, 3, 20):
        found = detect(image, sigma=0, low=0.2, high=0.95, sweeps=sweeps)
        shares[sweeps] = int(found[..., 0].any(axis=2).sum())
    assert shares[3] == shares[0] + 3 and shares[20] == 12


def test_scale_and_colour_do_not_matter():
    image = np.random.default_rng(1).normal(size=(2, 16, 16, 1)).astype(np.float32)
    edges = detect(image)
    assert 0 < edges.mean() < 0.5 and set(np.unique(edges)) == {0.0, 1.0}
    np.testing.assert_array_equal(detect(8 * image), edges)
    pairs = np.repeat(image, 2, axis=-1)
    np.testing.assert_array_equal(detect(pairs), edges)
    assert not detect(np.full((2, 16, 16, 1), 0.7, np.float32)).any()


def test_mistakes_are_named():
    images = jnp.zeros((1, 8, 9, 3))
    with pytest.raises(errors.UserError, match="low=0.5, high=0.2"):
        canny.detect(images, low=0.5, high=0.2)
    with pytest.raises(errors.UserError, match="sigma=3.* above 9 pixels .*8 x 9"):
        canny.detect(images, sigma=3)
