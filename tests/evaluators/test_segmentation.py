"""Scores of maps equal plain loops; windows cover images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import segmentation
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import offer as offer_lib
from tests.evaluators import dense
from tests.evaluators import test_multilabel


@pytest.mark.parametrize("ignore", [255, 0])
def test_scores_are_those_of_scikit_learn(ignore):
    features, source = dense.make(), dense.Source(37)
    features._sources["test"] = source
    if ignore == 0:
        source.mask[source.mask == 255] = 0
    found = measured.run(
        segmentation.Evaluator(ignore=ignore, per_class=True), features
    )
    known = source.mask != ignore
    truth = source.mask[known]
    guess = dense.logits(source.image).argmax(-1)[known]
    classes = [c for c in range(dense.CLASSES) if c != ignore]
    each = metrics.jaccard_score(truth, guess, labels=classes, average=None)
    np.testing.assert_allclose([found[f"iou/{c}"] for c in classes], each)
    np.testing.assert_allclose(found["miou"], np.mean(each))
    np.testing.assert_allclose(found["miou_foreground"], np.mean(each[-3:]))
    np.testing.assert_allclose(found["accuracy"], np.mean(truth == guess))
    recall = metrics.recall_score(truth, guess, labels=classes, average=None)
    np.testing.assert_allclose(found["mean_class"], np.mean(recall))
    weights = np.array([np.mean(truth == c) for c in classes])
    np.testing.assert_allclose(found["fiou"], np.sum(weights * each))


def run(**fields):
    return measured.run(segmentation.Evaluator(**fields), dense.make())


def test_scales_and_windows_of_a_pointwise_model_move_little():
    """What looks at each pixel alone says the same of every window of an image."""
    whole = run()
    assert run(crop=(3, 4)) != {} and run(crop=(3, 4)).keys() == whole.keys()
    # Of the windows' sums each pixel's ranking is that of one pass.
    assert run(crop=(4, 3)) == whole
    assert run(flip=True) == whole
    assert run(crop=(9, 9)) == whole
    scaled = run(scales=(1.0, 1.5), crop=(6, 6))
    assert scaled != whole and abs(scaled["accuracy"] - whole["accuracy"]) < 0.1


def test_windows_reach_both_borders_and_step_by_two_thirds():
    assert segmentation.windows(640, 480) == [0, 160]
    assert segmentation.windows(1120, 480) == [0, 320, 640]
    assert segmentation.windows(480, 480) == [0]
    assert segmentation.windows(100, 480) == [0]
    for size in range(10, 40):
        starts = segmentation.windows(size, 10)
        assert starts[0] == 0 and starts[-1] == size - 10
        assert max(np.diff(starts), default=0) <= 7


def test_windows_that_know_their_place_are_summed_at_it():
    """A model that sees where it is: row and column are channels of the image."""
    rows, columns = np.mgrid[:20, :17].astype(np.float32)
    image = np.stack([rows, columns], -1)[None] / 20

    def logits(batch):
        x = batch["views"]["image"]
        return np.concatenate([x, x[..., :1] - x[..., 1:]], -1)

    found = segmentation.scores_of_scales(
        logits, {"views": {"image": image}}, scales=(1.0,), flip=False, crop=(8, 7)
    )
    times = np.zeros((20, 17))
    for top in segmentation.windows(20, 8):
        for left in segmentation.windows(17, 7):
            times[top : top + 8, left : left + 7] += 1
    assert times.min() >= 1
    expected = np.exp(logits({"views": {"image": image}})[0]) * times[..., None]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_logits_of_a_quarter_are_resized_to_the_truth():
    rng = np.random.default_rng(0)
    small = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    truth = rng.integers(0, 5, (2, 12, 16))
    evaluator = segmentation.Evaluator()
    batch = {"targets": {"mask": truth}, "mask": np.ones(2, bool)}
    sums = evaluator.measure({"logits": jnp.asarray(small)}, batch)
    large = jax.image.resize(small, (2, 12, 16, 5), "linear").argmax(-1)
    expected = metrics.confusion_matrix(truth.ravel(), np.ravel(large), labels=range(5))
    np.testing.assert_array_equal(sums["confusion"], expected)


def test_pixels_outside_the_classes_nan_and_unknown_maps_are_told():
    sums = {"confusion": np.eye(3, dtype=np.int64), "outside": 0, "broken": 0}
    with pytest.raises(errors.UserError, match=r"7 pixels outside the classes 0\.\.2"):
        segmentation.Evaluator().finish(sums | {"outside": 7})
    with pytest.raises(errors.UserError, match="is NaN for 2 pixels"):
        segmentation.Evaluator().finish(sums | {"broken": 2})
    with pytest.raises(features_lib.Insufficient, match="No pixel"):
        segmentation.Evaluator().finish(sums | {"confusion": np.zeros((3, 3))})


def offer(ignore=None):
    views = {"image": batch_lib.ViewSpec((*dense.SIZE, 3), "float32", -9, 9)}
    targets = {"mask": test_multilabel.Target(*dense.SIZE, ignore=ignore)}
    spec = batch_lib.Spec(views, None, {}, targets)
    outputs = {"logits": (*dense.SIZE, dense.CLASSES), "flat": (4,)}
    return offer_lib.Offer(spec, ("test",), outputs)


def test_settings_that_do_not_fit_are_refused_before_training():
    with pytest.raises(
        errors.UserError, match=r"wanted are \(height, width, classes\)"
    ):
        segmentation.Evaluator("flat").check(offer())
    with pytest.raises(errors.UserError, match="set ignore=0"):
        segmentation.Evaluator().check(offer(ignore=0))
    evaluator = segmentation.Evaluator(per_class=True)
    names = evaluator.check(offer(ignore=255))
    assert set(names) == set(measured.run(evaluator, dense.make()))
