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
from mvjax.evaluators.common import offer as offer_lib
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
    _check_widths(queries.shape[1], gallery.shape[1])
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
      UserError: k exceeds the gallery (as `Insufficient`), or see `distances`.
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

    features: limits.Names = ("shared",)
    factors: limits.AnyNames = ()  # (): all that the data know.
    query: limits.Text = "test"
    gallery: limits.Text = "train"
    ks: limits.some(limits.Count, distinct=True) = (1, 5, 10)
    k: limits.Count = 5  # Neighbours that vote.
    metric: limits.one_of(*METRICS) = "euclidean"
    queries: limits.Natural = 1000  # Most queries, drawn at random; 0: all.
    gallery_limit: limits.Natural = 10_000  # Most samples of the gallery, the same way.
    cross: limits.AnyNames = ()
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, metric or name, malformed pair, or widths that differ.
        """
        if self.metric not in METRICS:
            raise errors.unknown("metric", self.metric, METRICS)
        for k in (*self.ks, self.k):
            if k < 1:
                raise errors.UserError(f"ks and k must be at least 1, not {k}.")
        offer.check_splits(self.query, self.gallery)
        pairs = {pair: _parts(pair) for pair in self.cross}
        names = []
        for expression in self.features:
            offer.columns(expression)
            names += self._names(offer, expression, self.gallery)
        for pair, parts in pairs.items():
            _check_widths(*(offer.columns(part) for part in parts))
            names += self._names(offer, pair, self.query)
            names += _possible(offer, pair, self._size(offer, self.query), self._tops())
        return names

    def _names(
        self, offer: offer_lib.Offer, place: str, gallery_split: str
    ) -> list[str]:
        """Names of the scores of a code or a pair for each factor."""
        names = []
        for factor in self.factors or offer.factors:
            part = f"{place}/{factor}"
            with offer.leaving_out(part):
                offer.check_factor(factor)
                size = self._size(offer, gallery_split)
                names += _possible(offer, part, size, self._needs())
        return names

    def _size(self, offer: offer_lib.Offer, split: str) -> int | None:
        """Samples that a ranking of a split will hold, None if nobody knows."""
        size = offer.sizes.get(split)
        if size is None:
            return None
        return min(size, self.gallery_limit or size) - (split == self.query)

    def _needs(self) -> dict[str, int]:
        """How long a ranking must be for each score of a factor, by name."""
        needs = {f"precision@{k}": k for k in self.ks}
        return needs | {"map": 1, "vote": self.k, "chance": 1}

    def _tops(self) -> dict[str, int]:
        """The same for how often the own sample comes early."""
        return {f"top{k}": k for k in sorted({1, *self.ks})} | {"chance": 1}

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Scores of each expression or pair of expressions.

        Returns:
          `<expression>/<factor>/<score>` with the scores `precision@<k>`, `map`,
          `vote` (accuracy of the vote of the nearest) and `chance` (precision of a
          random ranking). For a pair also `<pair>/top<k>`, how often the query's own
          sample is among the first k, and `<pair>/chance`, that for k = 1 at random.

        Raises:
          UserError: See `check`.
        """
        factors = self.factors or tuple(features.factor_names(self.query))
        pairs = {pair: _parts(pair) for pair in self.cross}
        result = {}
        for expression in self.features:
            result |= self._search(
                features, factors, expression, (expression, expression), self.gallery
            )
        for pair, parts in pairs.items():
            result |= self._search(
                features, factors, pair, parts, self.query, instance=True
            )
        return result

    def _search(
        self,
        features: features_lib.Features,
        factors: tuple[str, ...],
        place: str,
        expressions: tuple[str, str],
        gallery_split: str,
        *,
        instance: bool = False,
    ) -> dict[str, float]:
        """Scores of one code of the queries and one of the gallery, below `place`."""
        queries = features.get(self.query, expressions[0])
        gallery = features.get(gallery_split, expressions[1])
        pool = self._draw(len(gallery), self.gallery_limit, "gallery_limit")
        own = None
        if gallery_split == self.query:  # Queries come from the gallery.
            own = self._draw(len(pool), self.queries, "queries")
            asked = pool[own]
        else:
            asked = self._draw(len(queries), self.queries, "queries")
        size = len(pool) - (own is not None)
        classes, wanted = {}, []
        if instance:
            wanted += _possible(features, place, size, self._tops())
        for name in factors:
            part = f"{place}/{name}"
            with features.leaving_out(part):
                classes[part] = (
                    features.factor(self.query, name)[asked],
                    features.factor(gallery_split, name)[pool],
                )
                wanted += _possible(features, part, size, self._needs())
        if not wanted:
            return {}
        values: dict[str, list[np.ndarray]] = {}
        for rows in _chunks(len(asked), len(pool)):
            order = rank(queries[asked[rows]], gallery[pool], metric=self.metric)
            scores = {}
            if own is not None:
                order, found = leave_out(order, own[rows])
                if instance:
                    scores = {
                        f"{place}/{t}": found < k for t, k in self._tops().items()
                    }
                    scores[f"{place}/chance"] = np.full(len(found), 1 / len(pool))
            scores |= self._rate(
                order, {name: (q[rows], g) for name, (q, g) in classes.items()}
            )
            for name in wanted:
                values.setdefault(name, []).append(scores[name])
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


def _possible(
    gaps: features_lib.LeavesOut, place: str, size: int | None, needs: dict[str, int]
) -> list[str]:
    """Names below `place` of the scores for which rankings are long enough.

    Args:
      gaps: Notes the others.
      place: What the scores are of.
      size: Length of a ranking; None: unknown, and taken as enough.
      needs: Length that each score needs, by name.
    """
    found = []
    for name, k in needs.items():
        with gaps.leaving_out(f"{place}/{name}"):
            if size is not None:
                _check_size(k, size)
            found.append(f"{place}/{name}")
    return found


def _check_size(k: int, size: int) -> None:
    """Refuses to look at more samples than there are."""
    if not 1 <= k <= size:
        raise features_lib.Insufficient(f"k must lie in 1..{size} (gallery), not {k}.")


def _check_widths(query: int, gallery: int) -> None:
    """Refuses to compare codes of different widths."""
    if query != gallery:
        raise errors.UserError(
            f"Cannot compare codes of width {query} with codes of width {gallery}."
        )


def _chunks(queries: int, gallery: int) -> Iterator[slice]:
    """Parts of the queries whose distances to the gallery fit into memory."""
    step = max(1, _CELLS // max(1, gallery))
    for start in range(0, queries, step):
        yield slice(start, start + step)
