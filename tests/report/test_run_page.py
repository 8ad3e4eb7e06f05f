"""What the page of a run shows of predictions on a scale and of missing views."""

import types

import ml_collections
import numpy as np
import pytest

from mvjax.core import method as method_lib
from mvjax.data import batch as batch_lib
from mvjax.evaluators import missing_views
from mvjax.evaluators import sentiment
from mvjax.evaluators.common import features as features_lib
from mvjax.report import run_page

SIZE = 24


class Source:
    """Records with two views, two truths on a scale and, if asked for, lengths."""

    spec = batch_lib.Spec({}, None)

    def __init__(self, *, lengths, targets=("arousal", "score"), labelled=False):
        rng = np.random.default_rng(0)
        self.views = rng.normal(size=(SIZE, 2, 1)).astype(np.float32)
        self.lengths, self.targets, self.labelled = lengths, targets, labelled

    def __len__(self):
        return SIZE

    def __getitem__(self, i):
        record = {
            "views": {"text": self.views[i, 0], "audio": self.views[i, 1]},
            "label": np.int32(i % 2 if self.labelled else -1),
            "index": np.int32(i),
        }
        if self.targets:
            score = np.float32(self.views[i].sum())
            record["targets"] = {name: score for name in self.targets}
        if self.lengths:
            record["lengths"] = {"text": np.int32(1 + i % 5)}
        return record


def predict(batch):
    """A score and a code of two columns."""
    text, audio = (batch["views"][view] for view in ("text", "audio"))
    has = batch.get("present", {}).get("audio", np.ones(len(audio), bool))
    score = text + audio * has[:, None]
    return {"score": score, "shared": np.concatenate([text, audio], axis=1)}


def make_scoring(evaluators, **options):
    """What `history` asks of a run."""
    source = Source(**options)
    features = features_lib.Features(predict, {"test": source}, batch_size=7)
    names = {
        label: {"name": type(made).__module__.rpartition(".")[2]}
        for label, made in evaluators.items()
    }
    config = ml_collections.ConfigDict({"evals": names | {"other": {"name": "knn"}}})
    return types.SimpleNamespace(
        features=lambda variables: features,
        evaluators=lambda: evaluators,
        run=types.SimpleNamespace(
            method=method_lib.Method(),
            config=config,
            inputs=types.SimpleNamespace(transform=None),
        ),
    )


def test_predictions_and_lengths_are_shown_against_the_target_that_is_scored():
    scoring = make_scoring(
        {"scores": sentiment.Evaluator(target="score")}, lengths=True
    )
    pictures = run_page._pictures(scoring, {}, scoring.features(None))
    assert list(pictures) == [
        "Predictions of test samples against score",
        "Error of test samples by length",
        "shared of test samples",
    ]
    dots = pictures["Predictions of test samples against score"].axes[0].collections
    truth = scoring.features(None).target("test", "score")
    np.testing.assert_array_equal(dots[0].get_offsets()[:, 0], truth)
    panels = pictures["Error of test samples by length"].axes
    assert [panel.get_xlabel() for panel in panels] == ["length of text"]


def test_without_an_evaluator_the_first_target_is_shown():
    scoring = make_scoring({}, lengths=False)
    pictures = run_page._pictures(scoring, {}, scoring.features(None))
    assert list(pictures)[0] == "Predictions of test samples against arousal"
    assert len(pictures) == 2


@pytest.mark.parametrize("labelled", [False, True])
def test_signs_of_the_target_stand_in_for_labels(labelled):
    scoring = make_scoring({}, lengths=False, labelled=labelled)
    labels, names = run_page._labels(scoring.features(None))
    truth = scoring.features(None).target("test", "arousal")
    expected = np.arange(SIZE) % 2 if labelled else (1 + np.sign(truth)).astype(int)
    np.testing.assert_array_equal(labels, expected)
    assert names == (None if labelled else ("negative", "zero", "positive"))


def test_data_without_targets_show_the_score_as_any_code():
    scoring = make_scoring({}, lengths=False, targets=())
    pictures = run_page._pictures(scoring, {}, scoring.features(None))
    assert list(pictures) == ["score of test samples", "shared of test samples"]


def test_codes_show_the_factor_that_they_should_hold():
    scoring = make_scoring({}, lengths=False, targets=(), labelled=True)
    scoring.run.config.evals.other.wanted = ("shared:label", "private/text:nothing")
    pictures = run_page._pictures(scoring, {}, scoring.features(None))
    assert list(pictures) == [
        "score of test samples",
        "shared of test samples by label",
    ]
    panel = pictures["shared of test samples by label"].axes[0]
    assert panel.get_title(loc="left").startswith("shared by label (")
    sizes = [len(dots.get_offsets()) for dots in panel.collections]
    assert sizes == [SIZE // 2, SIZE // 2]


def test_classes_have_the_names_that_the_data_set_gives(monkeypatch):
    scoring = make_scoring({}, lengths=False, targets=(), labelled=True)
    spec = batch_lib.Spec({}, 2, class_names=("cat", "dog"))
    monkeypatch.setattr(Source, "spec", spec, raising=False)
    labels, names = run_page._labels(scoring.features(None))
    assert names == ("cat", "dog") and set(labels) == {0, 1}
    scoring.run.config.evals.other.wanted = ("shared:label",)
    pictures = run_page._pictures(scoring, {}, scoring.features(None))
    figure = pictures["shared of test samples by label"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]


def test_scores_without_some_views_are_shown():
    evaluator = missing_views.Evaluator(target="score")
    scoring = make_scoring({"subsets": evaluator}, lengths=False)
    results = {
        "subsets": evaluator.run(scoring.features(None)),
        "other": {"test/mae": 1.0},
    }
    features = scoring.features(None)
    figures = run_page._by_evaluator(scoring, results, features)
    assert list(figures) == ["Scores without some views (subsets)"]
