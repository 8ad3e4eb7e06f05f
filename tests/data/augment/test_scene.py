"""Scenes keep images and masks together, and their margin is 0 for the network."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data.augment import scene

MEAN, STD = (0.5, 0.25, 0.75), (0.5, 0.25, 0.5)
VIEW = batch.ViewSpec((12, 16, 3), "uint8", 0.0, 255.0)
SPEC = batch.Spec(
    {"rgb": VIEW, "depth": VIEW._replace(shape=(12, 16, 1), dtype="float32")},
    None,
    targets={"mask": batch.TargetSpec((12, 16), "uint8", 0.0, 191.0)},
)


def make(**fields):
    return scene.Policy(
        crop=(10, 18), views=("rgb",), means=(MEAN,), stds=(STD,), **fields
    )


def record(height=12, width=16):
    """A scene in which every pixel has its number in all parts."""
    number = np.arange(height * width).reshape(height, width) % 192
    rgb = np.repeat(number[..., None], 3, axis=2).astype(np.uint8)
    views = {"rgb": rgb, "depth": number[..., None].astype(np.float32)}
    targets = {"mask": number.astype(np.uint8)}
    return {"views": views, "targets": targets, "label": np.int32(-1), "index": 0}


def test_all_parts_show_one_place_and_the_margin_is_nothing():
    policy, seen = make(scales=(1.0,)), set()
    for seed in range(80):
        found = policy(record(), np.random.default_rng(seed))
        rgb, depth = found["views"]["rgb"], found["views"]["depth"]
        mask = found["targets"]["mask"]
        assert rgb.shape == (10, 18, 3) and mask.shape == (10, 18)
        inside = mask != 255
        assert inside[:, 1:17].all(axis=1).sum() in (9, 10)  # One row may be short.
        assert not inside[:, [0, 17]].any()
        np.testing.assert_array_equal(rgb[~inside], 0.0)
        np.testing.assert_array_equal(depth[~inside], 0.0)
        expected = (mask[..., None] / 255.0 - MEAN) / STD
        np.testing.assert_allclose(rgb[inside], expected[inside], rtol=1e-6)
        np.testing.assert_array_equal(depth[..., 0][inside], mask[inside])
        step = int(mask[0, 2]) - int(mask[0, 1])
        seen.add((step, int(mask[0].min()) // 16))
    # Both ways round, and all places; the last lies one beyond those that fit.
    assert seen == {(step, row) for step in (-1, 1) for row in range(4)}


def test_scales_are_all_drawn_and_round_down():
    policy = make(mirror=0.0)
    draws = [policy.draw((12, 16), np.random.default_rng(i)) for i in range(200)]
    assert {draw.scale for draw in draws} == set(policy.scales)
    small = policy.apply(record(13, 17), scene.Draw(scale=0.5))["targets"]["mask"]
    assert ((small != 255).sum(axis=0).max(), (small != 255).sum(axis=1).max()) == (
        6,
        8,
    )


def test_evaluation_sees_whole_scenes():
    found = make()(record(), None)["targets"]["mask"]
    assert found.shape == (10, 18)
    assert (found != 255).sum() == 10 * 13  # 12x16 shrunk to 10 rows.
    whole = scene.Policy(crop=(12, 16), views=(), scales=(2.0,))(record(), None)
    np.testing.assert_array_equal(whole["views"]["rgb"], record()["views"]["rgb"])
    np.testing.assert_array_equal(whole["targets"]["mask"], record()["targets"]["mask"])


def test_spec_says_what_leaves():
    spec = make().spec(SPEC)
    assert (
        spec.views["rgb"].shape == (10, 18, 3) and spec.views["rgb"].dtype == "float32"
    )
    assert spec.targets["mask"].shape == (10, 18) and spec.targets["mask"].ignore == 255
    assert batch.record_problems(make()(record(), None), spec, "scene") == []


def test_bad_settings_are_named():
    with pytest.raises(errors.UserError, match="1 views, 0 entries in means"):
        scene.Policy(views=("rgb",))
    with pytest.raises(errors.UserError, match="'lidar'.*depth, rgb"):
        scene.Policy(views=("lidar",), means=(MEAN,), stds=(STD,)).spec(SPEC)
    with pytest.raises(errors.UserError, match="'depth', which has 1 channels"):
        scene.Policy(views=("depth",), means=(MEAN,), stds=(STD,)).spec(SPEC)
    with pytest.raises(errors.UserError, match="'mask' of uint8 cannot hold"):
        scene.Policy(ignore=-1).spec(SPEC)
    known = SPEC._replace(targets={"mask": SPEC.targets["mask"]._replace(ignore=0)})
    with pytest.raises(errors.UserError, match="set ignore=0"):
        scene.Policy().spec(known)
    other = record()
    other["targets"]["mask"] = other["targets"]["mask"][1:]
    with pytest.raises(
        errors.UserError, match="'rgb' has 12x16 pixels and 'mask' 11x16"
    ):
        make()(other, None)
