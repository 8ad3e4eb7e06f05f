"""Candidates for nearest rows from a few directions, for machines without accelerator.

Comparing all rows in all features is one large product, which a CPU does no faster here
than anywhere else. Most of what tells near from far lies in the few directions in which
rows spread: they choose candidates, which are then compared in full. How many true
neighbours are among the candidates is counted on some queries first; where more than one
in a thousand is missing, there is no screen.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_SPARE = 16  # Features for each direction that is kept.
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

    basis: np.ndarray  # [D, r], orthonormal.
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
    basis = basis.astype(np.float32)
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


@functools.partial(jax.jit, static_argnames="count")
def _top(queries: jax.Array, low: jax.Array, count: int) -> jax.Array:
    """Places of the nearest `count` rows by their directions, `[Q, count]`.

    The best of each group of rows are sorted first, because the nearest rows lie in the
    groups with the best ones; sorting all rows would take longer than the product. Row
    `i` is in the group `i % groups`.

    Args:
      queries: `[Q, r + 1]`, ending in 1.
      low: `[r + 1, M]`, ending in the negative squares.
      count: At most M.
    """
    near = (queries @ low).reshape(len(queries), _GROUP, -1)
    groups = near.shape[2]
    _, chosen = jax.lax.top_k(near.max(axis=1), min(count, groups))
    near = jnp.take_along_axis(near, chosen[:, None, :], axis=2)  # [Q, _GROUP, chosen]
    _, where = jax.lax.top_k(near.reshape(len(queries), -1), count)
    row, group = where // near.shape[2], where % near.shape[2]
    return row * groups + jnp.take_along_axis(chosen, group, axis=1)


def candidates(table: Table, queries: np.ndarray, count: int) -> np.ndarray:
    """Places of candidates for each query, `[N, count]`, in the order of the table."""
    size = len(table.low)
    more = -size % _GROUP  # Rows that are no candidates.
    low = np.pad(2 * table.low, ((0, more), (0, 1)))
    low[:size, -1], low[size:, -1] = -table.squares, -np.finfo(np.float32).max
    low = jnp.asarray(np.ascontiguousarray(low.T))
    step, found = max(_NEAR // size, 1), []
    for start in range(0, len(queries), step):
        seen = (queries[start : start + step] - table.mean) @ table.basis
        seen = np.pad(seen, ((0, step - len(seen)), (0, 0)))
        ones = np.ones((step, 1), np.float32)
        found.append(np.asarray(_top(np.concatenate([seen, ones], 1), low, count)))
    return np.sort(np.concatenate(found)[: len(queries)], axis=1)


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
    step = max(_COMPARED // (places.shape[1] * rows.shape[1]), 1)
    result = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        mine = places[part]
        # What is the same for all candidates of a query is left out.
        asked = (queries[part] - table.mean)[:, :, None]
        product = np.matmul(rows[mine], asked)[:, :, 0] * table.inverse[mine]
        near = 2 * product - table.squares[mine]
        order = np.argsort(-near, axis=1, kind="stable")[:, :k]
        result[part] = np.take_along_axis(mine, order, axis=1)
    return result
