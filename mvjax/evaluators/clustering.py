"""K-means on features: how well do the clusters match the labels?

The published protocol of MRDD: ten runs with one k-means++ start each on the training
split, every score rounded to four decimals, then mean and population deviation. Its
validation during training is `runs=1, n_init=10, seed=42, split="test",
relabelled=True`. Unlike there, runs are seeded and a failure is an error.
"""

import dataclasses
import warnings

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import metrics
from mvjax.evaluators.common import offer as offer_lib

INITS = ("k-means++", "random")
_SMALL = 2**20  # Values that one thread clusters as fast as many.


def k_means(
    rows: np.ndarray,
    clusters: int,
    *,
    init: str | np.ndarray = "k-means++",
    n_init: int = 1,
    seed: int = 0,
    tolerance: float = 1e-4,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Lloyd's k-means.

    Args:
      rows: Samples, `[N, D]`.
      clusters: Number of clusters K.
      init: `"k-means++"`, `"random"` or the first centres, `[K, D]`.
      n_init: Starts, of which the best is taken; 1 with given centres.
      seed: Seed of the starts.
      tolerance: Movement of the centres, relative to the variance, that ends a run; 0
        runs until no sample changes its cluster.

    Returns:
      Clusters `[N]`, centres `[K, D]`, sum of squared distances.

    Raises:
      Insufficient: There are fewer samples than clusters.
    """
    from sklearn import cluster
    from sklearn import exceptions
    import threadpoolctl

    if len(rows) < clusters:
        raise features_lib.Insufficient(
            f"Cannot make {clusters} clusters of {len(rows)} samples."
        )
    model = cluster.KMeans(
        clusters, init=init, n_init=n_init, random_state=seed, tol=tolerance
    )
    # Threads wait in busy loops; on small data and shared cores that is all they do.
    threads = 1 if rows.size < _SMALL else None
    with threadpoolctl.threadpool_limits(threads), warnings.catch_warnings():
        # Equal samples make fewer clusters, which is what the scores then tell.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(rows)
    return model.labels_, model.cluster_centers_, float(model.inertia_)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores `acc`, `nmi`, `ari` for each expression, over `runs` runs.

    Run r has the seed `seed + r`.
    """

    features: limits.Names = ("shared",)
    split: limits.Text = "train"
    runs: limits.Runs = 10
    clusters: limits.Count | None = None  # None: as many as there are distinct labels.
    init: limits.one_of("k-means++", "random") = "k-means++"
    n_init: limits.Runs = 1
    seed: limits.Natural = 0
    relabelled: bool = False  # Also `precision` and `f1` after naming the clusters.

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, feature or start of the clusters.
        """
        if self.init not in INITS:
            raise errors.unknown("init", self.init, INITS)
        offer.check_splits(self.split)
        scores = metrics.CLUSTERING + (("precision", "f1") if self.relabelled else ())
        names = []
        for expression in self.features:
            offer.columns(expression)
            with offer.leaving_out(expression):
                offer.check_factor()
                clusters = self.clusters or 0
                offer.check_size(self.split, clusters, f"{clusters} clusters")
                names += metrics.names_over_runs(expression, scores)
        return names

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/<metric>` and `<expression>/<metric>_std`."""
        labels = features.labels(self.split)
        _, labels = np.unique(labels, return_inverse=True)
        clusters = self.clusters or int(labels.max()) + 1
        result = {}
        for expression in self.features:
            rows = features.get(self.split, expression)
            with features.leaving_out(expression):
                runs = [
                    self._scores(rows, labels, clusters, self.seed + run)
                    for run in range(self.runs)
                ]
                result.update(metrics.over_runs(expression, runs))
        return result

    def _scores(
        self, rows: np.ndarray, labels: np.ndarray, clusters: int, seed: int
    ) -> dict[str, float]:
        """Scores of one run."""
        found, _, _ = k_means(
            rows, clusters, init=self.init, n_init=self.n_init, seed=seed
        )
        scores = metrics.clustering_scores(labels, found)
        if self.relabelled:
            named = metrics.munkres_relabel(labels, found)
            more = metrics.classification_scores(labels, named)
            scores.update(precision=more["precision"], f1=more["f1"])
        return scores
