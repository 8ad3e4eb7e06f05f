"""Each subset of views is scored as if the data had no other views."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.evaluators import missing_views
from mvjax.evaluators.common import sentiment_metrics

VIEWS = ("text", "audio", "vision")
WEIGHTS = {"text": 1.0, "audio": 0.5, "vision": 0.25}


class Source:
    """A truth that is a weighted sum of three views; some samples lack audio."""

    def __init__(self, size, *, partly=False):
        rng = np.random.default_rng(size)
        self.views = {v: rng.normal(size=(size, 1)).astype(np.float32) for v in VIEWS}
        self.truth = sum(w * self.views[v][:, 0] for v, w in WEIGHTS.items())
        self.has_audio = np.arange(size) % 3 > 0
        self.partly = partly

    def __len__(self):
        return len(self.truth)

    def __getitem__(self, i):
        record = {
            "views": {view: values[i] for view, values in self.views.items()},
            "label": np.int32(self.truth[i] > 0),
            "index": np.int32(i),
            "targets": {"score": np.float32(self.truth[i])},
        }
        if self.partly:
            audio = np.bool_(self.has_audio[i])
            record["present"] = {
                "text": np.True_,
                "audio": audio,
                "vision": np.True_,
            }
        return record


def predict(batch):
    """The true weights, with zeros for missing views."""
    score = 0
    for view, weight in WEIGHTS.items():
        has = batch.get("present", {}).get(view)
        values = batch["views"][view]
        score = score + weight * (values if has is None else values * has[:, None])
    return {"score": score, "logits": np.concatenate([-score, score], axis=1)}


def heedless(batch):
    """Looks at the views only."""
    return predict({"views": batch["views"]})


def test_subsets_are_all_but_the_empty_one():
    assert ["+".join(s) for s in missing_views.subsets(VIEWS)] == [
        "text",
        "audio",
        "vision",
        "text+audio",
        "text+vision",
        "audio+vision",
        "text+audio+vision",
    ]


@pytest.mark.parametrize("partly", [False, True])
def test_scores_are_those_of_a_plain_loop(make_features, partly):
    source = Source(37, partly=partly)
    features = make_features({"train": Source(12), "test": source}, predict)
    result = missing_views.Evaluator().run(features)
    for subset in missing_views.subsets(VIEWS):
        expected = []
        for i in range(37):
            kept = [
                v
                for v in subset
                if v != "audio"
                or source[i].get("present") is None
                or source.has_audio[i]
            ]
            expected.append(sum(WEIGHTS[v] * source.views[v][i, 0] for v in kept))
        scores = sentiment_metrics.score(
            sentiment_metrics.MOSI, np.array(expected), source.truth
        )
        for name, value in scores.items():
            found = result[f"{'+'.join(subset)}/{name}"]
            assert found == pytest.approx(value, abs=1e-5), (subset, name)
    if not partly:
        assert result["text+audio+vision/mae"] == pytest.approx(0, abs=1e-6)


def test_batches_keep_their_own_present_and_are_not_changed():
    present = {"audio": np.array([True, False])}
    views = {view: np.zeros((2, 1)) for view in VIEWS}
    batch = {"views": views, "present": present}
    changed = missing_views.keep_views(batch, ("audio", "vision"))
    assert {k: list(v) for k, v in changed["present"].items()} == {
        "text": [False, False],
        "audio": [True, False],
        "vision": [True, True],
    }
    assert batch["present"] is present and list(present) == ["audio"]
    assert all(v.dtype == bool for v in changed["present"].values())


def test_changes_have_paired_intervals(make_features):
    features = make_features({"train": Source(12), "test": Source(61)}, predict)
    result = missing_views.Evaluator(draws=40).run(features)
    full = result["text+audio+vision/mae"]
    for subset in ("text", "audio+vision"):
        change = result[f"{subset}/mae_change"]
        assert change == pytest.approx(result[f"{subset}/mae"] - full)
        low, high = (result[f"{subset}/mae_change_{end}"] for end in ("low", "high"))
        assert 0 < low < change < high
    assert not any(k.startswith("text+audio+vision/mae_") for k in result)


def test_views_and_kind_can_be_chosen(make_features):
    features = make_features({"train": Source(12), "test": Source(31)}, predict)
    result = missing_views.Evaluator(views=("vision", "text")).run(features)
    assert {key.split("/")[0] for key in result} == {"text", "vision", "text+vision"}
    # Audio is missing in every row.
    assert result["text+vision/mae"] > 0.1
    result = missing_views.Evaluator("classification").run(features)
    assert result["text+audio+vision/accuracy"] == 1.0 > result["vision/accuracy"]


def test_a_method_that_heeds_no_missing_views_is_refused(make_features):
    features = make_features({"train": Source(12), "test": Source(31)}, heedless)
    with pytest.raises(errors.UserError, match="'score' is the same.*`present`"):
        missing_views.Evaluator().run(features)


def test_a_collapsed_model_is_not_taken_for_a_heedless_one(make_features):
    def collapsed(batch):
        return {"score": np.full((len(batch["label"]), 1), 0.3, np.float32)}

    features = make_features({"train": Source(12), "test": Source(31)}, collapsed)
    result = missing_views.Evaluator().run(features)
    assert result["text/mae"] == result["text+audio+vision/mae"]
    assert np.isfinite(list(result.values())).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": ("sound",)}, "view 'sound'.*audio, text, vision"),
        ({"kind": "sim"}, "kind 'sim'.*'sims'"),
        ({"split": "dev"}, "split 'dev'"),
        ({"target": "valence"}, "target 'valence'.*score"),
        ({"output": "shared"}, "feature 'shared'.*score"),
        ({"output": "logits"}, "'logits' has 2 columns"),
    ],
)
def test_mistakes_are_named(make_features, fields, message):
    features = make_features({"train": Source(12), "test": Source(31)}, predict)
    with pytest.raises(errors.UserError, match=message):
        missing_views.Evaluator(**fields).run(features)


def test_values_that_are_not_finite_are_named(make_features):
    def broken(batch):
        outputs = predict(batch)
        if not batch.get("present", {"text": np.True_})["text"].any():
            outputs["score"] = outputs["score"] / 0.0
        return outputs

    features = make_features({"train": Source(12), "test": Source(31)}, broken)
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        pytest.raises(errors.UserError, match="from audio is NaN or infinite for 31"),
    ):
        missing_views.Evaluator().run(features)


def test_numbered_classes_have_the_names_of_the_other_evaluator():
    class Named:
        def class_names(self, spec):
            return (spec, "house")

    plain = missing_views.Evaluator(of="cover")
    assert plain.bind({"cover": object()}).class_names("road") == ()
    assert plain.bind({"cover": Named()}).class_names("road") == ("road", "house")
