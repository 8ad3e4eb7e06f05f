"""Average precision equals scikit-learn's, and a plain loop where it has none."""

import numpy as np
import pytest
from sklearn import metrics

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import multilabel
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import offer as offer_lib


class Source:
    """Scores as a view, labels beside them; the last label never holds."""

    def __init__(self, size, *, labels=5, steps=None):
        rng = np.random.default_rng(size)
        self.truth = (rng.random((size, labels)) < 0.3).astype(np.float32)
        self.truth[:, -1] = 0
        self.scores = (self.truth + rng.normal(size=self.truth.shape)).astype(
            np.float32
        )
        if steps:
            self.scores = np.round(self.scores * steps) / np.float32(steps)

    def __len__(self):
        return len(self.truth)

    def __getitem__(self, i):
        return {
            "views": {"x": self.scores[i]},
            "label": np.int32(-1),
            "index": np.int32(i),
            "targets": {"labels": self.truth[i]},
        }


def predict(batch):
    return {"logits": batch["views"]["x"]}


@pytest.mark.parametrize("steps", [None, 4])
def test_scores_are_those_of_scikit_learn(make_features, steps):
    source = Source(83, steps=steps)
    features = make_features({"test": source}, predict)
    found = measured.run(multilabel.Evaluator(per_class=True), features)
    each = [
        metrics.average_precision_score(t, s)
        for t, s in zip(source.truth.T[:-1], source.scores.T[:-1])
    ]
    np.testing.assert_allclose([found[f"ap/{k}"] for k in range(4)], each, rtol=1e-12)
    np.testing.assert_allclose(found["map_voc"], np.mean(each), rtol=1e-12)
    np.testing.assert_allclose(found["map_macro"], np.sum(each) / 5, rtol=1e-12)
    expected = metrics.average_precision_score(
        source.truth.ravel(), source.scores.ravel()
    )
    np.testing.assert_allclose(found["map_micro"], expected, rtol=1e-12)
    # A label that never holds has no AP.
    assert "ap/4" not in found
    assert features.left_out == {"ap/4": "It is not defined for these samples."}


@pytest.mark.parametrize("drop_last", [True, False])
def test_batch_means_are_those_of_a_plain_loop(make_features, drop_last):
    source = Source(83)
    features = make_features({"test": source}, predict)
    evaluator = multilabel.Evaluator(batch=20, drop_last=drop_last)
    found = measured.run(evaluator, features)
    ends = [(i, min(i + 20, 83)) for i in range(0, 80 if drop_last else 83, 20)]
    micro = [
        metrics.average_precision_score(
            source.truth[a:b].ravel(), source.scores[a:b].ravel()
        )
        for a, b in ends
    ]
    np.testing.assert_allclose(found["map_micro_batchmean"], np.mean(micro))
    macro = [multilabel.macro(source.scores[a:b], source.truth[a:b]) for a, b in ends]
    np.testing.assert_allclose(found["map_macro_batchmean"], np.mean(macro))


def test_eleven_points_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    scores = truth + rng.normal(size=40)
    order = np.argsort(-scores)
    points = []
    for recall in np.linspace(0, 1, 11):
        precisions = [
            truth[order[:n]].mean()
            for n in range(1, 41)
            if truth[order[:n]].sum() >= recall * truth.sum() - 1e-9
        ]
        points.append(max(precisions))
    np.testing.assert_allclose(multilabel.eleven_points(scores, truth), np.mean(points))
    assert multilabel.eleven_points(np.array([2.0, 1]), np.array([1, 0])) == 1
    assert np.isnan(multilabel.average_precision(scores, 0 * truth))


@pytest.mark.parametrize("unknown", ["left_out", "negative"])
def test_unknown_truths_are_left_out_or_negative(make_features, unknown):
    source = Source(83)
    rng = np.random.default_rng(1)
    hidden = rng.random(source.truth.shape) < 0.2
    truth = np.where(hidden, 0, source.truth)
    source.truth[hidden] = 255
    features = make_features({"test": source}, predict)
    evaluator = multilabel.Evaluator(unknown=unknown, per_class=True, batch=20)
    found = measured.run(evaluator, features)
    kept = ~hidden if unknown == "left_out" else np.ones_like(hidden)
    expected = metrics.average_precision_score(truth[kept], source.scores[kept])
    np.testing.assert_allclose(found["map_micro"], expected, rtol=1e-12)
    columns = [(truth[k, c], source.scores[k, c]) for c, k in enumerate(kept.T[:4])]
    each = [metrics.average_precision_score(t, s) for t, s in columns]
    np.testing.assert_allclose([found[f"ap/{k}"] for k in range(4)], each, rtol=1e-12)
    points = [multilabel.eleven_points(s, t) for t, s in columns]
    np.testing.assert_allclose(found["map_11"], np.mean(points), rtol=1e-12)
    parts = [slice(i, i + 20) for i in range(0, 80, 20)]
    parts = [(truth[p][kept[p]], source.scores[p][kept[p]]) for p in parts]
    micro = [metrics.average_precision_score(t, s) for t, s in parts]
    np.testing.assert_allclose(found["map_micro_batchmean"], np.mean(micro))


def test_truths_that_are_not_multi_hot_are_refused(make_features):
    source = Source(12)
    source.truth[3, 1] = 0.5
    features = make_features({"test": source}, predict)
    with pytest.raises(errors.UserError, match="must hold 0, 1 and.*255 only.*0.5"):
        measured.run(multilabel.Evaluator(), features)


class Target:
    """What a data set says of its targets."""

    def __init__(self, *shape, ignore=None):
        self.shape, self.ignore = shape, ignore


def offer(size=83):
    views = {"x": batch_lib.ViewSpec((5,), "float32", -9, 9)}
    targets = {"labels": Target(5), "mask": Target(6, 5), "tags": Target(5, ignore=9)}
    spec = batch_lib.Spec(views, None, {}, targets)
    outputs = {"logits": (5,), "short": (4,), "map": (6, 5)}
    return offer_lib.Offer(spec, ("test",), outputs, {"test": size})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"output": "short"}, r"shape \(4,\) per sample and target 'labels' \(5,\)"),
        ({"target": "label"}, "target 'label'.*'labels'"),
        ({"target": "tags"}, "is 9 where it is not known: set ignore=9"),
        ({"output": "map", "target": "mask"}, r"both must be \(labels,\)"),
        ({"batch": 90}, "83 samples: too few for batches of 90"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(fields, message):
    with pytest.raises(errors.UserError, match=message):
        multilabel.Evaluator(**fields).check(offer())


def test_a_check_names_the_scores(make_features):
    evaluator = multilabel.Evaluator(batch=20, per_class=True)
    features = make_features({"test": Source(83)}, predict)
    found = set(measured.run(evaluator, features)) | set(features.left_out)
    assert set(evaluator.check(offer())) == found
