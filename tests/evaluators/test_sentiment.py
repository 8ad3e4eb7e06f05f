"""Sentiment scores against scikit-learn and plain loops, intervals, and the evaluator."""

import numpy as np
import pytest
from sklearn import metrics as reference

from mvjax.core import errors
from mvjax.evaluators import sentiment
from mvjax.evaluators.common import sentiment_metrics as metrics


def draw(size=400, seed=0):
    """Predictions and truths in [-3, 3] with zeros, ties and halves among them."""
    rng = np.random.default_rng(seed)
    truth = np.round(rng.uniform(-3, 3, size) * 3) / 3
    prediction = truth + rng.normal(size=size)
    prediction[::7] = np.round(prediction[::7] * 2) / 2
    return prediction.astype(np.float32), truth.astype(np.float32)


def test_scores_of_mosi_are_those_of_scikit_learn():
    p, t = draw()
    found = metrics.score(metrics.MOSI, p, t)
    some = t != 0
    assert 0 < some.sum() < len(t)

    def f1(truth, guess):
        return reference.f1_score(truth, guess, average="weighted")

    expected = {
        "mae": reference.mean_absolute_error(t, p),
        "corr": np.corrcoef(p.astype(float), t.astype(float))[0, 1],
        "acc7": np.mean([round(min(3, max(-3, float(x)))) for x in p] == np.round(t)),
        "acc5": np.mean(np.round(np.clip(p, -2, 2)) == np.round(np.clip(t, -2, 2))),
        "has0_acc2": reference.accuracy_score(t >= 0, p >= 0),
        "has0_f1": f1(t >= 0, p >= 0),
        "non0_acc2": reference.accuracy_score(t[some] > 0, p[some] > 0),
        "non0_f1": f1(t[some] > 0, p[some] > 0),
        "positive_acc2": reference.accuracy_score(t > 0, p > 0),
        "positive_f1": f1(t > 0, p > 0),
        "weighted_acc2": reference.balanced_accuracy_score(t > 0, p > 0),
        "official/non0_f1": f1(p[some] > 0, t[some] > 0),
        "official/positive_f1": f1(p > 0, t > 0),
    }
    assert found == pytest.approx(expected, abs=1e-6)  # The references take float32.
    assert found["positive_f1"] != pytest.approx(expected["official/positive_f1"])


def test_rounding_is_half_to_even_on_both_sides():
    # 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.7 -> 3 and -0.5 -> -0, which equals 0.
    prediction = np.array([0.5, 1.5, 2.5, 3.7, -0.5], np.float32)
    assert metrics.rounded_accuracy(3)(prediction, np.array([0, 2, 2, 3, 0])) == 1.0
    assert metrics.rounded_accuracy(3)(prediction, np.array([1, 1, 3, 4, -1])) == 0.2
    assert metrics.rounded_accuracy(2)(prediction, np.array([0, 2, 3, 2.5, 0])) == 1.0


def test_bins_of_sims_are_closed_on_the_right_in_float32():
    edges = np.array([-0.7, -0.1, 0.0, 0.1, 0.7], np.float32)
    above = np.nextafter(edges, np.float32(2))
    truth = np.array([-1, -0.5, 0, 0.5, 1], np.float32)  # One of each of five classes.

    def classes(values, score):
        """The class of each value, found by asking for each truth."""
        table = {"acc5": truth, "acc2": truth[[0, 4]], "acc3": truth[[0, 2, 4]]}
        return [
            next(
                k
                for k, t in enumerate(table[score])
                if metrics.SIMS[score](np.array([v]), np.array([t])) == 1
            )
            for v in values
        ]

    assert classes(edges, "acc5") == [0, 1, 2, 2, 3]
    assert classes(above, "acc5") == [1, 2, 2, 3, 4]
    assert classes(edges, "acc3") == [0, 0, 1, 1, 2]
    assert classes(above, "acc3") == [0, 1, 1, 2, 2]
    assert classes(edges, "acc2") == [0, 0, 0, 1, 1]
    assert classes(above, "acc2") == [0, 0, 1, 1, 1]
    # Values of Python's float are judged as the float32 that they become.
    assert classes(np.array([0.1, 0.7]), "acc5") == [2, 3]


def test_sims_clips_before_everything_but_the_released_scores():
    p = np.array([1.5, -3, 0.2, 0.4], np.float32)
    t = np.array([1, -1, 0.4, -0.2], np.float32)
    found = metrics.score(metrics.SIMS, p, t)
    clipped = np.clip(p, -1, 1)
    assert found["mae"] == pytest.approx((0 + 0 + 0.2 + 0.6) / 4)
    assert found["corr"] == pytest.approx(np.corrcoef(clipped, t)[0, 1], abs=1e-6)
    assert found["official/mae"] == pytest.approx((0.5 + 2 + 0.2 + 0.6) / 4)
    assert found["official/has0_acc2"] == 0.75
    assert found["f1"] == pytest.approx(
        reference.f1_score(t > 0, p > 0, average="weighted")
    )


