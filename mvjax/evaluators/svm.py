"""Support vector machine on features, the published classification protocol of MRDD.

Ten runs, each with a new 80/20 division of one split: default RBF machine (C = 1, gamma
= 1 / (D var X)), accuracy, macro precision and macro F1, rounded to four decimals. The
published runs are unseeded; here run r has the seed `seed + r`.
"""

import dataclasses
from typing import Annotated

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import metrics


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

    features: limits.some(limits.Text) = ("shared",)
    split: limits.Text = "train"
    runs: limits.Runs = 10
    test_share: Annotated[float, limits.Range(above=0, below=1)] = 0.2
    seed: limits.Natural = 0

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/<metric>` and `<expression>/<metric>_std`.

        Raises:
          UserError: A division would leave one side empty.
        """
        from sklearn import model_selection

        labels = features.labels(self.split)
        if not 0 < self.test_share < 1 or len(labels) < 2:
            raise errors.UserError(
                f"Cannot divide the {len(labels)} samples of split {self.split!r} with "
                f"test_share={self.test_share}."
            )
        result = {}
        for expression in self.features:
            rows = features.get(self.split, expression)
            scores = []
            for run in range(self.runs):
                train, test = model_selection.train_test_split(
                    np.arange(len(rows)),
                    test_size=self.test_share,
                    random_state=self.seed + run,
                )
                guess = classify(rows[train], labels[train], rows[test])
                scores.append(metrics.classification_scores(labels[test], guess))
            result.update(metrics.over_runs(expression, scores))
        return result
