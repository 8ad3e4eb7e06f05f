"""Random views of modalities: shapes, independence, seasons, joint geometry, arithmetic."""

import pickle

import numpy as np
import pytest

from mvjax.core import config
from mvjax.core import errors
from mvjax.data import band_photometry
from mvjax.data import batch
from mvjax.data import modality_steps
from mvjax.data import policies
from mvjax.data.augment import modalities

RNG = np.random.default_rng(0)
SIDE = 20
SPEC = batch.Spec(
    {
        "sar": batch.ViewSpec((4, SIDE, SIDE, 2), "uint8", 0, 255),
        "optical": batch.ViewSpec((4, SIDE, SIDE, 13), "uint8", 0, 255),
        "sound": batch.ViewSpec((5,), "float32", -1, 1),
    },
    None,
)


def policy(**fields):
    given = dict(views=("sar", "optical"), kinds=("sar", "ms"), size=16) | fields
    made = config.build(modalities.Policy, "config.data.train_policy", given)
    return pickle.loads(pickle.dumps(made))


def record(values=None):
    """Every season has another level, so that a crop tells of which it is."""
    views = {"sound": np.zeros(5, np.float32)}
    for name in ("sar", "optical"):
        shape = SPEC.views[name].shape
        seasons = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * 50
        full = np.broadcast_to(seasons, shape) if values is None else values
        views[name] = np.ascontiguousarray(np.broadcast_to(full, shape))
    return {"views": views, "label": np.int32(-1), "index": np.int32(0)}


@pytest.mark.parametrize("draws", [1, 2])
def test_draws_have_the_promised_shape(draws):
    made, noise = policy(draws=draws), RNG.integers(0, 256, (SIDE, SIDE, 1), np.uint8)
    spec = made.spec(SPEC)
    axis = (draws,) if draws > 1 else ()
    assert spec.views["optical"].shape == (*axis, 16, 16, 13)
    for generator in (np.random.default_rng(1), None):
        found = made(record(noise), generator)
        assert not batch.record_problems(found, spec, "here")
    one, two, again = (
        made(record(noise), np.random.default_rng(s))["views"]["sar"] for s in (1, 2, 1)
    )
    assert (one != two).any()
    np.testing.assert_array_equal(one, again)
    assert policies.steady(made, SPEC) == ("sound",)


