"""Which dimensions of two views' embeddings agree, and how many of them are in use.

Each dimension of an embedding is standardised over the samples; its alignment is the
correlation with the same dimension of the other view, the diagonal of DeCUR's
cross-correlation matrix (Wang et al., 2024, arXiv 2309.05300). DeCUR drives it to 1 in the
first `common` dimensions and to 0 in the unique ones behind them. A dimension that is the
same for all samples has no correlation and counts as 0.
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Annotated

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib

LEAST = 3  # Samples below which every correlation is 1 or -1.
# Deviation below which a dimension says nothing, as a share of its mean or of 1.
_CONSTANT = 1e-6
_FLOOR = 1e-3  # Of the largest singular value.
_ALIGNED = 0.5  # A correlation above which a dimension counts as aligned.


def standardise(rows: np.ndarray) -> np.ndarray:
    """Columns of `[N, K]` with mean 0 and biased deviation 1; constant ones are 0."""
    rows = np.asarray(rows, np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    used = deviation > _CONSTANT * np.maximum(np.abs(mean), 1)
    return np.where(used, (rows - mean) / np.where(used, deviation, 1), 0.0)


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of each column of standardised rows `[N, K]` with its twin, `[K]`."""
    return np.einsum("nk,nk->k", a, b) / len(a)


def singular_values(rows: np.ndarray) -> np.ndarray:
    """Those of centred rows `[N, K]` over the root of N, the greatest first.

    Their squares are the variances along the principal axes; there are as many as N or K,
    whichever is smaller.
    """
    centred = np.asarray(rows, np.float64)
    centred = centred - centred.mean(axis=0)
    narrow = centred.shape[1] < len(centred)
    gram = centred.T @ centred if narrow else centred @ centred.T
    squares = np.linalg.eigvalsh(gram / len(centred))[::-1]
    return np.sqrt(np.maximum(squares, 0))


def effective_rank(singular: np.ndarray) -> float:
    """Exponential of the entropy of the normalised singular values (Roy, 2007).

    As in the health of a run, those below 1e-3 of the largest count as zero.
    """
    kept = singular[singular > _FLOOR * singular.max(initial=0)]
    if not kept.size:
        return 0.0
    share = kept / kept.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def names(given: Sequence[str]) -> list[str]:
    """What each embedding is called: without the family, if all are of one."""
    families = {name.partition("/")[0] for name in given}
    return [n.partition("/")[2] or n for n in given] if len(families) == 1 else [*given]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Alignment of the dimensions of each two embeddings, and the rank of each."""

    features: limits.Names = ("embedding/*",)  # One for each view, of equal widths.
    common: limits.Natural | None = None  # So many, the first ones; None: all.
    split: limits.Text = "test"
    # Drawn at random; all where there are fewer.
    rows: Annotated[int, limits.Range(low=LEAST, high=2**14)] = 2000
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split or feature, fewer than two of them, or widths that do
            not fit each other or `common`.
        """
        offer.check_splits(self.split)
        given = [
            f"{p}{n}" for p, found in map(offer.expand, self.features) for n in found
        ]
        widths = {name: offer.columns(name) for name in given}
        self._check_widths(widths)
        offer.check_size(self.split, LEAST, "the alignment of dimensions")
        views = names(given)
        found = [f"{view}/rank" for view in views]
        for a, b in itertools.combinations(views, 2):
            found += [f"{a}-{b}/{x}" for x in self._scores(next(iter(widths.values())))]
        return found

    def _check_widths(self, widths: dict[str, int]) -> None:
        """Refuses embeddings that have no twins of their dimensions."""
        if len(widths) < 2:
            raise errors.UserError(
                f"features={self.features} is {len(widths)} embedding; alignment is of "
                "two or more."
            )
        if len(set(widths.values())) > 1:
            raise errors.UserError(
                f"Embeddings have different widths: {widths}; dimensions are compared "
                "one by one."
            )
        width = next(iter(widths.values()))
        if self.common is not None and self.common > width:
            raise errors.UserError(
                f"common is {self.common}; the embeddings have {width} dimensions."
            )

    def _blocks(self, width: int) -> dict[str, slice]:
        """The kinds of dimensions that there are, by name."""
        common = width if self.common is None else self.common
        blocks = {"common": slice(0, common), "unique": slice(common, width)}
        return {k: block for k, block in blocks.items() if block.start < block.stop}

    def _scores(self, width: int) -> list[str]:
        return [
            f"{block}/{score}"
            for block in self._blocks(width)
            for score in ("mean", "deviation", "aligned")
        ]

    def embeddings(self, features: features_lib.Features) -> dict[str, np.ndarray]:
        """Embeddings `[N, K]` float32 of the samples that are looked at, by view.

        Raises:
          Insufficient: The split has too few samples.
        """
        few = features.sampled(self.split, self.rows, seed=self.seed)
        if few.size(self.split) < LEAST:
            raise features_lib.Insufficient(
                f"Split {self.split!r} has {few.size(self.split)} samples: too few for "
                "the alignment of dimensions."
            )
        given = [
            f"{prefix}{name}"
            for prefix, found in (few.expand(self.split, e) for e in self.features)
            for name in found
        ]
        rows = {name: few.get(self.split, name) for name in given}
        self._check_widths({name: found.shape[1] for name, found in rows.items()})
        return dict(zip(names(given), rows.values(), strict=True))

    def blocks(
        self, embeddings: dict[str, np.ndarray]
    ) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """Alignment of the dimensions of each pair of views, by block.

        Args:
          embeddings: See the method of that name.

        Returns:
          `{("a", "b"): {"common": [common], "unique": [rest]}}`.
        """
        held = {view: standardise(rows) for view, rows in embeddings.items()}
        found = {}
        for a, b in itertools.combinations(held, 2):
            diagonal = correlations(held[a], held[b])
            parts = self._blocks(len(diagonal)).items()
            found[a, b] = {name: diagonal[block] for name, block in parts}
        return found

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Scores of each view and of each pair of views.

        Returns:
          `<view>/rank`, the effective rank of the embedding, and for each block
          `<a>-<b>/<block>/mean` and `/deviation` of the alignment and `/aligned`, the
          share of dimensions above 0.5.
        """
        embeddings = self.embeddings(features)
        scores = {
            f"{view}/rank": effective_rank(singular_values(rows))
            for view, rows in embeddings.items()
        }
        for (a, b), blocks in self.blocks(embeddings).items():
            for block, diagonal in blocks.items():
                scores[f"{a}-{b}/{block}/mean"] = float(diagonal.mean())
                scores[f"{a}-{b}/{block}/deviation"] = float(diagonal.std())
                scores[f"{a}-{b}/{block}/aligned"] = float((diagonal > _ALIGNED).mean())
        return scores
