"""Histograms of gradients are what the released code and the textbook say."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import hog

RNG = np.random.default_rng(0)


def describe(images, **settings):
    return np.asarray(jax.jit(functools.partial(hog.describe, **settings))(images))


def slow(plane, kind, bins, pool, max_angle, stride, padding, dilation):
    """One plane, pixel by pixel, in float64."""
    x = np.pad(plane.astype(np.float64), padding)
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    reach = 2 * dilation + 1
    height, width = ((side - reach) // stride + 1 for side in x.shape)
    cells = np.zeros((height // pool, width // pool, bins))
    for i in range(height // pool * pool):
        for j in range(width // pool * pool):
            top, left = i * stride, j * stride
            window = x[top : top + reach : dilation, left : left + reach : dilation]
            gx, gy = np.sum(window * kernel), np.sum(window * kernel.T)
            length = math.hypot(gx, gy)
            if kind == "released":
                p = math.atan2(gx, gy) / max_angle * bins
                shares = ((math.floor(p), length), (math.ceil(p), 1 - length))
            else:
                p = math.atan2(-gy, -gx) / max_angle * bins
                part = p - math.floor(p)
                shares = ((math.floor(p), length * (1 - part)),)
                shares += ((math.floor(p) + 1, length * part),)
            for bin, share in shares:
                cells[i // pool, j // pool, bin % bins] += share / pool**2
    return cells


@pytest.mark.parametrize("kind", hog.KINDS)
@pytest.mark.parametrize(
    "settings",
    [(9, 4, math.pi, 1, 1, 1), (6, 3, 2 * math.pi, 2, 0, 1), (5, 2, math.pi, 1, 2, 2)],
)
def test_equals_a_plain_loop(kind, settings):
    images = RNG.normal(size=(2, 10, 13, 2)).astype(np.float32)
    names = ("bins", "pool", "max_angle", "stride", "padding", "dilation")
    found = describe(images, kind=kind, **dict(zip(names, settings)))
    wanted = [slow(images[1, ..., c], kind, *settings) for c in range(2)]
    wanted = np.concatenate(wanted, axis=-1)
    assert found.shape == (2, *wanted.shape)
    np.testing.assert_allclose(found[1], wanted, atol=2e-5)


@pytest.mark.parametrize("jit", [True, False])
def test_angles_on_the_border_of_bins_fall_into_one(jit):
    # Ramps along the axes and the diagonals: all inner pixels have the same angle.
    i, j = np.mgrid[:8, :8].astype(np.float32)
    images = np.stack([j, -j, i, -i, i + j, i - j, -i - j, j - i])[..., None] * 0.01
    run = functools.partial(hog.describe, bins=24, pool=6, padding=0)
    found = np.asarray((jax.jit(run) if jit else run)(jnp.asarray(images)))[:, 0, 0]
    # The released angle is counted from below, and its bin holds exactly 1.
    wanted = [12, 12, 0, 0, 6, 18, 6, 18]
    np.testing.assert_allclose(found, np.eye(24)[wanted], atol=1e-6)


def test_flat_pixels_have_no_random_angle():
    images = np.full((1, 8, 8, 3), -1.7037, np.float32)
    found = describe(images, bins=6, pool=6, padding=0)[0, 0, 0].reshape(3, 6)
    np.testing.assert_array_equal(found, np.eye(6)[[0, 0, 0]])
    assert not describe(images, kind="proper", pool=6, padding=0).any()


def test_proper_bins_share_the_whole_length():
    images = RNG.normal(size=(1, 8, 8, 1)).astype(np.float32)
    signed = describe(images, kind="proper", bins=16, max_angle=2 * math.pi)
    unsigned = describe(images, kind="proper", bins=8)
    # Opposite directions share a bin where angles only go half round.
    np.testing.assert_allclose(
        signed[..., :8] + signed[..., 8:], unsigned, rtol=1e-4, atol=1e-5
    )
    turned = describe(-images, kind="proper", bins=16, max_angle=2 * math.pi)
    np.testing.assert_allclose(np.roll(signed, 8, axis=-1), turned, atol=1e-5)


def test_settings_out_of_range_name_their_choices():
    images = jnp.zeros((1, 8, 12, 3))
    with pytest.raises(errors.UserError, match=r"pool=9 .*8 x 12.*: 1 to 8\."):
        hog.describe(images, pool=9)
    with pytest.raises(errors.UserError, match="take larger images"):
        hog.describe(images[:, :2], padding=0)
    with pytest.raises(errors.UserError, match="'real'.*proper, released"):
        hog.describe(images, kind="real")
