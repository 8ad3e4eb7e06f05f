"""Support vector machine on features, the published classification protocol of MRDD.

Ten runs, each with a new 80/20 division of one split: default RBF machine (C = 1, gamma
= 1 / (D var X)), accuracy, macro precision and macro F1, rounded to four decimals. The
published runs are unseeded; here run r has the seed `seed + r`.
"""

import dataclasses
import math
from typing import Annotated

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import metrics
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import probe


def gamma_scale(rows: np.ndarray) -> float:
    """Width of the RBF kernel for samples `[N, D]`: 1 / (D * variance of all entries).

    The variance is taken in the precision of the samples; constant samples give 1.
    """
    variance = rows.var()
    return float(1.0 / (rows.shape[1] * variance)) if variance else 1.0


def classify(rows: np.ndarray, labels: np.ndarray, test_rows: np.ndarray) -> np.ndarray:
    """Fits on rows `[M, D]` with labels `[M]` and labels the test rows `[N, D]`."""
    from sklearn import svm

    model = svm.SVC(C=1.0, kernel="rbf", gamma=gamma_scale(rows))
    return model.fit(rows, labels).predict(test_rows)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores `accuracy`, `precision` and `f1` for each expression, over `runs` runs."""

    features: limits.Names = ("shared",)
    split: limits.Text = "train"
    runs: limits.Runs = 10
    test_share: Annotated[float, limits.Range(above=0, below=1)] = 0.2
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split or feature, or a share that is none.
        """
        if not 0 < self.test_share < 1:
            raise errors.UserError(
                f"test_share must lie between 0 and 1, not {self.test_share}."
            )
        offer.check_splits(self.split)
        names = []
        for expression in self.features:
            offer.columns(expression)
            with offer.leaving_out(expression):
                offer.check_factor(least=2)
                offer.check_size(self.split, 3, "a division with two classes to fit on")
                names += metrics.names_over_runs(expression, metrics.CLASSIFICATION)
        return names

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/<metric>` and `<expression>/<metric>_std`."""
        labels = features.labels(self.split)
        result = {}
        for expression in self.features:
            rows = features.get(self.split, expression)
            with features.leaving_out(expression):
                scores = [
                    self._scores(rows, labels, self.seed + run)
                    for run in range(self.runs)
                ]
                result.update(metrics.over_runs(expression, scores))
        return result

    def _scores(
        self, rows: np.ndarray, labels: np.ndarray, seed: int
    ) -> dict[str, float]:
        """Scores of one division."""
        from sklearn import model_selection

        most = len(rows) - math.ceil(self.test_share * len(rows))
        if most < 2:
            raise features_lib.Insufficient(
                f"Cannot divide the {len(rows)} samples of split {self.split!r} with "
                f"test_share={self.test_share}: {max(most, 0)} would be left to fit on."
            )
        train, test = model_selection.train_test_split(
            np.arange(len(rows)), test_size=self.test_share, random_state=seed
        )
        probe.refuse_single(labels[train], f"a division of split {self.split!r}")
        guess = classify(rows[train], labels[train], rows[test])
        return metrics.classification_scores(labels[test], guess)
