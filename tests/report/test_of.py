"""Pictures by evaluator: found by name, of what the evaluator counts."""

import ast
import inspect
import pathlib
import re

import numpy as np
import pytest

from mvjax.core import lookup
from mvjax.data import batch as batch_lib
from mvjax.evaluators import classification
from mvjax.evaluators import multilabel
from mvjax.evaluators import segmentation
from mvjax.evaluators.common import measured
from mvjax.report import of
from mvjax.report import splits
from tests.evaluators import dense
from tests.evaluators import test_multilabel


def draw(name, evaluator, features):
    scores = measured.run(evaluator, features)
    return of.find(name).pictures("it", evaluator, scores, features, None)


def test_every_page_is_of_an_evaluator_and_others_have_none():
    found = [name for name in lookup.available("report.of")]
    assert set(found) <= set(lookup.available("evaluators"))
    for name in found:
        names = inspect.signature(of.find(name).pictures).parameters
        assert list(names) == ["label", "evaluator", "scores", "features", "samples"]
    assert of.find("svm") is None and of.find("a.users.own") is None


def test_nothing_else_of_the_report_knows_an_evaluator_or_a_split():
    folder = pathlib.Path(of.__file__).parents[1]
    names = "|".join(lookup.available("evaluators"))
    # In `plots.py` it is written beside a row of images.
    allowed = {"splits.py": {"train"}, "plots.py": {"reconstruction"}}
    for path in folder.glob("*.py"):
        text = path.read_text()
        assert not re.search(rf"evaluators(\.| import )({names})\b", text), path
        tree = ast.parse(text)
        written = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)
        ]
        docs = [
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        ]
        known = [w for w in written if isinstance(w, str) and w not in docs]
        known = [w for w in known if re.search(rf"^({names})$|\b(test|train)\b", w)]
        assert set(known) == allowed.get(path.name, set()), path


def test_a_confusion_matrix_shows_the_shares_of_each_class():
    features = dense.make()
    made = draw("classification", classification.Evaluator("mean", ks=(1,)), features)
    (figure,) = made.values()
    guess = features.get("test", "mean").argmax(1)
    truth = features.labels("test")
    texts = [int(text.get_text()) for text in figure.axes[0].texts]
    expected = [
        round(100 * np.mean(guess[truth == row] == column))
        for row in range(dense.CLASSES)
        for column in range(dense.CLASSES)
    ]
    assert texts == expected


def test_labels_have_a_bar_each(make_labels):
    (figure,) = draw("multilabel", multilabel.Evaluator(), make_labels).values()
    assert len(figure.axes[0].patches) == 5
    assert figure.axes[0].patches[-1].get_height() == 0  # No sample has that label.
    texts = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert texts == ["0", "1", "2", "3", "4"]


def test_labels_have_their_names(make_labels, monkeypatch):
    names = ("Pastures", "Salines", "Rice fields", "Airports", "Estuaries")
    spec = batch_lib.Spec({}, None, target_names={"labels": names})
    monkeypatch.setattr(test_multilabel.Source, "spec", spec, raising=False)
    (figure,) = draw("multilabel", multilabel.Evaluator(), make_labels).values()
    texts = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert texts == list(names)


@pytest.fixture
def make_labels():
    from mvjax.evaluators.common import features as features_lib

    source = test_multilabel.Source(83)
    return features_lib.Features(
        test_multilabel.predict, {"train": source, "test": source}, batch_size=10
    )


def test_maps_stand_beside_their_images():
    features = dense.make()
    evaluator = segmentation.Evaluator()
    bars, maps = draw("segmentation", evaluator, features).values()
    assert len(bars.axes[0].patches) == dense.CLASSES
    assert len(maps.axes) == 6 * 3  # Image, truth and guess.
    source = dense.Source(37)
    truth = maps.axes[4].images[0].get_array()  # Of the second image.
    np.testing.assert_array_equal(truth.mask, source.mask[1] == 255)
    guess = maps.axes[5].images[0].get_array()
    np.testing.assert_array_equal(guess, dense.logits(source.image[1]).argmax(-1))


def test_the_first_split_that_is_not_train_is_shown(make_labels):
    assert splits.shown(make_labels) == "test"
    assert splits.shown(dense.make()) == "test"
    make_labels._sources = {"train": 0}
    assert splits.shown(make_labels) == "train"
    make_labels._sources = {"train": 0, "valid": 0, "test": 0}
    assert splits.shown(make_labels) == "valid"