def test_three_classes_are_scored_right_and_as_released():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    logits = np.eye(3)[labels] + rng.normal(size=(300, 3))
    found = metrics.score(metrics.POLARITY, logits, labels)
    assert found["accuracy"] == np.mean(logits.argmax(1) == labels)
    assert found["f1"] == pytest.approx(
        reference.f1_score(labels, logits.argmax(1), average="weighted")
    )
    poles = logits[:, 2] > logits[:, 0]
    assert found["has0_acc2"] == np.mean(poles == (labels == 2))
    rows = labels != 1
    assert found["non0_acc2"] == np.mean(poles[rows] == (labels[rows] == 2))
    # As released a positive is never right, however good the model.
    perfect = metrics.score(metrics.POLARITY, np.eye(3)[labels], labels)
    negative = np.mean(labels[rows] == 0)
    assert perfect["non0_acc2"] == perfect["non0_f1"] == 1
    assert perfect["official/non0_acc2"] == pytest.approx(negative)
    released = reference.f1_score(
        labels[rows], poles[rows].astype(int), average="weighted"
    )
    assert found["official/non0_f1"] == pytest.approx(released)


def test_final_report_weighs_by_the_prediction():
    p, t = draw(seed=3)
    for exclude_zero, rows in ((True, t != 0), (False, t == t)):
        found = metrics.senti(p, t, exclude_zero=exclude_zero)
        swapped = reference.f1_score(p[rows] > 0, t[rows] > 0, average="weighted")
        assert found["f1"] == pytest.approx(swapped)
        assert found["acc"] == np.mean((p[rows] > 0) == (t[rows] > 0))
        assert found["mae"] == metrics.mean_absolute_error(p, t)


def test_undefined_scores_are_absent_and_a_constant_has_correlation_zero():
    zeros, constant = np.zeros(5), np.full(5, 0.1, np.float32)
    found = metrics.score(metrics.MOSI, constant, zeros)
    assert set(metrics.MOSI) - set(found) == {
        "non0_acc2",
        "non0_f1",
        "official/non0_f1",
        "weighted_acc2",
    }
    assert found["corr"] == 0.0 and found["has0_acc2"] == 1.0
    assert metrics.correlation(constant, np.arange(5.0)) == 0.0
    assert metrics.correlation(np.arange(5.0) * 1e-30, np.arange(5.0)) == 1.0
    with pytest.raises(ValueError, match="at least one"):
        metrics.score(metrics.MOSI, zeros[:0], zeros[:0])
    with pytest.raises(ValueError, match="same number"):
        metrics.score(metrics.MOSI, zeros, zeros[:4])


