"""Candidates for nearest rows from a few directions, for machines without accelerator.

Comparing all rows in all features is one large product, which a CPU does no faster here
than anywhere else. Most of what tells near from far lies in the few directions in which
rows spread. The widest of these choose some rows, all of them the candidates among those,
which are then compared in full. How many true neighbours are among the candidates is
counted on some queries first; where more than one in a thousand is missing, there is no
screen. NumPy's products are faster than XLA's here, and nothing has to be compiled.
"""

from collections.abc import Callable
from concurrent import futures
import os
from typing import NamedTuple

import numpy as np
import threadpoolctl

_SPARE = 16  # Features for each direction that is kept.
_WIDEST = 2  # One in so many directions looks at all rows.
_CHOSEN = 3  # Rows that these choose, for each candidate.
_SAMPLE = 4096  # Rows that the directions come from.
_ROWS = 8192  # Of a chunk.
_GROUP = 16  # Rows that are sorted together.
_NEAR = 2**23  # Nearnesses of rows to queries that are looked at together.
_COMPARED = 2**22  # Numbers of candidates that are gathered at a time.
# Smaller tables gain nothing.
_LEAST_ROWS, _LEAST_FEATURES, _LEAST_QUERIES = 8192, 512, 1024
CHECKED = 128  # Queries whose neighbours are counted.
LEAST = 0.999  # Share of the true neighbours that must be candidates.


class Table(NamedTuple):
    """Rows as their directions see them; nearness is `2 q.x - |x|^2`, or `q.x`."""

    basis: np.ndarray  # [D, r], orthonormal, the directions of widest spread first.
    low: np.ndarray  # [M, r], of rows of length one, or around the mean.
    inverse: np.ndarray  # [M], of the lengths; ones for distances.
    squares: np.ndarray  # [M], of the lengths around the mean; zeros for cosines.
    mean: np.ndarray  # [D], zeros for cosines.


def pays(rows: np.ndarray, queries: np.ndarray) -> bool:
    """Whether tables of this size, `[M, D]` and `[N, D]`, are worth a screen."""
    return (
        len(rows) >= _LEAST_ROWS
        and rows.shape[1] >= _LEAST_FEATURES
        and len(queries) >= _LEAST_QUERIES
    )


def make(rows: np.ndarray, metric: str) -> Table:
    """The table of rows `[M, D]`."""
    mean = np.zeros(rows.shape[1], np.float32)
    if metric == "euclidean":
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    step = max(len(rows) // _SAMPLE, 1)
    sample = rows[::step] - mean
    if metric == "cosine":
        sample *= _inverse_lengths(sample)[:, None]
    width = max(rows.shape[1] // _SPARE, 1)
    basis = np.random.default_rng(0).normal(size=(rows.shape[1], width))
    for _ in range(2):  # Powers of the second moment turn any start to the wide ones.
        found = sample.T @ (sample @ basis.astype(np.float32))
        basis, _ = np.linalg.qr(found)
    spread = sample @ basis.astype(np.float32)
    _, turns = np.linalg.eigh(spread.T @ spread)
    basis = (basis @ turns[:, ::-1]).astype(np.float32)
    low = np.empty((len(rows), width), np.float32)
    inverse, squares = np.ones(len(rows), np.float32), np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        if metric == "cosine":
            inverse[part] = _inverse_lengths(rows[part])
            low[part] = (rows[part] @ basis) * inverse[part, None]
        else:
            away = rows[part] - mean
            low[part] = away @ basis
            squares[part] = np.einsum("nd,nd->n", away, away)
    return Table(basis, low, inverse, squares, mean)


def _inverse_lengths(rows: np.ndarray) -> np.ndarray:
    """Factors `[N]` that give rows `[N, D]` length one; 1 for a row of zeros."""
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return (1 / np.where(length > 0, length, 1)).astype(np.float32)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest entries of each row `[Q, M]`, in any order."""
    if count >= values.shape[1]:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    at = values.shape[1] - count
    return np.argpartition(values, at, axis=1)[:, at:]


def _choose(near: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` nearest rows, `[Q, count]`.

    The best of each group of rows are compared first, because the nearest rows lie in the
    groups with the best ones. Row `i` is in the group `i % groups`.

    Args:
      near: Nearness of each row, `[Q, M]`, M a multiple of `_GROUP`.
      count: At most M.
    """
    queries, size = near.shape
    groups = size // _GROUP
    chosen = _largest(near.reshape(queries, _GROUP, groups).max(axis=1), count)
    places = chosen[:, None, :] + groups * np.arange(_GROUP)[:, None]
    places = places.reshape(queries, -1)
    flat = places + size * np.arange(queries)[:, None]
    best = _largest(near.reshape(-1).take(flat), count)
    return np.take_along_axis(places, best, axis=1)


def _in_parts(
    function: Callable[[slice], np.ndarray], count: int, step: int
) -> np.ndarray:
    """The results for `count` rows, `step` at a time, on all cores."""
    parts = [slice(start, start + step) for start in range(0, count, step)]
    # A product of these sizes gains nothing from threads of its own.
    with threadpoolctl.threadpool_limits(1):
        with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(list(pool.map(function, parts)))


def candidates(table: Table, queries: np.ndarray, count: int) -> np.ndarray:
    """Places of candidates for each query, `[N, count]`, in the order of the table."""
    size, widest = len(table.low), -(-table.low.shape[1] // _WIDEST)
    many = min(_CHOSEN * count, size)
    more = -size % _GROUP  # Rows that are no candidates.
    few = np.zeros((widest + 1, size + more), np.float32)
    few[:-1, :size] = 2 * table.low[:, :widest].T
    few[-1, :size], few[-1, size:] = -table.squares, -np.finfo(np.float32).max

    def choose(part: slice) -> np.ndarray:
        seen = (queries[part] - table.mean) @ table.basis
        ones = np.ones((len(seen), 1), np.float32)
        chosen = _choose(np.concatenate([seen[:, :widest], ones], 1) @ few, many)
        # All directions choose among them.
        near = np.matmul(table.low[chosen], seen[:, :, None])[:, :, 0]
        best = _largest(2 * near - table.squares[chosen], count)
        return np.take_along_axis(chosen, best, axis=1)

    return np.sort(_in_parts(choose, len(queries), max(_NEAR // size, 1)), axis=1)


def rank(
    table: Table, rows: np.ndarray, queries: np.ndarray, places: np.ndarray, k: int
) -> np.ndarray:
    """The k candidates that are nearest in all features, `[N, k]`, nearest first.

    Args:
      table: Of the rows.
      rows: `[M, D]`.
      queries: `[N, D]`.
      places: Of the candidates, `[N, C]`, in the order of the table.
      k: At most C.
    """

    def order(part: slice) -> np.ndarray:
        mine = places[part]
        # What is the same for all candidates of a query is left out.
        asked = (queries[part] - table.mean)[:, :, None]
        product = np.matmul(rows[mine], asked)[:, :, 0] * table.inverse[mine]
        near = 2 * product - table.squares[mine]
        first = np.argsort(-near, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(mine, first, axis=1).astype(np.int32)

    step = max(_COMPARED // (places.shape[1] * rows.shape[1]), 1)
    return _in_parts(order, len(queries), step)
