"""Parts of images are cut out before they are resized, and sizes are as published."""

import numpy as np
from PIL import Image

from mvjax.data import pictures

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_what_lies_beside_a_box_has_no_influence():
    box = pictures.Box(5, 7, 20, 30)
    other = np.zeros_like(IMAGE)
    other[5:25, 7:37] = IMAGE[5:25, 7:37]
    one, same = (pictures.resized_crop(x, box, 16) for x in (IMAGE, other))
    np.testing.assert_array_equal(one, same)
    whole = pictures.resized_crop(IMAGE, box, 20, pictures.BICUBIC)
    assert one.shape == (16, 16, 3) and whole.shape == (20, 20, 3)


def test_crops_are_resized_as_pillow_does_it():
    shares = []
    for size in (24, 60, 96):
        for height, width in ((1, 1), (20, 30), (37, 60), (40, 17), (40, 60), (33, 34)):
            box = pictures.Box(0, 0, height, width)
            found = pictures.resized_crop(IMAGE, box, size)
            part = Image.fromarray(IMAGE[:height, :width].copy())
            wanted = np.asarray(part.resize((size, size), pictures.BILINEAR))
            difference = np.abs(found.astype(int) - wanted)
            # Halves may be rounded otherwise, also after the columns; of ratios such as
            # 2 to 3, every sixth value is one.
            assert difference.max() <= 2
            shares.append((difference > 0).mean())
    assert max(shares) < 1 / 6 / 2 and np.mean(shares) < 0.02


def test_boxes_that_leave_the_image_are_black_there():
    found = pictures.crop(IMAGE, pictures.Box(-3, 50, 20, 14))
    np.testing.assert_array_equal(found[3:, :10], IMAGE[:17, 50:])
    assert (
        found.shape == (20, 14, 3) and not found[:3].any() and not found[:, 10:].any()
    )


def test_the_longer_side_is_rounded_down():
    assert pictures.resize_shorter(IMAGE, 25).shape == (25, 37, 3)
    assert pictures.resize_shorter(IMAGE.swapaxes(0, 1), 25).shape == (37, 25, 3)
    assert pictures.resize_shorter(IMAGE, 40) is IMAGE
    assert pictures.centre(IMAGE, 24) == (8, 18, 24, 24)
    np.testing.assert_array_equal(pictures.mirror(IMAGE), IMAGE[:, ::-1])
