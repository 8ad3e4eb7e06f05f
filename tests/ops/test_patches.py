"""Patches stand row by row, and the released ones as released."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import patches

IMAGES = np.arange(2 * 9 * 13 * 2).reshape(2, 9, 13, 2)


def test_patches_tile_the_image():
    found = patches.split(IMAGES)
    assert found.shape == (2, 16, 2, 3, 2)
    for n in range(16):
        i, j = n // 4 * 2, n % 4 * 3
        np.testing.assert_array_equal(found[:, n], IMAGES[:, i : i + 2, j : j + 3])


def test_released_patches_step_by_the_width():
    found = patches.split(IMAGES, released=True)
    assert found.shape == (2, 12, 2, 2, 2)  # Steps of 3: 3 rows and 4 columns.
    np.testing.assert_array_equal(found[:, 5], IMAGES[:, 3:5, 3:5])
    square = IMAGES[:, :, :9]
    np.testing.assert_array_equal(
        patches.split(square, released=True), patches.split(square)
    )
    tall = np.zeros((1, 40, 8, 1))
    with pytest.raises(errors.UserError, match="40 x 8 hold no patch of 10 x 10"):
        patches.split(tall, released=True)


def test_small_images_are_refused():
    with pytest.raises(errors.UserError, match="9 x 13.*10 x 10.*1 to 9"):
        patches.split(IMAGES, 10)
