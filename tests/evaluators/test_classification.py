"""Top-k accuracy equals a plain sort."""

import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import classification
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import offer as offer_lib
from tests.evaluators import dense


def score(logits, labels, **fields):
    evaluator = classification.Evaluator(**fields)
    batch = {"label": labels, "mask": np.ones(len(labels), bool)}
    sums = evaluator.measure({"logits": jnp.asarray(logits)}, batch)
    return evaluator.finish({k: np.asarray(v) for k, v in sums.items()})


@pytest.mark.parametrize("ties", [False, True])
def test_scores_are_those_of_a_plain_sort(ties):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 7)).astype(np.float32)
    logits = np.round(logits) if ties else logits
    labels = rng.integers(0, 6, 50).astype(np.int32)  # Class 6 does not occur.
    places = [
        list(np.argsort(-row, kind="stable")).index(c) for row, c in zip(logits, labels)
    ]
    places = np.array(places)
    found = score(logits, labels, ks=(1, 3), per_class=True)
    assert found["top1"] == np.mean(places < 1)
    assert found["top3"] == np.mean(places < 3)
    each = [np.mean(places[labels == c] < 1) for c in range(6)]
    np.testing.assert_allclose([found[f"class/{c}"] for c in range(6)], each)
    np.testing.assert_allclose(found["mean_class"], np.mean(each))
    assert np.isnan(found["class/6"])


def test_draws_of_a_sample_are_averaged_as_logits():
    logits = np.array([[[9.0, 0, 0], [0, 1, 0], [0, 1, 0]]], np.float32)  # [1, V, K]
    assert score(logits, np.array([0]), ks=(1,))["top1"] == 1
    assert score(logits, np.array([1]), ks=(1,))["top1"] == 0
    features = dense.make()
    draws = features.get("test", "draws").reshape(37, 2, dense.CLASSES)
    found = measured.run(classification.Evaluator("draws", ks=(1,)), features)
    guess = draws.mean(1).argmax(1)
    assert found["top1"] == np.mean(guess == features.labels("test"))


def test_samples_without_a_label_and_nan_are_told():
    logits, labels = np.eye(3, dtype=np.float32), np.array([0, -1, 2])
    with pytest.raises(features_lib.Insufficient, match="no label for 1 of 3"):
        score(logits, labels)
    logits[1, 0] = np.nan
    with pytest.raises(errors.UserError, match="is NaN for 1 samples"):
        score(logits, np.array([0, 1, 2]))


def offer(**outputs):
    views = {"image": batch_lib.ViewSpec((6, 5, 3), "float32", -9, 9)}
    spec = batch_lib.Spec(views, 4, {"size": 7})
    return offer_lib.Offer(spec, ("train", "test"), outputs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output": "logit"}, "output 'logit'.*'logits'"),
        ({"split": "tset"}, "split 'tset'"),
        ({"factor": "shape"}, "factor 'shape'.*size"),
        ({"factor": "size"}, "logits of 4 classes, but 'size' has 7"),
        ({"output": "map"}, r"shape \(6, 5, 4\) per sample; logits have"),
        ({"ks": (1, 5)}, "no top 5 of 4 classes"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(fields, message):
    evaluator = classification.Evaluator(**({"ks": (1,)} | fields))
    with pytest.raises(errors.UserError, match=message):
        evaluator.check(offer(logits=(4,), map=(6, 5, 4)))


def test_a_check_names_the_scores():
    evaluator = classification.Evaluator("mean", ks=(1, 2), per_class=True)
    names = evaluator.check(offer(mean=(4,)))
    assert set(names) == set(measured.run(evaluator, dense.make()))