def test_interval_is_that_of_the_normal_limit():
    p, t = draw(2000)
    low, high = metrics.bootstrap_interval(metrics.mean_absolute_error, p, t)
    error = np.abs(p - t)
    half = 1.96 * error.std() / np.sqrt(len(error))
    # 1000 draws know the ends to some percent of the width.
    assert low == pytest.approx(error.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(error.mean() + half, abs=0.15 * half)
    again = metrics.bootstrap_interval(metrics.mean_absolute_error, p, t)
    assert again == (low, high)
    other_seed = metrics.bootstrap_interval(metrics.mean_absolute_error, p, t, seed=1)
    assert other_seed != (low, high)
    inner = metrics.bootstrap_interval(metrics.mean_absolute_error, p, t, level=0.5)
    assert low < inner[0] < inner[1] < high


def test_paired_interval_sees_a_difference_that_single_ones_hide():
    p, t = draw(300)
    worse = p + 0.05 * np.where(p < t, -1, 1)  # 0.05 more error for every sample.
    mae = metrics.mean_absolute_error
    low, high = metrics.bootstrap_interval(mae, worse, t, other=p, draws=200)
    assert low == pytest.approx(0.05, abs=1e-4) and high == pytest.approx(
        0.05, abs=1e-4
    )
    single = metrics.bootstrap_interval(mae, p, t, draws=200)
    assert single[1] - single[0] > 0.1


def test_draws_without_a_value_do_not_count():
    t = np.array([0, 0, 0, 0, 1.0])
    ends = metrics.bootstrap_interval(metrics.MOSI["non0_acc2"], t, t, draws=50)
    assert ends == (1.0, 1.0)
    ends = metrics.bootstrap_interval(metrics.MOSI["non0_acc2"], t, 0 * t, draws=5)
    assert np.isnan(ends).all()
    for wrong in ({"draws": 0}, {"level": 1.0}):
        with pytest.raises(ValueError, match="draws 0|level 1.0"):
            metrics.bootstrap_interval(metrics.mean_absolute_error, t, t, **wrong)


class Source:
    """Records with a truth on a scale and the class that goes with it."""

    def __init__(self, size, *, seed=0, bad=None):
        prediction, truth = draw(size, seed)
        self.prediction, self.truth, self.bad = prediction, truth, bad
        if bad is not None:
            self.truth[0] = bad
        self.label = (np.sign(np.nan_to_num(truth)) + 1).astype(np.int32)

    def __len__(self):
        return len(self.truth)

    def __getitem__(self, i):
        return {
            "views": {"text": self.prediction[i : i + 1]},
            "label": self.label[i],
            "index": np.int32(i),
            "targets": {"score": self.truth[i]},
        }


def predict(batch):
    """`score` is what the source hid in the view."""
    text = batch["views"]["text"]
    logits = np.concatenate([-text, 0.3 + 0 * text, text], axis=1)
    return {"score": text, "logits": logits, "two": logits[:, :2], "flat": 0 * text}


@pytest.fixture
def known(make_features):
    """Features of three splits; batches of 10 are padded."""
    sizes = {"train": 31, "valid": 23, "test": 47}
    sources = {k: Source(n, seed=n) for k, n in sizes.items()}
    return make_features(sources, predict)


def test_evaluator_scores_all_but_training_beside_the_mean(known):
    result = sentiment.Evaluator().run(known)
    places = {key.rsplit("/", 1)[0].removesuffix("/official") for key in result}
    assert places == {
        "valid",
        "test",
        "mean_predictor/valid",
        "mean_predictor/test",
    }
    source, mean = Source(47, seed=47), Source(31, seed=31).truth.mean()
    plain = metrics.score(metrics.MOSI, source.prediction, source.truth)
    for name, value in plain.items():
        assert result[f"test/{name}"] == value
    blind = np.mean(np.abs(source.truth - mean))
    assert result["mean_predictor/test/mae"] == pytest.approx(blind, rel=1e-5)
    assert result["mean_predictor/test/corr"] == 0.0
    assert all(type(value) is float for value in result.values())


def test_evaluator_adds_intervals_around_the_scores(known):
    result = sentiment.Evaluator(splits=("test",), baseline=False, draws=50).run(known)
    for name in ("mae", "corr"):
        low, high = result[f"test/{name}_low"], result[f"test/{name}_high"]
        assert low < result[f"test/{name}"] < high
    assert sum(key.endswith(("_low", "_high")) for key in result) == 4
    asked = sentiment.Evaluator(draws=5, intervals=("acc7",)).run(known)
    assert "test/acc7_low" in asked and "test/mae_low" not in asked


def test_classes_are_scored_beside_the_most_frequent_one(known):
    result = sentiment.Evaluator("classification", draws=20).run(known)
    source = Source(47, seed=47)
    logits = predict({"views": {"text": source.prediction[:, None]}})["logits"]
    assert result["test/accuracy"] == np.mean(logits.argmax(1) == source.label)
    common = np.argmax(np.bincount(Source(31, seed=31).label))
    assert result["majority_class/test/accuracy"] == np.mean(source.label == common)
    assert result["test/accuracy_low"] <= result["test/accuracy"]
    assert {"test/non0_f1", "test/official/non0_f1"} <= set(result)


def test_a_problem_of_two_classes_has_no_scores_of_polarity(known):
    result = sentiment.Evaluator(
        "classification", output="two", splits=("test",), baseline=False
    ).run(known)
    assert set(result) == {"test/accuracy", "test/f1"}


def test_constant_predictions_have_finite_scores(known):
    for kind in ("mosi", "sims"):
        result = sentiment.Evaluator(kind, output="flat", draws=5).run(known)
        assert np.isfinite(list(result.values())).all()
        assert result["test/corr"] == 0.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "mosei"}, "kind 'mosei'.*Did you mean 'mosi'"),
        ({"target": "scores"}, "target 'scores'.*'score'"),
        ({"output": "scor"}, "feature 'scor'.*'score'"),
        ({"splits": ("dev",)}, "split 'dev'.*test, train, valid"),
        ({"intervals": ("mea",)}, "metric 'mea'.*'mae'"),
        ({"draws": -1}, "draws must be >= 0, not -1"),
        ({"output": "logits"}, "'logits' has 3 columns, but kind 'mosi' needs one"),
        ({"kind": "classification", "output": "score"}, "'score' has 1 columns"),
    ],
)
def test_mistakes_are_named(known, fields, message):
    with pytest.raises(errors.UserError, match=message):
        sentiment.Evaluator(**fields).run(known)


def test_a_split_without_all_truths_is_left_out(make_features):
    sources = {"train": Source(12), "valid": Source(9), "test": Source(15, bad=np.nan)}
    features = make_features(sources, predict)
    result = sentiment.Evaluator().run(features)
    assert {key.split("/")[-2] for key in result if "official" not in key} == {"valid"}
    reason = features.left_out["test"]
    assert "'score' of split 'test'" in reason and "1 of 15" in reason


def test_a_metric_that_is_not_defined_is_named(make_features):
    source = Source(15)
    source.truth[:] = 0
    features = make_features({"train": Source(12), "test": source}, predict)
    result = sentiment.Evaluator().run(features)
    assert "test/mae" in result and "test/non0_acc2" not in result
    assert "not defined" in features.left_out["test/non0_acc2"]
