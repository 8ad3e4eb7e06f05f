"""The published augmentations draw as they should, and applying them is free of chance."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import styles

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize("name", styles.NAMES)
def test_images_follow_the_generator_alone(name):
    style = styles.make(name, 32)
    one, same, other = (
        styles.augment(IMAGE, style, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert one.shape == (32, 32, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("name", styles.NAMES)
def test_the_same_parameters_give_the_same_image(name):
    style, image = styles.make(name, 24), IMAGE.copy()
    draw = style.draw(np.random.default_rng(1), 60, 40)
    one, other = (style.apply(image, draw) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(image, IMAGE)


def test_boxes_lie_inside_and_have_the_areas_and_ratios_they_should():
    rng, shares = np.random.default_rng(0), []
    for _ in range(300):
        box = styles.draw_box(rng, 600, 400)
        assert 0 <= box.top <= 400 - box.height and 0 <= box.left <= 600 - box.width
        assert 0.74 < box.width / box.height < 1.35  # Up to rounding.
        shares.append(box.width * box.height / 240_000)
    # Boxes above two thirds of this area do not always fit, so there are fewer of them.
    assert 0.08 <= min(shares) < 0.1 and 0.6 < max(shares) < 0.9
    # What never fits: the middle, as wide as the ratio allows.
    assert styles.draw_box(rng, 1000, 10) == (0, 493, 10, 13)
    assert styles.draw_box(rng, 10, 1000) == (493, 0, 13, 10)


def test_chances_are_the_published_ones():
    rng, draws = np.random.default_rng(0), 600
    custom = [styles.make("custom", 32).draw(rng, 64, 64) for _ in range(draws)]
    cifar20 = [styles.make("cifar20", 32).draw(rng, 64, 64) for _ in range(draws)]
    # Four standard deviations of 600 draws are at most 0.082.
    for found, share in (
        ([d.flip for d in custom], 0.5),
        ([d.jitter is not None for d in custom], 0.8),
        ([d.grey for d in custom], 0.2),
        ([d.flip for d in cifar20], 0.5),
        ([d.jitter is not None for d in cifar20], 0.8),
        ([d.grey for d in cifar20], 0.1),
    ):
        assert np.mean(found) == pytest.approx(share, abs=0.082)
    jitters = [d.jitter for d in custom if d.jitter]
    assert {j.order[0] for j in jitters} == {0, 1, 2, 3}
    factors = np.array([j[1:] for j in jitters])
    np.testing.assert_allclose(factors.min(0), (0.2, 0.2, 0.2, -0.2), atol=0.03)
    np.testing.assert_allclose(factors.max(0), (1.8, 1.8, 1.8, 0.2), atol=0.03)
    sigmas = [d.sigma for d in custom]
    assert 0.1 <= min(sigmas) < 0.15 and 1.95 < max(sigmas) <= 2.0
    widths = [styles.make("custom", size).blur_width for size in (32, 64, 96, 224)]
    assert widths == [3, 7, 9, 23]


def test_operations_are_drawn_as_published():
    rng = np.random.default_rng(0)
    style = styles.make("randaugment", 96)
    drawn = [style.draw(rng, 96, 96).operations for _ in range(300)]
    assert {len(d) for d in drawn} == {4}
    names = [name for d in drawn for name, _ in d]
    counts = [names.count(name) for name in style.OPERATIONS]
    # Four standard deviations of 1,200 draws of one of 14: 86 +- 36.
    assert len(counts) == 14 and min(counts) > 49 and max(counts) < 123
    shears = [value for d in drawn for name, value in d if name == "ShearX"]
    assert {round(value, 6) for value in shears} == {-0.1, 0.1}
    auto = [styles.make("autoaugment", 96).draw(rng, 96, 96) for _ in range(300)]
    assert {len(d.operations) for d in auto} == {0, 1, 2}
    rotations = {v for d in auto for name, v in d.operations if name == "Rotate"}
    np.testing.assert_allclose(max(rotations), 30.0)
    np.testing.assert_allclose(min(rotations), -30.0)


def test_windows_that_no_margin_holds_are_refused():
    with pytest.raises(errors.UserError, match="cuts 32 pixels.*20x20.*margin of 4"):
        styles.make("cifar", 32).draw(RNG, 20, 20)
    rng = np.random.default_rng(0)
    tops = {styles.make("cifar", 32).draw(rng, 32, 32).top for _ in range(100)}
    assert tops == set(range(9))
