"""Colours change as Pillow changes them, but for single levels of few pixels."""

import numpy as np
from PIL import Image
from PIL import ImageEnhance
import pytest

from mvjax.data import photometry

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), np.uint8)
# Each ratio of two channels to the third, which makes hues and saturations that are whole
# levels; and few colours, as drawings have them.
RAMPS = np.stack(np.meshgrid(np.arange(256), np.arange(256), [255, 150, 60])).T
RAMPS = RAMPS.reshape(-1, 256, 3).astype(np.uint8)
FEW = (IMAGE // 51 * 51)[:, ::2]  # Every other column: not in one piece.
FACTORS = (0.2, 0.77, 1.0, 1.43, 1.8)


def enhance(kind):
    return lambda picture, factor: kind(picture).enhance(factor)


def turn(picture, turns):
    hue, saturation, value = picture.convert("HSV").split()
    shift = np.uint8(int(turns * 255) % 256)
    hue = Image.fromarray(np.asarray(hue) + shift)
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@pytest.mark.parametrize(
    ("change", "reference", "parameters"),
    [
        (photometry.brighten, enhance(ImageEnhance.Brightness), FACTORS),
        (photometry.stretch, enhance(ImageEnhance.Contrast), FACTORS),
        (photometry.saturate, enhance(ImageEnhance.Color), FACTORS),
        (photometry.shift_hue, turn, (-0.5, -0.13, 0.0, 0.06, 0.2)),
        (
            lambda image, _: photometry.grey(image),
            lambda picture, _: picture.convert("L").convert("RGB"),
            (0,),
        ),
    ],
)
def test_colours_change_as_pillow_changes_them(change, reference, parameters):
    for image in (IMAGE, RAMPS, FEW):
        kept = image.copy()
        for parameter in parameters:
            found = change(image, parameter)
            wanted = np.asarray(reference(Image.fromarray(image), parameter))
            assert found.shape == image.shape and found.dtype == np.uint8
            difference = np.abs(found.astype(int) - wanted)
            # Weights of 15 bits for grey, and float32 where a fraction is cut off.
            assert difference.max() <= 1 and (difference > 0).mean() < 0.01
        np.testing.assert_array_equal(image, kept)


def test_changes_of_colour_follow_the_order():
    jitter = photometry.Jitter((3, 1, 0, 2), 1.5, 0.6, 0.4, 0.1)
    wanted = photometry.stretch(photometry.shift_hue(IMAGE, 0.1), 0.6)
    wanted = photometry.saturate(photometry.brighten(wanted, 1.5), 0.4)
    np.testing.assert_array_equal(photometry.jitter(IMAGE, jitter), wanted)


def test_blur_is_a_weighted_mean_with_reflected_margins():
    found = photometry.blur(IMAGE, 7, 1.3)
    x = np.arange(-3, 4)
    weights = np.exp(-0.5 * (x / 1.3) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(IMAGE.astype(float), ((3, 3), (3, 3), (0, 0)), mode="reflect")
    wanted = sum(
        weights[i, j] * padded[i : i + 40, j : j + 60]
        for i in range(7)
        for j in range(7)
    )
    # Half a level of rounding, and float32.
    assert np.abs(found - wanted).max() <= 0.5 + 1e-3


def test_hues_turn_round():
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, :, :] = np.eye(3) * 255  # Red, green, blue.
    third = photometry.shift_hue(image, 1 / 3)
    # A level of hue is 6 levels of a colour.
    assert np.abs(third - np.roll(image, -1, axis=1).astype(int)).max() <= 6
    back = photometry.shift_hue(image, -2 / 3)
    assert np.abs(back - third.astype(int)).max() <= 12
