"""What the probes share: fit on parts of one split, score on another.

A single fit says nothing about its own spread, so each run fits on a random share of
the training split; the test split stays whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import metrics
from mvjax.evaluators.common import offer as offer_lib

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


def check(
    offer: offer_lib.Offer,
    expressions: Sequence[str],
    *,
    train: str,
    test: str,
    share: float = 1.0,
    neighbours: int = 0,
) -> list[str]:
    """Checks the settings that the probes share; returns the names of their scores.

    Raises:
      UserError: Unknown split or feature.
    """
    offer.check_splits(train, test)
    names = []
    for expression in expressions:
        offer.columns(expression)
        with offer.leaving_out(expression):
            offer.check_factor(least=2)
            offer.check_size(train, neighbours, f"{neighbours} neighbours", share=share)
            names += metrics.names_over_runs(expression, ["accuracy"])
    return names


def refuse_single(classes: np.ndarray, where: str) -> None:
    """Raises `Insufficient` unless there are two classes, `[N]`, to tell apart."""
    if len(np.unique(classes)) < 2:
        raise features_lib.Insufficient(
            f"A classifier needs two classes; {len(classes)} samples of {where} have one."
        )


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
      Insufficient: A fit would see fewer than two classes.
    """
    rows, labels = features.get(train, expression), features.labels(train)
    test_rows, test_labels = features.get(test, expression), features.labels(test)
    scores = []
    for run in range(runs):
        chosen = subset(len(rows), share, seed + run)
        refuse_single(labels[chosen], f"split {train!r}")
        guess = classify(rows[chosen], labels[chosen], test_rows)
        scores.append({"accuracy": metrics.accuracy(test_labels, guess)})
    return metrics.over_runs(expression, scores)


def score_each(
    evaluator: Any, features: features_lib.Features, classify: Classify
) -> dict[str, float]:
    """`score` of each expression that an evaluator names, those left out that must be.

    Args:
      evaluator: With the fields `features`, `train`, `test`, `runs`, `share`, `seed`.
      features: Of the run.
      classify: See `score`.
    """
    result = {}
    for expression in evaluator.features:
        with features.leaving_out(expression):
            result |= score(
                features,
                expression,
                classify,
                train=evaluator.train,
                test=evaluator.test,
                runs=evaluator.runs,
                share=evaluator.share,
                seed=evaluator.seed,
            )
    return result
