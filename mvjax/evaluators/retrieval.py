"""Retrieval by codes: do the nearest samples share a factor, or the instance?

Distances are squared Euclidean in float64 (option: cosine); equally far samples come in
the order of the gallery. precision@k is the share of the first k that have the query's
class, average precision runs over the full ranking, both are means over the queries.
"""

from collections.abc import Iterator, Mapping
import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import probe

METRICS = ("euclidean", "cosine")
_CELLS = 2**22  # Distances that are held at a time.


def distances(
    queries: np.ndarray, gallery: np.ndarray, *, metric: str = "euclidean"
) -> np.ndarray:
    """Squared distances, or one minus the cosine, which is 0 for a code of zeros.

    Every pair is computed alone, so equal rows of the gallery are equally far.

    Args:
      queries: Codes, `[Q, D]`.
      gallery: Codes, `[G, D]`.
      metric: `"euclidean"` or `"cosine"`.

    Returns:
      `[Q, G]` float64.

    Raises:
      UserError: Unknown metric, or codes of different width.
    """
    from scipy.spatial import distance

    if metric not in METRICS:
        raise errors.unknown("metric", metric, METRICS)
    if queries.shape[1] != gallery.shape[1]:
        raise errors.UserError(
            f"Cannot compare codes of width {queries.shape[1]} with codes of width "
            f"{gallery.shape[1]}."
        )
    if not queries.shape[1]:
        raise errors.UserError("Cannot compare codes without a column.")
    if metric == "euclidean":
        return distance.cdist(queries, gallery, "sqeuclidean")
    units, none = [], []
    for rows in (queries, gallery):
        rows = np.asarray(rows, np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(rows / np.where(norms, norms, 1))
        none.append(norms[:, 0] == 0)
    result = distance.cdist(*units, "sqeuclidean") / 2  # 1 - cos of unit vectors.
    result[none[0]] = 1
    result[:, none[1]] = 1
    return result


def rank(
    queries: np.ndarray, gallery: np.ndarray, *, metric: str = "euclidean"
) -> np.ndarray:
    """The gallery from near to far, for few queries; see `distances`.

    Returns:
      Positions in the gallery, `[Q, G]`; equally far ones in ascending order.
    """
    return np.argsort(distances(queries, gallery, metric=metric), axis=1, kind="stable")


def leave_out(order: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes one sample out of each ranking.

    Args:
      order: Rankings, `[Q, G]`.
      own: The position in the gallery to take out, `[Q]`.

    Returns:
      Rankings without it, `[Q, G - 1]`, and the place where it stood, `[Q]` from 0.
    """
    is_own = order == own[:, None]
    return order[~is_own].reshape(len(order), -1), is_own.argmax(axis=1)


def neighbours(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    k: int,
    metric: str = "euclidean",
    own: np.ndarray | None = None,
) -> np.ndarray:
    """The k nearest samples of the gallery, nearest first.

    Args:
      queries: Codes, `[Q, D]`.
      gallery: Codes, `[G, D]`.
      k: How many.
      metric: `"euclidean"` or `"cosine"`.
      own: Where each query stands in the gallery, `[Q]`, to leave it out.

    Returns:
      Positions in the gallery, `[Q, k]`.

    Raises:
      UserError: k exceeds the gallery, or see `distances`.
    """
    _check_size(k, len(gallery) - (own is not None))
    parts = [np.empty((0, k), np.int64)]
    for rows in _chunks(len(queries), len(gallery)):
        order = rank(queries[rows], gallery, metric=metric)
        if own is not None:
            order, _ = leave_out(order, own[rows])
        parts.append(order[:, :k])
    return np.concatenate(parts)


def precision(hits: np.ndarray, k: int) -> np.ndarray:
    """Share of hits among the first k of each ranking, `[Q, G]` bool to `[Q]`."""
    return hits[:, :k].mean(axis=1)


def average_precision(hits: np.ndarray) -> np.ndarray:
    """Mean precision at the places of the hits, `[Q, G]` bool to `[Q]`.

    A ranking without any hit has 0.
    """
    at_place = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (at_place * hits).sum(axis=1) / np.maximum(hits.sum(axis=1), 1)


def vote(classes: np.ndarray) -> np.ndarray:
    """The most frequent of k classes, `[Q, k]` to `[Q]`; the smallest among equals."""
    choices = np.unique(classes)
    counts = [(classes == choice).sum(axis=1) for choice in choices]
    return choices[np.argmax(counts, axis=0)]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Precision of rankings of the split `gallery` for queries of the split `query`.

    Where both are one split, a query is left out of its own ranking. A pair of `cross`
    such as `"shared/x>shared/y"` ranks the second code for queries by the first within
    the split `query`: how often does the query's own sample come first, and, with that
    sample left out, what do the others share with the query?
    """

    features: limits.some(limits.Text) = ("shared",)
    factors: tuple[limits.Text, ...] = ()  # (): all that the data know.
    query: limits.Text = "test"
    gallery: limits.Text = "train"
    ks: limits.some(limits.Count) = (1, 5, 10)
    k: limits.Count = 5  # Neighbours that vote.
    metric: limits.one_of(*METRICS) = "euclidean"
    queries: limits.Natural = 1000  # Most queries, drawn at random; 0: all.
    gallery_limit: limits.Natural = 10_000  # Most samples of the gallery, the same way.
    cross: tuple[limits.Text, ...] = ()
    seed: limits.Natural = 0

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Scores of each expression or pair of expressions.

        Returns:
          `<expression>/<factor>/<score>` with the scores `precision@<k>`, `map`,
          `vote` (accuracy of the vote of the nearest) and `chance` (precision of a
          random ranking). For a pair also `<pair>/top<k>`, how often the query's own
          sample is among the first k, and `<pair>/chance`, that for k = 1 at random.

        Raises:
          UserError: Unknown name, malformed pair, widths that differ, or a k that
            exceeds the gallery.
        """
        factors = self.factors or tuple(features.factor_names(self.query))
        pairs = {pair: _parts(pair) for pair in self.cross}
        result = {}
        for expression in self.features:
            scores = self._search(
                features, factors, (expression, expression), self.gallery
            )
            result |= {f"{expression}/{name}": v for name, v in scores.items()}
        for pair, parts in pairs.items():
            scores = self._search(features, factors, parts, self.query, instance=True)
            result |= {f"{pair}/{name}": v for name, v in scores.items()}
        return result

    def _search(
        self,
        features: features_lib.Features,
        factors: tuple[str, ...],
        expressions: tuple[str, str],
        gallery_split: str,
        *,
        instance: bool = False,
    ) -> dict[str, float]:
        """Scores of one code of the queries and one of the gallery."""
        queries = features.get(self.query, expressions[0])
        gallery = features.get(gallery_split, expressions[1])
        pool = self._draw(len(gallery), self.gallery_limit, "gallery_limit")
        own = None
        if gallery_split == self.query:  # Queries come from the gallery.
            own = self._draw(len(pool), self.queries, "queries")
            asked = pool[own]
        else:
            asked = self._draw(len(queries), self.queries, "queries")
        classes = {
            name: (
                features.factor(self.query, name)[asked],
                features.factor(gallery_split, name)[pool],
            )
            for name in factors
        }
        for k in (*self.ks, self.k):
            _check_size(k, len(pool) - (own is not None))
        values: dict[str, list[np.ndarray]] = {}
        for rows in _chunks(len(asked), len(pool)):
            order = rank(queries[asked[rows]], gallery[pool], metric=self.metric)
            scores = {}
            if own is not None:
                order, place = leave_out(order, own[rows])
                if instance:
                    scores = {f"top{k}": place < k for k in sorted({1, *self.ks})}
                    scores["chance"] = np.full(len(place), 1 / len(pool))
            scores |= self._rate(
                order, {name: (q[rows], g) for name, (q, g) in classes.items()}
            )
            for name, numbers in scores.items():
                values.setdefault(name, []).append(numbers)
        return {k: float(np.concatenate(v).mean()) for k, v in values.items()}

    def _rate(
        self,
        order: np.ndarray,
        classes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """Scores of rankings `[Q, G]`, `[Q]` each, for classes `[Q]` and `[G]`."""
        scores = {}
        for name, (mine, theirs) in classes.items():
            found = theirs[order]
            hits = found == mine[:, None]
            for k in self.ks:
                scores[f"{name}/precision@{k}"] = precision(hits, k)
            scores[f"{name}/map"] = average_precision(hits)
            scores[f"{name}/vote"] = vote(found[:, : self.k]) == mine
            scores[f"{name}/chance"] = hits.mean(axis=1)
        return scores

    def _draw(self, size: int, limit: int, name: str) -> np.ndarray:
        """Positions of at most `limit` of `size` samples, ascending."""
        if limit < 0:
            raise errors.UserError(f"{name} must be >= 0, not {limit}.")
        share = min(1.0, limit / size) if limit else 1.0
        return probe.subset(size, share, self.seed)


def _parts(pair: str) -> tuple[str, str]:
    """The two expressions of a pair."""
    parts = [part.strip() for part in pair.split(">")]
    if len(parts) != 2 or not all(parts):
        raise errors.UserError(
            f"{pair!r} in `cross` is no pair such as 'shared/x>shared/y'."
        )
    return parts[0], parts[1]


def _check_size(k: int, size: int) -> None:
    """Refuses to look at more samples than there are."""
    if not 1 <= k <= size:
        raise errors.UserError(f"k must lie in 1..{size} (gallery), not {k}.")


def _chunks(queries: int, gallery: int) -> Iterator[slice]:
    """Parts of the queries whose distances to the gallery fit into memory."""
    step = max(1, _CELLS // max(1, gallery))
    for start in range(0, queries, step):
        yield slice(start, start + step)
