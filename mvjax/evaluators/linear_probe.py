"""Linear probe: logistic regression on standardised features.

Few rows are given to scikit-learn; many are fitted on the device by the same solver with
the same objective, see `common/logistic.py`.
"""

import dataclasses
import functools
import warnings

import numpy as np

from mvjax.core import limits
from mvjax.evaluators.common import chunks
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import logistic
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import probe


def classify(
    rows: np.ndarray,
    labels: np.ndarray,
    test_rows: np.ndarray,
    *,
    strength: float = 1.0,
    steps: int = 300,
    where: str = "auto",
) -> np.ndarray:
    """Fits multinomial logistic regression and labels the test rows.

    Args:
      rows: Training samples, `[M, D]`; their mean and deviation standardise both sets.
      labels: Their labels, `[M]`, of at least two classes.
      test_rows: Samples to label, `[N, D]`.
      strength: Inverse weight of the L2 penalty (C of scikit-learn).
      steps: Most steps of L-BFGS. Stopping there is part of the protocol, no failure.
      where: "host", "device", or "auto", see `chunks.on_device`.

    Returns:
      Predicted labels, `[N]`.
    """
    if chunks.on_device(where, rows):
        model = logistic.fit(rows, labels, strength=strength, steps=steps)
        return model.predict(test_rows)
    from sklearn import exceptions
    from sklearn import linear_model
    from sklearn import preprocessing

    scaler = preprocessing.StandardScaler().fit(rows)
    model = linear_model.LogisticRegression(C=strength, max_iter=steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(scaler.transform(rows), labels)
    return model.predict(scaler.transform(test_rows))


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Accuracy on `test` of a linear classifier fitted on `train`."""

    features: limits.Names = ("shared",)
    train: limits.Text = "train"
    test: limits.Text = "test"
    strength: limits.Positive = 1.0
    steps: limits.Count = 300
    runs: limits.Runs = 5
    share: limits.Part = 0.8  # Part of the training split that a run fits on.
    seed: limits.Natural = 0
    where: limits.one_of(*chunks.WHERE) = "auto"  # "auto": many rows on the device.

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split or feature.
        """
        return probe.check(offer, self.features, train=self.train, test=self.test)

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/accuracy` and `<expression>/accuracy_std`."""
        settings = dict(strength=self.strength, steps=self.steps, where=self.where)
        return probe.score_each(self, features, functools.partial(classify, **settings))
