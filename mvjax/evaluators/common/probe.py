"""What the probes share: fit on parts of one split, score on another.

A single fit says nothing about its own spread, so each run fits on a random share of
the training split; the test split stays whole.
"""

from collections.abc import Callable

import numpy as np

from mvjax.core import errors
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import metrics

# (training rows [M, D], training labels [M], test rows [N, D]) -> predictions [N]
Classify = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def subset(size: int, share: float, seed: int) -> np.ndarray:
    """Positions of a random share of `size` samples; all of them, in order, for 1."""
    if not 0 < share <= 1:
        raise errors.UserError(f"share must lie in (0, 1], not {share}.")
    if share == 1:
        return np.arange(size)
    count = max(1, round(share * size))
    return np.sort(np.random.default_rng(seed).permutation(size)[:count])


def score(
    features: features_lib.Features,
    expression: str,
    classify: Classify,
    *,
    train: str,
    test: str,
    runs: int,
    share: float,
    seed: int,
) -> dict[str, float]:
    """Accuracy of a classifier over `runs` fits with seeds `seed`, `seed + 1`, ...

    Returns:
      `<expression>/accuracy` and `<expression>/accuracy_std`.

    Raises:
      UserError: A fit would see fewer than two classes.
    """
    rows, labels = features.get(train, expression), features.labels(train)
    test_rows, test_labels = features.get(test, expression), features.labels(test)
    scores = []
    for run in range(runs):
        chosen = subset(len(rows), share, seed + run)
        if len(np.unique(labels[chosen])) < 2:
            raise errors.UserError(
                f"A probe needs two classes; {len(chosen)} samples of split {train!r} "
                "have one."
            )
        guess = classify(rows[chosen], labels[chosen], test_rows)
        scores.append({"accuracy": metrics.accuracy(test_labels, guess)})
    return metrics.over_runs(expression, scores)
