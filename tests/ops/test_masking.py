"""Masks hide the patches with the smallest numbers and nothing else."""

import numpy as np
import pytest

from mvjax.ops import masking


def draw(batch=3, height=8, width=12, patch=4, channels=2):
    generator = np.random.default_rng(0)
    images = generator.uniform(0.1, 1, (batch, height, width, channels))
    patches = (height // patch) * (width // patch)
    return images.astype(np.float32), generator.uniform(size=(batch, patches))


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.5, 1.0])
def test_mask_matches_a_plain_loop(ratio):
    images, uniform = draw()
    expected, visible = images.copy(), []
    for image, numbers in zip(expected, uniform, strict=True):
        order = np.argsort(numbers)
        count = int(ratio * len(order))
        rows = []
        for rank, patch in enumerate(order):
            i, j = 4 * (patch // 3), 4 * (patch % 3)
            if rank < count:
                image[i : i + 4, j : j + 4] = 0
            else:
                rows.append(image[i : i + 4, j : j + 4].reshape(-1))
        visible.append(np.array(rows).reshape(-1, 4 * 4 * 2))
    settings = dict(patch=4, ratio=ratio)
    masked = masking.mask_patches(images, uniform, **settings)
    np.testing.assert_array_equal(masked, expected)
    shown = masking.visible_patches(images, uniform, **settings)
    np.testing.assert_array_equal(shown, visible)


def test_of_equal_numbers_the_first_are_masked():
    images, uniform = draw()
    masked = masking.mask_patches(images, 0 * uniform, patch=4, ratio=0.5)
    hidden = (np.asarray(masked) == 0).all(axis=(2, 3))  # [B, H] where rows are whole.
    assert hidden[:, :4].all() and not hidden[:, 4:].any()


def test_images_stay_as_they_are():
    images, uniform = draw()
    before = images.copy()
    masking.mask_patches(images, uniform, patch=4, ratio=0.5)
    np.testing.assert_array_equal(images, before)


def test_count_truncates_the_product_with_the_number_of_patches():
    # 0.7 * 3 * 10 is 20.999..., 0.7 * 30 is 21.
    assert masking.masked_count(3, 10, 1, 0.7) == 21
    assert masking.masked_count(32, 32, 2, 0.7) == 179


def test_ratio_rises_linearly_and_stays():
    settings = dict(start_epoch=10, end_epoch=20, start=0.2, end=0.6)
    ratios = [masking.linear_ratio(e, **settings) for e in (0, 10, 15, 20, 99)]
    np.testing.assert_allclose(ratios, [0.2, 0.2, 0.4, 0.6, 0.6])
