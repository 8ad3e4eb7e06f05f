"""What the page of a run shows of predictions on a scale and of missing views."""

import types

import ml_collections
import numpy as np
import pytest

from mvjax.core import method as method_lib
from mvjax.data import batch as batch_lib
from mvjax.evaluators import leakage
from mvjax.evaluators import missing_views
from mvjax.evaluators import reconstruction
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
    config = ml_collections.ConfigDict({"evals": names})
    return types.SimpleNamespace(
        features=lambda variables: features,
        evaluators=lambda: evaluators,
        run=types.SimpleNamespace(
            method=method_lib.Method(),
            config=config,
            inputs=types.SimpleNamespace(transform=None),
        ),
    )


def pictures_of(scoring, **results):
    """What the page shows; evaluators found something unless it is said what."""
    features = scoring.features(None)
    results = {label: {"a": 1.0} for label in scoring.evaluators()} | results
    return run_page._pictures(scoring, {}, features, results)


def test_predictions_and_lengths_are_shown_against_the_target_that_is_scored():
    scoring = make_scoring(
        {"scores": sentiment.Evaluator(target="score")}, lengths=True
    )
    pictures = pictures_of(scoring)
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


def test_predictions_of_two_evaluators_are_shown_once_and_those_of_none_not():
    evaluators = {
        "scores": sentiment.Evaluator(target="arousal"),
        "more": sentiment.Evaluator(target="arousal"),
        "other": sentiment.Evaluator(target="score"),
    }
    scoring = make_scoring(evaluators, lengths=False)
    assert list(pictures_of(scoring)) == [
        "Predictions of test samples against arousal",
        "Predictions of test samples against score",
        "shared of test samples",
    ]
    scoring = make_scoring({"scores": evaluators["scores"]}, lengths=False)
    assert list(pictures_of(scoring, scores={})) == [
        "score of test samples",
        "shared of test samples",
    ]


@pytest.mark.parametrize("labelled", [False, True])
def test_signs_of_the_target_stand_in_for_labels(labelled):
    scoring = make_scoring({}, lengths=False, labelled=labelled)
    labels, names = run_page._labels(scoring.features(None), "test")
    truth = scoring.features(None).target("test", "arousal")
    expected = np.arange(SIZE) % 2 if labelled else (1 + np.sign(truth)).astype(int)
    np.testing.assert_array_equal(labels, expected)
    assert names == (None if labelled else ("negative", "zero", "positive"))


def test_data_without_targets_show_the_score_as_any_code():
    scoring = make_scoring({}, lengths=False, targets=())
    pictures = pictures_of(scoring)
    assert list(pictures) == ["score of test samples", "shared of test samples"]


def test_codes_show_the_factor_that_they_should_hold():
    wanted = ("shared:label", "shared:nothing", "private/text:nothing")
    evaluators = {"leaks": leakage.Evaluator(("shared",), wanted=wanted)}
    scoring = make_scoring(evaluators, lengths=False, targets=(), labelled=True)
    pictures = pictures_of(scoring)
    assert list(pictures) == [
        "score of test samples",
        "shared of test samples by label",
    ]
    panel = pictures["shared of test samples by label"].axes[0]
    assert panel.get_title(loc="left").startswith("shared by label (")
    sizes = [len(dots.get_offsets()) for dots in panel.collections]
    assert sizes == [SIZE // 2, SIZE // 2]


def test_a_factor_that_some_samples_lack_is_not_shown():
    evaluators = {"leaks": leakage.Evaluator(("shared",), wanted=("shared:label",))}
    scoring = make_scoring(evaluators, lengths=False, targets=())
    assert "shared of test samples" in pictures_of(scoring)


def test_images_stand_above_their_reconstructions(monkeypatch):
    class Images(Source):
        def __getitem__(self, i):
            views = {"image": np.full((4, 4, 1), 10 * i, np.uint8)}
            return super().__getitem__(i) | {"views": views}

    def rebuild(batch):
        view = batch["views"]["image"] / np.float32(255)
        return {"recon/image": view / 2, "recon_private/image": view * 0}

    features = ("recon/*", "recon_private/*", "untrained:recon/image")
    evaluators = {"images": reconstruction.Evaluator(features)}
    scoring = make_scoring(evaluators, lengths=False)
    source = Images(lengths=False)
    made = features_lib.Features(
        rebuild, {"test": source}, batch_size=7, baseline=rebuild
    )
    monkeypatch.setattr(scoring, "features", lambda variables: made)
    pictures = pictures_of(scoring)
    assert list(pictures) == [
        "Reconstructions of test samples",
        "Reconstructions of test samples (recon_private)",
    ]
    for figure, share in zip(pictures.values(), (0.5, 0.0), strict=True):
        (panel,) = figure.axes
        pixels = panel.images[0].get_array()[..., 0]
        # A row of inputs and one of outputs, each of seven images of 4 x 4 on a ground.
        assert pixels.shape == (2 * 5 + 1, 7 * 5 + 1)
        shown = np.arange(7) * 10 / 255
        np.testing.assert_allclose(pixels[2, 2::5], shown, atol=1e-6)
        np.testing.assert_allclose(pixels[7, 2::5], share * shown, atol=1e-6)


def test_classes_have_the_names_that_the_data_set_gives(monkeypatch):
    scoring = make_scoring({}, lengths=False, targets=(), labelled=True)
    spec = batch_lib.Spec({}, 2, class_names=("cat", "dog"))
    monkeypatch.setattr(Source, "spec", spec, raising=False)
    labels, names = run_page._labels(scoring.features(None), "test")
    assert names == ("cat", "dog") and set(labels) == {0, 1}
    evaluators = {"leaks": leakage.Evaluator(("shared",), wanted=("shared:label",))}
    scoring = make_scoring(evaluators, lengths=False, targets=(), labelled=True)
    pictures = pictures_of(scoring)
    figure = pictures["shared of test samples by label"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]


def test_scores_without_some_views_are_shown():
    evaluator = missing_views.Evaluator(target="score")
    scoring = make_scoring({"subsets": evaluator}, lengths=False)
    scores = evaluator.run(scoring.features(None))
    figures = pictures_of(scoring, subsets=scores, gone={"test/mae": 1.0})
    assert list(figures)[0] == "Scores without some views (subsets)"
    assert len(figures) == 3  # With both codes.