def test_seasons_follow_their_policy():
    quiet = dict(colour=(0.0, 0.0), solarise=(0.0, 0.0), draws=2)

    def seasons(season, seed):
        found = policy(season=season, **quiet)(record(), np.random.default_rng(seed))
        views = [found["views"][name] for name in ("sar", "optical")]
        assert all((v == v[:, :1, :1, :1]).all() for v in views)
        return tuple(int(v[k, 0, 0, 0]) // 50 for v in views for k in (0, 1))

    drawn = [seasons("augment", seed) for seed in range(60)]
    # Each of the four is any, on its own: so in most records they differ.
    assert all({d[i] for d in drawn} == {0, 1, 2, 3} for i in range(4))
    assert sum(len(set(d)) > 1 for d in drawn) > 50
    shared = [seasons("random", seed) for seed in range(30)]
    assert all(len(set(d)) == 1 for d in shared) and len(set(shared)) == 4
    assert {seasons("fixed", seed) for seed in range(5)} == {(2, 2, 2, 2)}
    plain = policy()(record(), None)["views"]
    assert (plain["optical"] == 100).all()


def test_joint_geometry_keeps_views_and_masks_together():
    scene = batch.Spec(
        {
            "rgb": batch.ViewSpec((SIDE, SIDE, 3), "uint8", 0, 255),
            "dem": batch.ViewSpec((SIDE, SIDE, 1), "float32", 0, 300),
        },
        None,
        targets={"mask": batch.TargetSpec((SIDE, SIDE), "int64", 0, 10)},
    )
    fields = dict(
        views=("rgb", "dem"),
        kinds=("patch", "patch"),
        resampling="nearest",
        scale=(0.2,) * 2,
    )
    made = policy(**fields, joint=True, triple=("dem",), draws=2)
    dem = np.arange(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE, 1) % 251
    mask = (dem[..., 0] % 11).astype(np.int64)
    views = {"rgb": np.repeat(dem, 3, axis=2).astype(np.uint8), "dem": dem}
    stored = {"views": views, "label": -1, "index": 0, "targets": {"mask": mask}}
    for seed in range(5):
        found = made(stored, np.random.default_rng(seed))
        assert not batch.record_problems(found, made.spec(scene), "here")
        np.testing.assert_array_equal(found["views"]["rgb"], found["views"]["dem"])
        np.testing.assert_array_equal(
            found["targets"]["mask"], found["views"]["dem"][..., 0] % 11
        )
    middle = made(stored, None)
    np.testing.assert_array_equal(middle["views"]["rgb"], middle["views"]["dem"])
    with pytest.raises(errors.UserError, match="truth 'mask'.*joint=True"):
        policy(**fields).spec(scene)


def test_released_levels_wrap_and_ours_saturate():
    image = np.array([[[0], [100], [200], [255]]], np.uint8)
    ours = band_photometry.brighten(image, 1.4)
    theirs = band_photometry.brighten(image, 1.4, wrap=True)
    assert ours.ravel().tolist() == [0, 140, 255, 255]
    assert theirs.ravel().tolist() == [0, 140, 280 % 256, 357 % 256]
    assert band_photometry.solarise(image).ravel().tolist() == [0, 100, 55, 0]
    released = band_photometry.solarise(image, released=True)
    assert released.ravel().tolist() == [255, 100, 200, 255]


def test_boxes_lie_in_the_image_and_have_the_drawn_area():
    generator = np.random.default_rng(0)
    boxes = [modality_steps.draw_box(generator, 90, 80, 0.2) for _ in range(300)]
    assert all(b.top + b.height <= 80 and b.left + b.width <= 90 for b in boxes)
    areas = np.array([b.height * b.width / 7200 for b in boxes])
    assert 0.19 < areas.min() < 0.25 and 0.5 < areas.mean() < 0.65
    ratios = [b.width / b.height for b in boxes]
    assert 0.7 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.4
    # Nothing fits into a strip: the square in its middle is taken.
    assert modality_steps.draw_box(generator, 100, 4, 0.9) == (0, 48, 4, 4)


def test_one_view_at_a_time_is_dropped():
    made, gone = policy(drop_view=(0.5, 0.5), season="fixed"), []
    for seed in range(20):
        views = made(record(np.uint8(9)), np.random.default_rng(seed))["views"]
        gone.append([not views[name].any() for name in ("sar", "optical")])
    assert all(sum(g) == 1 for g in gone) and {tuple(g) for g in gone} == {
        (True, False),
        (False, True),
    }
    lost = policy(drop_channels=(0.0, 1.0))(
        record(np.uint8(9)), np.random.default_rng(3)
    )
    assert lost["views"]["sar"].all()
    assert not lost["views"]["optical"].all(axis=(0, 1)).all()


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(kinds=("sar",)), "1 entries in 'kinds', but 2 views"),
        (dict(kinds=("sar", "msi")), "kinds.*'msi'.*'ms'"),
        (dict(blur=(0.1,)), "1 entries in 'blur'"),
        (dict(drop_view=(0.8, 0.8)), "1.6, more than 1"),
        (dict(triple=("dem",)), "'dem'.*sar"),
        (dict(views=("sar", "optic")), "'optic'.*optical"),
        (dict(views=("sar", "sound")), "'sound' is .5. of float32"),
        (dict(plain="native"), "size=16.*20x20"),
    ],
)
def test_settings_that_do_not_fit_are_named(fields, message):
    with pytest.raises(errors.UserError, match=message):
        policy(**fields).spec(SPEC)
