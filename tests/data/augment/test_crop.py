"""Crops show views and truths of one scene at one place, the same for the same numbers."""

import pickle

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data.augment import crop

RECORD = {"label": np.int32(0), "index": np.int32(0)}


def scene(height=40, width=60):
    """A ramp at full size, one of 13 floats at half size, and masks of both."""
    y, x = np.mgrid[:height, :width]
    photo = np.stack([y * 6, x * 4, y + x], axis=-1).astype(np.uint8)
    bands = photo[::2, ::2, :1].astype(np.float32) + np.arange(13, dtype=np.float32)
    mask = (y >= height // 2) * 2 + (x >= width // 2)
    targets = {"mask": mask.astype(np.uint8), "tags": np.ones(5, np.uint8)}
    views = {"photo": photo, "bands": bands, "sound": np.zeros(7, np.float32)}
    return RECORD | {"views": views, "targets": targets}


def spec(height=40, width=60):
    views = {
        "photo": batch.ViewSpec((height, width, 3), "uint8", 0, 255, varies=True),
        "bands": batch.ViewSpec((20, 30, 13), "float32", 0, 400),
        "sound": batch.ViewSpec((7,), "float32", 0, 1),
    }
    targets = {
        "mask": batch.TargetSpec((height, width), "uint8", 0, 3, varies=True),
        "tags": batch.TargetSpec((5,), "uint8", 0, 1),
    }
    return batch.Spec(views, 3, targets=targets)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_what_leaves_it_is_what_it_promises(draws, training):
    policy = crop.Policy(size=16, draws=draws)
    generator = np.random.default_rng(0) if training else None
    promised = policy.spec(spec())
    found = policy(scene(), generator)
    assert batch.record_problems(found, promised, "here") == []
    wide = (16, 16) if draws == 1 else (3, 16, 16)
    assert promised.views["bands"].shape == (*wide, 13)
    assert promised.targets["mask"].shape == wide
    assert promised.views["sound"] == spec().views["sound"]
    assert not any(view.varies for view in promised.views.values())


def test_views_and_masks_are_cut_at_one_place():
    policy = crop.Policy(size=20, scale=(0.2, 0.6), flip_vertical=0.5)
    for seed in range(20):
        found = policy(scene(), np.random.default_rng(seed))
        photo, bands = found["views"]["photo"], found["views"]["bands"]
        # The ramp's values tell where its pixels come from: y * 6 and x * 4.
        y, x = photo[..., 0] / 6, photo[..., 1] / 4
        wanted = (y >= 20) * 2 + (x >= 30)
        clear = (abs(y - 20) > 1.5) & (abs(x - 30) > 1.5)
        np.testing.assert_array_equal(found["targets"]["mask"][clear], wanted[clear])
        # The other view has every second pixel, so it is half a pixel off.
        assert np.abs(bands[..., 0] - photo[..., 0]).max() < 10
        np.testing.assert_allclose(bands[..., 12] - bands[..., 0], 12, atol=1e-3)


def test_boxes_follow_the_generator_alone():
    policy = pickle.loads(pickle.dumps(crop.Policy(size=8, draws=2)))
    one, same, other = (policy(scene(), np.random.default_rng(s)) for s in (1, 1, 2))
    photos = [found["views"]["photo"] for found in (one, same, other)]
    np.testing.assert_array_equal(photos[0], photos[1])
    assert (photos[0] != photos[2]).any() and (photos[0][0] != photos[0][1]).any()


def test_areas_and_flips_are_as_often_as_they_should():
    policy = crop.Policy(size=8, scale=(0.25, 0.25), ratio=(1.0, 1.0), flip=0.25)
    left, top, flipped = [], [], 0
    for seed in range(400):
        box, flips = policy._draw(scene(40, 40), np.random.default_rng(seed))
        assert box[2] - box[0] == pytest.approx(0.5)
        assert box[3] - box[1] == pytest.approx(0.5)
        left.append(box[0])
        top.append(box[1])
        flipped += flips[0]
    # Four standard deviations of 400 draws: 0.144 / 20 * 4, and sqrt(75) * 4.
    assert np.mean(left) == pytest.approx(0.25, abs=0.03)
    assert np.mean(top) == pytest.approx(0.25, abs=0.03)
    assert flipped == pytest.approx(100, abs=35)


def test_evaluation_takes_the_centre_as_pillow_does():
    record = scene()
    found = crop.Policy(size=16, centre=0.8)(record, None)["views"]["photo"]
    box = (30 - 16, 20 - 16, 30 + 16, 20 + 16)
    image = Image.fromarray(record["views"]["photo"])
    wanted = image.resize((16, 16), Image.Resampling.BILINEAR, box=box)
    np.testing.assert_array_equal(found, np.asarray(wanted))


def test_settings_that_cannot_be_are_named():
    with pytest.raises(errors.UserError, match=r"scale=\(0.5, 0.2\)"):
        crop.Policy(scale=(0.5, 0.2))
    with pytest.raises(errors.UserError, match=r"needs a view \[H, W, C\]"):
        crop.Policy().spec(batch.Spec({"a": batch.ViewSpec((3,), "float32", 0, 1)}, 2))
