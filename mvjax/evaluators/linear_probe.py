"""Linear probe: logistic regression on standardised features.

Few rows are given to scikit-learn, with its tolerance of 1e-4; many are fitted on the device
to 1e-5 of the same objective, see `common/logistic.py`. With `solver=sgd` a few passes over
the rows minimise that objective, whatever their number.
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

SOLVERS = ("lbfgs", "sgd")


def classify(
    rows: np.ndarray,
    labels: np.ndarray,
    test_rows: np.ndarray,
    *,
    strength: float = 1.0,
    steps: int = 300,
    where: str = "auto",
    solver: str = "lbfgs",
    epochs: int = 3,
    rate: float = 0.1,
    batch_size: int = 512,
) -> np.ndarray:
    """Fits multinomial logistic regression and labels the test rows.

    Args:
      rows: Training samples, `[M, D]`; their mean and deviation standardise both sets.
      labels: Their labels, `[M]`, of at least two classes.
      test_rows: Samples to label, `[N, D]`.
      strength: Inverse weight of the L2 penalty (C of scikit-learn).
      steps: Most steps of L-BFGS. Stopping there is part of the protocol, no failure.
      where: "host", "device", or "auto", see `chunks.on_device`; of L-BFGS.
      solver: "lbfgs", or "sgd", which always runs on the device.
      epochs: Of SGD, as the next two.
      rate: Learning rate of the first step.
      batch_size: Rows of a step.

    Returns:
      Predicted labels, `[N]`.

    Raises:
      Insufficient: SGD diverged.
    """
    if solver == "sgd":
        model = logistic.fit_stochastic(
            rows,
            labels,
            strength=strength,
            epochs=epochs,
            rate=rate,
            batch_size=batch_size,
        )
        if not np.isfinite(model.weights).all():
            raise features_lib.Insufficient(
                f"The linear probe diverged; lower its rate, {rate}."
            )
        return model.predict(test_rows)
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
    solver: limits.one_of(*SOLVERS) = "lbfgs"
    epochs: limits.Count = 3  # Of SGD, as the next two.
    rate: limits.Positive = 0.1
    batch_size: limits.Count = 512

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split or feature.
        """
        return probe.check(offer, self.features, train=self.train, test=self.test)

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/accuracy` and `<expression>/accuracy_std`."""
        names = ("strength", "steps", "where", "solver", "epochs", "rate", "batch_size")
        settings = {name: getattr(self, name) for name in names}
        return probe.score_each(self, features, functools.partial(classify, **settings))
