"""Nearest-neighbour classification: the labels of the k closest training samples.

Few rows are given to scikit-learn; many are compared on the device, see
`common/nearest.py`, with the same answer.
"""

import dataclasses
import functools

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import chunks
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import nearest
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import probe

METRICS = ("cosine", "euclidean")


def classify(
    rows: np.ndarray,
    labels: np.ndarray,
    test_rows: np.ndarray,
    *,
    k: int,
    metric: str,
    where: str = "auto",
) -> np.ndarray:
    """Majority vote of the k nearest rows; among equals the smallest label wins.

    Args:
      rows: Training samples, `[M, D]`.
      labels: Their labels, `[M]`.
      test_rows: Samples to label, `[N, D]`.
      k: Neighbours that vote.
      metric: `"cosine"` or `"euclidean"`.
      where: "host", "device", or "auto", see `chunks.on_device`.

    Returns:
      Predicted labels, `[N]`.

    Raises:
      UserError: Unknown metric, or, as `Insufficient`, k larger than the training set.
    """
    if metric not in METRICS:
        raise errors.unknown("metric", metric, METRICS)
    if not 1 <= k <= len(rows):
        raise features_lib.Insufficient(
            f"k must lie in 1..{len(rows)} (samples), not {k}."
        )
    if chunks.on_device(where, rows):
        return nearest.vote(labels[nearest.find(rows, test_rows, k=k, metric=metric)])
    from sklearn import neighbors

    model = neighbors.KNeighborsClassifier(k, metric=metric, algorithm="brute")
    return model.fit(rows, labels).predict(test_rows)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Accuracy on `test` of neighbours in `train`, for each expression."""

    features: limits.Names = ("shared",)
    train: limits.Text = "train"
    test: limits.Text = "test"
    k: limits.Count = 10
    metric: limits.one_of(*METRICS) = "cosine"
    runs: limits.Runs = 5
    share: limits.Part = 0.8  # Part of the training split that a run uses.
    seed: limits.Natural = 0
    where: limits.one_of(*chunks.WHERE) = "auto"  # "auto": many rows on the device.

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, feature or metric.
        """
        if self.metric not in METRICS:
            raise errors.unknown("metric", self.metric, METRICS)
        return probe.check(
            offer,
            self.features,
            train=self.train,
            test=self.test,
            share=self.share,
            neighbours=self.k,
        )

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/accuracy` and `<expression>/accuracy_std`."""
        settings = dict(k=self.k, metric=self.metric, where=self.where)
        return probe.score_each(self, features, functools.partial(classify, **settings))
