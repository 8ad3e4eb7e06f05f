"""The evaluators of a config: made by name, checked, run as far as the data allow."""

import dataclasses
import json

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import clustering
from mvjax.evaluators import knn
from mvjax.evaluators import leakage
from mvjax.evaluators import linear_probe
from mvjax.evaluators import missing_views
from mvjax.evaluators import reconstruction
from mvjax.evaluators import retrieval
from mvjax.evaluators import sentiment
from mvjax.evaluators import svm
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import suite

EVALS = {
    "near": {"name": "knn", "features": ("shared",), "every_epochs": 1},
    "pixels": {"name": "reconstruction", "features": ("recon/*",), "every_epochs": 0},
}
VIEWS = {
    "b": batch_lib.ViewSpec((5,), "float32", -9.0, 9.0),
    "a": batch_lib.ViewSpec((4, 4, 1), "uint8", 0, 255),
}
OUTPUTS = {
    **{"private/a": (2,), "private/b": (1,), "recon/a": (4, 4, 1), "recon/b": (5,)},
    **{"shared": (3,), "score": (1,), "logits": (3,), "nothing": (0,)},
}
SIZES = {"train": 47, "test": 23}


def make_offer(*, classes=3, factors=None, sizes=SIZES):
    targets = {"score": batch_lib.TargetSpec(low=-3.0, high=3.0)}
    spec = batch_lib.Spec(VIEWS, classes, factors or {}, targets)
    return offer_lib.Offer(spec, ("train", "test"), OUTPUTS, sizes)


def model(predict):
    """`predict` with the outputs that evaluators of sentiment look for."""

    def more(batch):
        b, found = batch["views"]["b"], predict(batch)
        has = batch.get("present", {}).get("b", np.ones(len(b), bool))
        score = b[:, :1] * has[:, None]
        return found | {"score": score, "logits": found["shared"] + score}

    return more


class Scored:
    """Records of another source with a target."""

    def __init__(self, source):
        self._source = source

    def __len__(self):
        return len(self._source)

    def __getitem__(self, i):
        record = self._source[i]
        score = np.float32(record["views"]["b"][0] + np.sin(i))
        return record | {"targets": {"score": score}}


@pytest.fixture
def both(make_features, make_source):
    """Features of the data set and the model that `make_offer` describes."""
    from tests.evaluators import conftest

    sources = {"train": make_source(47), "test": make_source(23, seed=1)}
    sources = {split: Scored(source) for split, source in sources.items()}
    base = model(conftest.baseline)
    return make_features(sources, model(conftest.predict), baseline=base)


EVALUATORS = [
    clustering.Evaluator(("shared", "raw"), runs=2, relabelled=True),
    knn.Evaluator(("shared+private/*", "untrained:shared"), k=3, runs=2),
    linear_probe.Evaluator(("raw/a",), runs=2),
    svm.Evaluator(runs=2),
    leakage.Evaluator(("shared", "private/a", "raw"), probes=("knn", "logistic")),
    leakage.Evaluator(("shared", "private/a"), wanted=("shared:label",)),
    retrieval.Evaluator(ks=(1, 3), cross=("shared>logits",)),
    reconstruction.Evaluator(("recon/*", "untrained:recon/a")),
    sentiment.Evaluator(draws=5),
    sentiment.Evaluator("classification", splits=("test", "train"), intervals=("f1",)),
    missing_views.Evaluator(draws=5),
    missing_views.Evaluator("classification"),
]


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda e: type(e).__module__[17:])
def test_a_check_names_exactly_the_scores_that_come(both, evaluator):
    offer = make_offer()
    names = list(evaluator.check(offer))
    assert len(set(names)) == len(names)
    assert set(names) == set(evaluator.run(both))
    assert not offer.left_out and not both.left_out


