"""What holds for every evaluator, and what is particular to each."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.evaluators import clustering
from mvjax.evaluators import knn
from mvjax.evaluators import linear_probe
from mvjax.evaluators import reconstruction
from mvjax.evaluators import svm
from mvjax.evaluators.common import probe
from mvjax.evaluators.common import suite

PROTOCOLS = [
    (clustering.Evaluator(("shared", "raw"), runs=3), "acc"),
    (knn.Evaluator(("shared", "raw"), k=3, runs=3), "accuracy"),
    (linear_probe.Evaluator(("shared", "raw"), runs=3), "accuracy"),
    (svm.Evaluator(("shared", "raw"), runs=3), "accuracy"),
]


@pytest.mark.parametrize(("evaluator", "metric"), PROTOCOLS)
def test_codes_that_know_the_classes_beat_pixels(features, evaluator, metric):
    result = evaluator.run(features)
    assert result[f"shared/{metric}"] == 1.0
    assert result[f"shared/{metric}_std"] == 0.0
    assert result[f"raw/{metric}"] < 0.8
    assert result[f"raw/{metric}_std"] > 0.0
    assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize(("evaluator", "metric"), PROTOCOLS)
def test_a_second_run_gives_the_same_numbers(
    features, make_features, make_source, evaluator, metric
):
    again = make_features({"train": make_source(47), "test": make_source(23, seed=1)})
    assert evaluator.run(features) == evaluator.run(again)


@pytest.mark.parametrize(("evaluator", "metric"), PROTOCOLS)
def test_data_without_labels_is_left_out(make_features, make_source, evaluator, metric):
    source = make_source(12, labelled=False)
    features = make_features({"train": source, "test": source})
    found = suite.run({"it": evaluator}, features)
    assert not found.results and not found.failed
    assert "no label for 12 of 12" in found.left_out["it"]


@pytest.mark.parametrize(("evaluator", "metric"), PROTOCOLS[1:])
def test_labels_of_one_class_cannot_be_learned(
    make_features, make_source, evaluator, metric
):
    source = make_source(12)
    source.label[:] = 2
    features = make_features({"train": source, "test": source})
    found = suite.run({"it": evaluator}, features)
    assert not found.results and not found.failed
    assert "needs two classes" in found.left_out["it"]


def test_labels_of_one_class_are_one_cluster(make_features, make_source):
    source = make_source(12)
    source.label[:] = 2
    found = suite.run(
        {"it": clustering.Evaluator(runs=1)}, make_features({"train": source})
    )
    assert found.results["it"]["shared/acc"] == 1.0


def test_equal_samples_make_fewer_clusters_without_a_word(
    make_features, make_source, recwarn
):
    def same(batch):
        return {"shared": np.ones((len(batch["label"]), 2), np.float32)}

    features = make_features({"train": make_source(12)}, same)
    result = clustering.Evaluator(runs=1).run(features)
    assert result["shared/acc"] == pytest.approx(1 / 3, abs=1e-3)
    assert not recwarn.list


def test_one_sample_cannot_be_divided(make_features, make_source):
    for size, share in ((1, 0.2), (3, 0.99)):
        features = make_features({"train": make_source(size)})
        found = suite.run({"it": svm.Evaluator(test_share=share)}, features)
        assert f"Cannot divide the {size} samples" in found.left_out["it"]


def test_each_clustering_run_has_its_own_seed(features):
    three = clustering.Evaluator(("raw",), runs=3, seed=5).run(features)
    single = [
        clustering.Evaluator(("raw",), runs=1, seed=5 + r).run(features)["raw/acc"]
        for r in range(3)
    ]
    assert three["raw/acc"] == pytest.approx(np.mean(single))
    assert three["raw/acc_std"] == pytest.approx(np.std(single))


def test_relabelled_clusters_are_scored_as_a_classification(features):
    result = clustering.Evaluator(runs=1, relabelled=True).run(features)
    assert result["shared/precision"] == result["shared/f1"] == 1.0


def test_more_clusters_than_samples_are_left_out(features):
    found = suite.run({"it": clustering.Evaluator(clusters=100)}, features)
    assert found.left_out == {"it": "Cannot make 100 clusters of 47 samples."}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_match_a_plain_loop(metric):
    rng = np.random.default_rng(0)
    rows, test_rows = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    labels = rng.integers(0, 3, 30)
    a, b = rows, test_rows
    if metric == "cosine":
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    expected = []
    for row in b:
        near = np.argsort(np.linalg.norm(a - row, axis=1))[:5]
        expected.append(np.argmax(np.bincount(labels[near])))
    ours = knn.classify(rows, labels, test_rows, k=5, metric=metric)
    np.testing.assert_array_equal(ours, expected)


def test_knn_refuses_unknown_metrics_and_leaves_out_too_many_neighbours(features):
    with pytest.raises(errors.UserError, match="'cosin'.*Did you mean 'cosine'"):
        knn.Evaluator(metric="cosin").run(features)
    found = suite.run({"it": knn.Evaluator(("shared", "raw"), k=40)}, features)
    assert found.left_out == {"it": "k must lie in 1..38 (samples), not 40."}


def test_linear_probe_ignores_the_scale_of_features():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(40, 3)), np.arange(40) % 2
    rows[:, 0] += 3 * labels
    scale = np.array([1e-3, 1.0, 1e3])
    np.testing.assert_array_equal(
        linear_probe.classify(rows, labels, rows),
        linear_probe.classify(rows * scale, labels, rows * scale),
    )


def test_probe_subsets_are_seeded_and_whole_for_one():
    np.testing.assert_array_equal(probe.subset(5, 1, 0), np.arange(5))
    first, second = probe.subset(50, 0.8, 0), probe.subset(50, 0.8, 1)
    assert len(np.unique(first)) == 40
    assert set(first) != set(second)
    with pytest.raises(errors.UserError, match="share"):
        probe.subset(5, 0, 0)


def test_reconstruction_is_the_mean_over_all_values(features, make_source):
    result = reconstruction.Evaluator().run(features)
    assert list(result) == ["recon/b/mse", "recon/a/mse"]
    assert result["recon/a/mse"] == pytest.approx(0.25, rel=1e-5)
    truth = np.mean(make_source(23, seed=1).b ** 2)
    assert result["recon/b/mse"] == pytest.approx(truth, rel=1e-5)


def test_reconstruction_leaves_out_samples_that_lack_the_view(
    make_features, make_source
):
    def shifted(batch):
        a = batch["views"]["a"].astype(np.float32) / 255
        error = np.where(batch["present"]["a"], 1.0, 9.0)[:, None, None, None]
        return {"recon/a": a + error}

    source = make_source(12, present=np.arange(12) % 3 == 0)
    result = reconstruction.Evaluator().run(make_features({"test": source}, shifted))
    assert result["recon/a/mse"] == pytest.approx(1.0, rel=1e-5)


def test_a_view_that_no_sample_has_is_left_out(make_features, make_source):
    source = make_source(12, present=np.zeros(12, bool))
    found = suite.run(
        {"it": reconstruction.Evaluator()}, make_features({"test": source})
    )
    assert list(found.results["it"]) == ["recon/b/mse"]
    assert list(found.left_out) == ["it/recon/a"]


def test_reconstruction_of_the_baseline_and_of_what_is_no_view(features):
    result = reconstruction.Evaluator(("recon/a", "untrained:recon/a")).run(features)
    assert set(result) == {"recon/a/mse", "untrained:recon/a/mse"}
    with pytest.raises(errors.UserError, match="shared"):
        reconstruction.Evaluator(("shared",)).run(features)
    with pytest.raises(errors.UserError, match=r"shape \(2,\).*\(4, 4, 1\)"):
        reconstruction.Evaluator(("private/a",)).run(features)
