import itertools

import numpy as np
import pytest

from mvjax.evaluators.common import metrics


def pair(seed, size=60, labels=4, clusters=4):
    rng = np.random.default_rng(seed)
    return rng.integers(0, labels, size), rng.integers(0, clusters, size)


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_the_best_of_all_namings(seed):
    labels, clusters = pair(seed)
    best = max(
        np.mean(np.array(names)[clusters] == labels)
        for names in itertools.permutations(range(4))
    )
    assert metrics.clustering_accuracy(labels, clusters) == pytest.approx(best)


def test_scores_ignore_the_names_of_clusters():
    labels, _ = pair(0)
    renamed = np.array([2, 3, 1, 0])[labels]
    scores = metrics.clustering_scores(labels, renamed)
    assert scores == {"acc": 1.0, "nmi": 1.0, "ari": 1.0}
    np.testing.assert_array_equal(metrics.munkres_relabel(labels, renamed + 5), labels)


def test_relabelling_reaches_the_clustering_accuracy():
    labels, clusters = pair(1, labels=5, clusters=3)
    named = metrics.munkres_relabel(labels, clusters)
    assert metrics.accuracy(labels, named) == pytest.approx(
        metrics.clustering_accuracy(labels, clusters)
    )


def test_macro_scores_match_a_plain_loop():
    labels, guess = pair(2)
    guess[guess == 3] = 0  # One class is never predicted.
    precision, f1 = [], []
    for k in range(4):
        hit = np.sum((labels == k) & (guess == k))
        precision.append(hit / max(1, np.sum(guess == k)))
        f1.append(2 * hit / (np.sum(guess == k) + np.sum(labels == k)))
    assert metrics.macro_precision(labels, guess) == pytest.approx(np.mean(precision))
    assert metrics.macro_f1(labels, guess) == pytest.approx(np.mean(f1))


def test_scores_of_a_run_have_four_decimals():
    scores = metrics.clustering_scores(*pair(3)) | metrics.classification_scores(
        *pair(3)
    )
    assert all(score == round(score, 4) for score in scores.values())


def test_over_runs_takes_the_population_deviation():
    assert metrics.over_runs("shared", [{"acc": 0.0}, {"acc": 1.0}]) == {
        "shared/acc": 0.5,
        "shared/acc_std": 0.5,
    }


def test_vectors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        metrics.clustering_accuracy(np.zeros(3), np.zeros(4))
