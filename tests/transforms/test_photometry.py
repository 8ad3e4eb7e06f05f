"""Photometry follows the formulas, row by row, and leaves evaluation alone."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.ops import photometry as ops
from mvjax.transforms import photometry

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 6, 5, 3), np.float32)


def test_hues_turn_as_the_standard_library_turns_them():
    shift = np.array([0.0, 0.3, -0.45], np.float32)
    found = ops.hue(jnp.asarray(IMAGES), jnp.asarray(shift))

    def turn(pixel, by):
        h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
        return colorsys.hsv_to_rgb((h + by) % 1, s, v)

    for image, by, mine in zip(IMAGES, shift, np.asarray(found), strict=True):
        wanted = np.apply_along_axis(turn, -1, image, float(by))
        np.testing.assert_allclose(mine, wanted, atol=2e-6)  # A few float32 roundings.
    grey = jnp.full((1, 2, 2, 3), 0.4)
    np.testing.assert_allclose(ops.hue(grey, jnp.array([0.3])), grey, atol=1e-6)
    np.testing.assert_array_equal(ops.hue(0 * grey, jnp.array([0.3])), 0 * grey)


def test_factors_blend_and_clip():
    factor = np.array([0.5, 1.0, 1.7], np.float32)
    luma = (IMAGES * (0.2989, 0.587, 0.114)).sum(-1, keepdims=True)
    f = factor[:, None, None, None]
    mean = luma.mean((1, 2, 3), keepdims=True)
    for change, other in (
        (ops.brightness, 0),
        (ops.contrast, mean),
        (ops.saturation, luma),
    ):
        wanted = np.clip(f * IMAGES + (1 - f) * other, 0, 1)
        np.testing.assert_allclose(change(IMAGES, factor), wanted, atol=1e-6)


def test_blur_is_a_convolution_with_each_images_own_kernel():
    sigma = np.array([0.3, 1.0, 2.0], np.float32)
    found = np.asarray(ops.blur(jnp.asarray(IMAGES), jnp.asarray(sigma), size=3))
    for image, s, mine in zip(IMAGES, sigma, found, strict=True):
        kernel = np.exp(-0.5 * (np.arange(-1, 2) / s) ** 2)
        kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        wanted = sum(
            kernel[i, j] * padded[i : i + 6, j : j + 5]
            for i in range(3)
            for j in range(3)
        )
        np.testing.assert_allclose(mine, wanted, atol=1e-6)


def make_batch(images):
    return {"views": {"rgb": images, "sar": np.zeros((len(images), 4, 4, 2))}}


def test_rows_hang_on_their_own_keys_and_evaluation_on_none():
    transform = photometry.Transform(sigma=(0.5, 1.0))
    images = RNG.integers(0, 256, (4, 2, 20, 20, 3), np.uint8)  # Two draws.
    key = jax.random.key(3)
    found = jax.jit(transform)(make_batch(images), key)["views"]["rgb"]
    assert found.shape == images.shape and found.dtype == jnp.float32
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    # The other rows of a batch change nothing.
    other = images.copy()
    other[1:] = 7
    alone = transform(make_batch(other), key)["views"]["rgb"]
    np.testing.assert_allclose(alone[0], found[0], atol=1e-6)
    same = np.repeat(images[:1], 4, axis=0)
    rows = np.asarray(transform(make_batch(same), key)["views"]["rgb"])
    assert len(np.unique(rows.reshape(8, -1).mean(1).round(6))) == 8
    still = transform(make_batch(images), None)["views"]["rgb"]
    np.testing.assert_allclose(still, images / np.float32(255), rtol=1e-6)


def test_settings_decide_how_often():
    images = RNG.random((200, 4, 4, 3)).astype(np.float32)
    make = functools.partial(photometry.Transform, jitter=0.0, blur=0.0)
    none = make(grey=0.0)(make_batch(images), jax.random.key(0))["views"]["rgb"]
    np.testing.assert_array_equal(none, images)
    some = make(grey=0.3)(make_batch(images), jax.random.key(0))["views"]["rgb"]
    grey = np.ptp(np.asarray(some), axis=-1).max((1, 2)) < 1e-6
    assert 35 <= grey.sum() <= 85  # 60, and four standard deviations of 6.5.


def test_specs_say_what_leaves_it():
    view = batch_lib.ViewSpec((8, 8, 3), "uint8", 0, 255)
    sar = view._replace(shape=(8, 8, 2))
    spec = batch_lib.Spec({"rgb": view, "sar": sar}, None)
    found = photometry.Transform().spec(spec).views
    assert found["rgb"] == ((8, 8, 3), "float32", 0.0, 1.0, False)
    assert found["sar"] == sar
    with pytest.raises(errors.UserError, match="'lidar'.*rgb"):
        photometry.Transform(views=("lidar",)).spec(spec)
    with pytest.raises(errors.UserError, match="View 'sar' has shape"):
        photometry.Transform(views=("sar",)).spec(spec)
    with pytest.raises(errors.UserError, match="three channels; there is none"):
        photometry.Transform().spec(spec._replace(views={"sar": sar}))
