"""Samples and their nearest ones by a code, or by two.

Neighbours are those of the split that the page shows, so no other codes have to be
computed; the scores of the evaluator may be of another gallery.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mvjax.evaluators import retrieval
from mvjax.evaluators.common import features as features_lib
from mvjax.report import retrieval as report
from mvjax.report import samples as samples_lib

SHOWN_QUERIES, SHOWN_NEIGHBOURS, SHOWN_SWAPS = 6, 8, 6


def pictures(
    label: str,
    evaluator: retrieval.Evaluator,
    scores: Mapping[str, float],
    features: Any,
    samples: samples_lib.Samples,
) -> dict[str, Any]:
    """Grids by caption for each code, see `report.of`.

    Frames tell whether the factor agrees that the code ranks best.
    """
    split = samples.split
    images = [n for n, x in samples.views(np.arange(1)).items() if x.ndim == 4]
    if not images:
        return {}
    made = {}
    for name in (*evaluator.features, *evaluator.cross):
        factor = _best_factor(scores, name)
        if factor:
            caption = f"Nearest {split} samples by {name} ({label}), framed by {factor}"
            made[caption] = _grid(
                samples, features, name, factor, images, evaluator.metric
            )
    for name in evaluator.features:
        shared = _partner(name, evaluator.features)
        factors = [_best_factor(scores, code) for code in (shared, name)]
        if shared and all(factors):
            caption = f"Swaps: nearest to {shared} of a row, {name} of a column"
            made[f"{caption} ({label})"] = _swaps(
                samples, features, (shared, name), tuple(factors), images
            )
    return made


def _partner(private: str, codes: tuple[str, ...]) -> str:
    """The shared code that goes with `private/<view>`; "" for other codes, or none."""
    kind, _, view = private.partition("/")
    found = [c for c in (f"shared/{view}", "shared") if c in codes]
    return found[0] if kind == "private" and found else ""


def _swaps(
    samples: samples_lib.Samples,
    features: features_lib.Features,
    codes: tuple[str, str],
    factors: tuple[str, str],
    images: list[str],
) -> Any:
    """For pairs of samples the one that is like the first and the second at once.

    Like the first by a shared code and like the second by a private one: the sum of
    squared distances, each code scaled to a mean variance of 1, decides.
    """
    split = samples.split
    scaled = []
    for code in codes:
        values = np.asarray(features.get(split, code), np.float64)
        scaled.append(values / max(np.sqrt(values.var(axis=0).mean()), 1e-12))
    size = len(scaled[0])
    shown = max(1, min(SHOWN_SWAPS, size // 3))  # So that some are left to be found.
    asked = np.random.default_rng(0).permutation(size)[: 2 * shown]
    rows, columns = np.sort(asked[::2]), np.sort(asked[1::2])
    apart = [
        ((values[given][:, None] - values[None]) ** 2).mean(axis=2)
        for values, given in zip(scaled, (rows, columns), strict=True)
    ]  # [R, N] and [K, N]
    total = apart[0][:, None] + apart[1][None]  # [R, K, N]
    total[:, :, asked] = np.inf  # None of those that were asked for.
    found = total.argmin(axis=2)
    truth = [features.factor(split, factor) for factor in factors]
    agrees = truth[0][found] == truth[0][rows, None]
    agrees &= truth[1][found] == truth[1][None, columns]
    view = _shown_view(codes[1], images)
    near = samples.views(found.ravel())[view]
    return report.swaps(
        samples.views(rows)[view],
        samples.views(columns)[view],
        near.reshape(*found.shape, *near.shape[1:]),
        agrees,
        title=f"{factors[0]} by {codes[0]} of the row, {factors[1]} by {codes[1]} "
        "of the column",
    )


def _grid(
    samples: samples_lib.Samples,
    features: features_lib.Features,
    name: str,
    factor: str,
    images: list[str],
    metric: str,
) -> Any:
    """A few samples and their nearest ones by a code, or by a pair `code>code`."""
    split = samples.split
    codes = [part.strip() for part in name.split(">")]
    first, second = (features.get(split, code) for code in (codes[0], codes[-1]))
    size = len(second)
    asked = np.sort(np.random.default_rng(0).permutation(size)[:SHOWN_QUERIES])
    found = retrieval.neighbours(
        first[asked],
        second,
        k=min(SHOWN_NEIGHBOURS, size - 1),
        metric=metric,
        own=asked,
    )
    queries = samples.views(asked)[_shown_view(codes[0], images)]
    near = samples.views(found.ravel())[_shown_view(codes[-1], images)]
    classes = features.factor(split, factor)
    known = features.class_names(split, factor) or range(classes.max() + 1)
    return report.neighbours(
        queries,
        near.reshape(*found.shape, *near.shape[1:]),
        classes[found] == classes[asked, None],
        title=f"{name}, blue: same {factor}",
        names=[f"{factor} {known[classes[row]]}" for row in asked],
    )


def _best_factor(scores: dict[str, float], name: str) -> str | None:
    """The factor whose ranking by a code is furthest above chance; None if unknown."""
    margins = {}
    for key, value in scores.items():
        cell, _, score = key.rpartition("/")
        code, _, factor = cell.rpartition("/")
        if (code, score) == (name, "map") and f"{cell}/chance" in scores:
            margins[factor] = value - scores[f"{cell}/chance"]
    return max(margins, key=margins.get) if margins else None


def _shown_view(code: str, images: list[str]) -> str:
    """The image view that a code such as `private/x` belongs to, else the first one."""
    code = code.removeprefix(features_lib.UNTRAINED).partition("+")[0]
    named = code.strip().partition("/")[2]
    return named if named in images else images[0]