@pytest.mark.parametrize(
    ("evals", "message"),
    [
        ({"features": ("shard",)}, "config.evals.it: .*feature 'shard'.*'shared'"),
        ({"features": ("nothing",)}, "'nothing' has no columns"),
        ({"features": ()}, "config.evals.it.features is .* must not be empty"),
        ({"train": "tarin"}, "split 'tarin'.*Did you mean 'train'"),
        ({"metric": "cosin"}, "metric 'cosin'. Did you mean 'cosine'"),
        ({"name": "clustering", "init": "kmeans"}, "init 'kmeans'.*k-means"),
        ({"name": "clustering", "split": "valid"}, "split 'valid'"),
        (
            {"name": "svm", "test_share": 1.5},
            "test_share is 1.5; it must be above 0 and below 1",
        ),
        ({"name": "linear_probe", "test": "dev"}, "split 'dev'"),
        ({"name": "leakage", "probes": ("logistik",)}, "Did you mean 'logistic'"),
        ({"name": "leakage", "factors": ("hue",)}, "factor 'hue'.*label"),
        ({"name": "leakage", "wanted": ("shared:hue",)}, "wanted pair"),
        ({"name": "retrieval", "metric": "l2"}, "metric 'l2'"),
        ({"name": "retrieval", "cross": ("shared>raw",)}, "width 3 .* width 21"),
        ({"name": "retrieval", "ks": (0,)}, "must be at least 1"),
        ({"name": "reconstruction", "features": ("shared",)}, "'shared'"),
        ({"name": "reconstruction", "features": ("private/a",)}, r"shape \(2,\)"),
        ({"name": "sentiment", "kind": "mosei"}, "Did you mean 'mosi'"),
        ({"name": "sentiment", "target": "valence"}, "target 'valence'.*score"),
        ({"name": "sentiment", "output": "logits"}, "'logits' has 3 columns"),
        ({"name": "sentiment", "intervals": ("mea",)}, "metric 'mea'"),
        ({"name": "sentiment", "splits": ("dev",)}, "split 'dev'"),
        ({"name": "missing_views", "views": ("c",)}, "view 'c'.*a, b"),
        ({"name": "missing_views", "split": "dev"}, "split 'dev'"),
    ],
)
def test_settings_are_checked_before_anything_is_computed(evals, message):
    with pytest.raises(errors.UserError, match=message):
        suite.check(suite.make({"it": {"name": "knn", **evals}}), make_offer())


@pytest.mark.parametrize(
    ("offer", "evals", "left_out"),
    [
        ({"classes": None}, {}, {"it": "no labels"}),
        ({"classes": 1}, {}, {"it": "1 class"}),
        ({"sizes": {"train": 5}}, {"k": 5}, {"it": "of which 4 are used"}),
        ({}, {"k": 38}, {}),
        ({}, {"k": 39}, {"it": "47 samples, of which 38 are used: too few"}),
        ({"sizes": {}}, {"k": 1000}, {}),
        ({}, {"name": "clustering", "clusters": 48}, {"it": "48 clusters"}),
        (
            {"factors": {"hue": 1, "form": 2}},
            {"name": "leakage", "baseline": False},
            {"it/shared/hue": "1 class of factor 'hue'"},
        ),
        ({}, {"name": "retrieval"}, {}),
        (
            {},
            {"name": "retrieval", "gallery_limit": 9},
            {"it/shared/label/precision@10": "1..9 (gallery), not 10"},
        ),
    ],
)
def test_what_the_data_will_not_give_is_known_before(offer, evals, left_out):
    made = suite.make({"it": {"name": "knn", **evals}})
    names, found = suite.check(made, make_offer(**offer))
    assert list(found) == list(left_out)
    for name, reason in left_out.items():
        assert reason in found[name]
    assert bool(names["it"]) == ("it" not in left_out)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """A user's own, without a check."""

    breaks: bool = True

    def run(self, features):
        if self.breaks:
            raise ValueError("x is wrong\nand more")
        return {"half": np.float32(0.5)}


