"""Plain and augmented views: their shapes, what stays, and what evaluation sees."""

import pickle

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import policies
from mvjax.data import styles
from mvjax.data.augment import crop
from mvjax.data.augment import pair
from mvjax.data.augment import resize_crop
from mvjax.data.augment import styled
from mvjax.data.augment import voc

RNG = np.random.default_rng(0)
NATIVE = batch.Spec({"image": batch.ViewSpec((24, 24, 3), "uint8", 0, 255)}, 2)
LOOSE = batch.Spec(
    {
        "image": batch.ViewSpec((30, 40, 3), "uint8", 0, 255, varies=True),
        "sound": batch.ViewSpec((5,), "float32", -1, 1),
    },
    2,
)


def record(height, width, **views):
    image = RNG.integers(0, 256, (height, width, 3), np.uint8)
    views = {"image": image, **views}
    return {"views": views, "label": np.int32(0), "index": np.int32(0)}


def test_the_plain_view_is_steady_and_the_other_random():
    policy = pickle.loads(pickle.dumps(pair.Policy(size=24, plain="native")))
    spec, stored = policy.spec(NATIVE), record(24, 24)
    first, second, again = (
        policy(stored, np.random.default_rng(seed))["views"] for seed in (0, 1, 0)
    )
    for views in (first, second):
        np.testing.assert_array_equal(views["image"], stored["views"]["image"])
    assert (first["augmented"] != second["augmented"]).any()
    np.testing.assert_array_equal(first["augmented"], again["augmented"])
    assert policies.steady(policy, NATIVE) == ("image",)
    for generator in (np.random.default_rng(0), None):
        assert not batch.record_problems(policy(stored, generator), spec, "here")
    assert list(stored["views"]) == ["image"]


@pytest.mark.parametrize("style", styles.NAMES)
def test_views_have_one_shape(style):
    policy = pair.Policy(style=style, size=24)
    stored = record(25, 33, sound=np.zeros(5, np.float32))
    spec, found = policy.spec(LOOSE), policy(stored, np.random.default_rng(0))
    assert spec.views["image"].shape == spec.views["augmented"].shape == (24, 24, 3)
    assert not batch.record_problems(found, spec, "here")
    policies.check_fixed(spec, "here")


def test_evaluation_sees_the_same_plain_view():
    policy, eval_policy = pair.Policy(size=28), resize_crop.Policy(size=28)
    stored = record(50, 41, sound=np.zeros(5, np.float32))
    one = policy(stored, np.random.default_rng(0))["views"]["image"]
    other = eval_policy(stored, None)["views"]["image"]
    np.testing.assert_array_equal(one, other)
    assert policy.spec(LOOSE).views["image"] == eval_policy.spec(LOOSE).views["image"]
    # int(28 * 256 / 224) = 32 by int(32 * 50 / 41) = 39, then rows 6 and columns 2 on.
    image = Image.fromarray(stored["views"]["image"])
    wanted = image.resize((32, 39), Image.Resampling.BILINEAR).crop((2, 6, 30, 34))
    np.testing.assert_array_equal(one, np.asarray(wanted))
    assert resize_crop.Policy().shorter == 256
    assert eval_policy.steady(LOOSE) == ("image", "sound")


def test_single_views_are_augmented_in_training_only():
    policy = styled.Policy(size=24, plain="native")
    stored = record(24, 24)
    np.testing.assert_array_equal(
        policy(stored, None)["views"]["image"], stored["views"]["image"]
    )
    rng = np.random.default_rng
    found = policy(stored, rng(5))["views"]["image"]
    wanted = styles.augment(stored["views"]["image"], styles.make("custom", 24), rng(5))
    np.testing.assert_array_equal(found, wanted)
    assert policies.steady(policy, NATIVE) == ()
    assert policies.steady(styled.Policy(size=24), LOOSE) == ("sound",)
    assert policies.steady(None, LOOSE) == ("image", "sound")
    assert policies.steady(crop.Policy(), LOOSE) == ("sound",)
    assert policies.steady(object(), LOOSE) == ()  # It does not say.


def test_voc_squeezes_and_turns_in_training():
    policy, stored = voc.Policy(size=30, resize=33), record(40, 60)
    spec = policy.spec(NATIVE)
    for generator in (np.random.default_rng(0), None):
        assert not batch.record_problems(policy(stored, generator), spec, "here")
    draws = [policy.draw(np.random.default_rng(seed)) for seed in range(400)]
    brightened = [d.brightness is not None for d in draws]
    # Four standard deviations of 400 draws are at most 0.1.
    assert np.mean(brightened) == pytest.approx(0.5, abs=0.1)
    assert np.mean([d.grey for d in draws]) == pytest.approx(0.125, abs=0.07)
    assert np.mean([d.flip for d in draws]) == pytest.approx(0.25, abs=0.09)
    assert not any(d.grey and d.brightness is not None for d in draws)
    degrees = [d.degrees for d in draws]
    assert -25 <= min(degrees) < -24 and 24 < max(degrees) <= 25
    turned = policy(stored, np.random.default_rng(0))["views"]["image"]
    assert (turned[0, 0] == 0).all() or abs(draws[0].degrees) < 1


def test_settings_that_cannot_be_are_named():
    with pytest.raises(errors.UserError, match="plain=native and size=32.*have 24x24"):
        pair.Policy(size=32, plain="native").spec(NATIVE)
    with pytest.raises(errors.UserError, match="have many sizes.*plain=imagenet"):
        pair.Policy(size=32, plain="native").spec(LOOSE)
    with pytest.raises(errors.UserError, match="adds the view 'sound', which is there"):
        pair.Policy(augmented="sound").spec(LOOSE)
    with pytest.raises(errors.UserError, match="view of the policy pair: 'photo'"):
        pair.Policy(view="photo").spec(LOOSE)
    grey = batch.Spec({"image": batch.ViewSpec((24, 24, 1), "uint8", 0, 255)}, 2)
    with pytest.raises(errors.UserError, match="policy voc needs colours"):
        voc.Policy().spec(grey)
    with pytest.raises(errors.UserError, match="resize=200, less than size=224"):
        resize_crop.Policy(resize=200)
    with pytest.raises(
        errors.UserError, match="policy voc has resize=100, less than.*300"
    ):
        voc.Policy(resize=100)
    with pytest.raises(errors.UserError, match="train_policy.style.*'custom'"):
        policies.make(dict(name="pair", style="strong"), "config.data.train_policy")
