"""Scores of clusterings and classifications, as the published evaluation takes them.

`labels` are the truth and `clusters` or `predictions` the guess, `[N]` integers. The
published scripts round every score of a run to four decimals before they average;
`clustering_scores` and `classification_scores` do so, the single functions do not.
"""

from collections.abc import Sequence

import numpy as np

DECIMALS = 4
CLUSTERING = ("acc", "nmi", "ari")
CLASSIFICATION = ("accuracy", "precision", "f1")


def contingency(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Counts samples by label and cluster, `[D, D]` with D = largest number + 1."""
    labels = np.asarray(labels, np.int64)
    clusters = np.asarray(clusters, np.int64)
    if labels.shape != clusters.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"labels {labels.shape} and clusters {clusters.shape} must be two equally "
            "long vectors"
        )
    size = int(max(labels.max(), clusters.max())) + 1
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (labels, clusters), 1)
    return counts


def clustering_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Share of samples that the best one-to-one naming of clusters gets right."""
    from scipy import optimize

    counts = contingency(labels, clusters)
    rows, columns = optimize.linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(labels))


def nmi(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Mutual information over the arithmetic mean of both entropies."""
    from sklearn import metrics

    return float(
        metrics.normalized_mutual_info_score(
            labels, clusters, average_method="arithmetic"
        )
    )


def ari(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Rand index adjusted for chance."""
    from sklearn import metrics

    return float(metrics.adjusted_rand_score(labels, clusters))


def munkres_relabel(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Renames clusters to the labels that they match best, one to one.

    `cost[j, i] = column_sum_j - C[i, j]` of the confusion matrix C (label i, cluster j)
    is minimised; clusters are shifted to start at 0 first. Where labels and clusters
    differ in number, C is filled up with zeros to a square; there the published code
    fails.

    Returns:
      The new names, `[N]` integers.
    """
    from scipy import optimize

    clusters = np.asarray(clusters) - np.min(clusters)
    counts = contingency(labels, clusters)
    cost = counts.sum(axis=0)[:, None] - counts.T  # [cluster, label]
    _, names = optimize.linear_sum_assignment(cost)
    return names[clusters]


def accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of equal entries."""
    return float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def macro_precision(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Precision averaged over the classes; 0 for a class that is never predicted."""
    from sklearn import metrics

    return float(
        metrics.precision_score(labels, predictions, average="macro", zero_division=0)
    )


def macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """F1 score averaged over the classes; 0 for a class without any hit."""
    from sklearn import metrics

    return float(
        metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    )


def clustering_scores(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """`acc`, `nmi` and `ari` of one run, rounded to four decimals."""
    scores = {
        "acc": clustering_accuracy(labels, clusters),
        "nmi": nmi(labels, clusters),
        "ari": ari(labels, clusters),
    }
    return {name: round(score, DECIMALS) for name, score in scores.items()}


def classification_scores(
    labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """`accuracy`, macro `precision` and macro `f1` of one run, four decimals."""
    scores = {
        "accuracy": accuracy(labels, predictions),
        "precision": macro_precision(labels, predictions),
        "f1": macro_f1(labels, predictions),
    }
    return {name: round(score, DECIMALS) for name, score in scores.items()}


def over_runs(expression: str, runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean and population standard deviation of scores over runs.

    Returns:
      `{"<expression>/<metric>": mean, "<expression>/<metric>_std": deviation}`.
    """
    result = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs], np.float64)
        result[f"{expression}/{name}"] = float(values.mean())
        result[f"{expression}/{name}_std"] = float(values.std())
    return result


def names_over_runs(expression: str, names: Sequence[str]) -> list[str]:
    """The names that `over_runs` gives scores of these names."""
    return [f"{expression}/{name}{end}" for name in names for end in ("", "_std")]