def test_an_evaluator_that_fails_keeps_no_other_back(features, capsys):
    evaluators = {"mine": Evaluator()} | suite.make(EVALS)
    assert suite.check({"mine": Evaluator()}, make_offer()) == ({"mine": None}, {})
    found = suite.run(evaluators, features)
    assert list(found.results) == ["near", "pixels"]
    assert found.failed == {"mine": "ValueError: x is wrong"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "mvjax: warning: evaluation 'mine' failed: ValueError: x is wrong"


def test_scores_of_any_number_type_can_be_written(features):
    found = suite.run({"mine": Evaluator(breaks=False)}, features)
    assert json.dumps(found.results) == '{"mine": {"half": 0.5}}'
    nothing = dataclasses.make_dataclass("Nothing", [], namespace={"run": lambda *_: 1})
    assert "mine" in suite.run({"mine": nothing()}, features).failed


def test_what_is_not_finite_fails_that_evaluator_alone(make_features, make_source):
    def broken(batch):
        bad = np.full((len(batch["label"]), 2), np.nan, np.float32)
        return {"shared": bad, "recon/b": batch["views"]["b"]}

    sources = {split: make_source(12) for split in ("train", "test")}
    found = suite.run(suite.make(EVALS), make_features(sources, broken))
    assert list(found.results) == ["pixels"]
    assert found.failed["near"].startswith("Feature 'shared' of split 'train' is NaN")


def test_the_pause_between_evaluators_can_end_the_evaluation(features):
    calls = []

    def between():
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        suite.run(suite.make(EVALS), features, between=between)


def test_without_labels_the_other_evaluations_still_run(
    make_features, make_source, capsys
):
    sources = {split: make_source(12, labelled=False) for split in ("train", "test")}
    found = suite.run(suite.make(EVALS), make_features(sources))
    assert list(found.results) == ["pixels"]
    assert np.isfinite(list(found.results["pixels"].values())).all()
    (line,) = capsys.readouterr().err.splitlines()
    assert "'near' is left out" in line and "no label for 12 of 12" in line


def test_a_single_missing_label_leaves_an_evaluation_out(make_features, make_source):
    sources = {split: make_source(12) for split in ("train", "test")}
    sources["train"].label[5] = -1
    found = suite.run(suite.make(EVALS), make_features(sources))
    assert list(found.results) == ["pixels"]
    assert "no label for 1 of 12" in found.left_out["near"]


def test_an_expression_that_cannot_be_scored_keeps_no_other_back(
    make_features, make_source, capsys
):
    @dataclasses.dataclass(frozen=True)
    class Half:
        def run(self, features):
            for name in ("good", "bad", "worse"):
                with features.leaving_out(name):
                    if name != "good":
                        raise features_lib.Insufficient("too few")
            return {"good/x": 1.0}

    found = suite.run({"it": Half()}, make_features({"train": make_source(3)}))
    assert found.results == {"it": {"good/x": 1.0}}
    assert found.left_out == {"it/bad": "too few", "it/worse": "too few"}
    (line,) = capsys.readouterr().err.splitlines()
    assert "evaluation 'it/bad', 'it/worse' are left out: too few" in line


def test_with_labels_all_run_and_none_is_warned_of(features, capsys):
    found = suite.run(suite.make(EVALS), features)
    assert sorted(found.results) == ["near", "pixels"]
    assert not found.left_out and not found.failed
    assert not capsys.readouterr().err


def test_unknown_names_and_fields_are_refused():
    with pytest.raises(errors.UserError, match="'knm'. Did you mean 'knn'"):
        suite.make({"near": {"name": "knm"}})
    with pytest.raises(errors.UserError, match="config.evals.near 'kk'"):
        suite.make({"near": {"name": "knn", "kk": 3}})
    with pytest.raises(errors.UserError, match="config.evals.near lacks a name.*knn"):
        suite.make({"near": {"k": 3}})


@pytest.mark.filterwarnings("error")
def test_collapsed_codes_and_classes_of_one_sample_are_scored_without_a_warning(
    make_features, make_source
):
    sources = {split: make_source(40) for split in ("train", "test")}
    for source in sources.values():
        source.label = np.arange(40, dtype=np.int32)

    def collapsed(batch):
        return {"shared": np.ones((len(batch["label"]), 3), np.float32)}

    names = ("clustering", "knn", "linear_probe", "leakage", "svm")
    evals = {name: {"name": name, "features": ("shared",)} for name in names}
    evals["clustering"]["runs"] = evals["svm"]["runs"] = 1
    evals["leakage"] |= {"baseline": False, "probes": ("logistic", "knn", "mlp")}
    found = suite.run(suite.make(evals), make_features(sources, collapsed))
    assert found.results["clustering"]["shared/acc"] == pytest.approx(1 / 40)
    assert set(found.results) == set(names)
