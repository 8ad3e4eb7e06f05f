"""Nearest rows on the device, in chunks of rows and of queries.

They are the nearest, compared in all features; only on CPUs, large tables are screened
first, see `screen.py`.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import precision
from mvjax.evaluators.common import chunks as chunks_lib
from mvjax.evaluators.common import screen

_QUERIES, _ROWS = 2048, 4096  # Of a chunk; their similarities take 32 MiB.
_CANDIDATES = 80  # Of a screen, at least.


@functools.partial(jax.jit, static_argnames="metric")
def _prepare(rows: jax.Array, mean: jax.Array, metric: str) -> jax.Array:
    """Rows whose products rank neighbours: of length one, or around the mean."""
    if metric == "cosine":
        length = jnp.sqrt(jnp.sum(rows * rows, axis=1, keepdims=True))
        return rows / jnp.where(length > 0, length, 1)
    return rows - mean  # Distances stay and lose fewer digits.


@functools.partial(jax.jit, static_argnames="metric")
def _merge(
    best: jax.Array,
    places: jax.Array,
    queries: jax.Array,
    chunk: chunks_lib.Chunk,
    mean: jax.Array,
    metric: str,
) -> tuple[jax.Array, jax.Array]:
    """Takes the rows of a chunk in among the nearest, `[Q, k]`, nearest first.

    Of rows that are equally near the first in the table comes first.
    """
    rows = _prepare(chunk.rows, mean, metric)
    near = precision.matmul(queries, rows.T)
    if metric == "euclidean":
        near = 2 * near - jnp.sum(rows * rows, axis=1)
    near = jnp.where(chunk.weight > 0, near, -jnp.inf)
    k = best.shape[1]
    found, where = jax.lax.top_k(near, min(k, near.shape[1]))
    best = jnp.concatenate([best, found], axis=1)
    places = jnp.concatenate([places, where.astype(jnp.int32) + chunk.start], axis=1)
    best, where = jax.lax.top_k(best, k)
    return best, jnp.take_along_axis(places, where, axis=1)


def find(
    rows: np.ndarray,
    queries: np.ndarray,
    *,
    k: int,
    metric: str,
    devices: Sequence[jax.Device] | None = None,
) -> np.ndarray:
    """Places of the k rows that are nearest to each query, nearest first.

    Args:
      rows: `[M, D]`.
      queries: `[N, D]`.
      k: In 1..M.
      metric: "cosine" or "euclidean".
      devices: To split queries over; None: those of this process.

    Returns:
      `[N, k]` int32.
    """
    count = max(8 * k, _CANDIDATES)
    on_cpu = (devices or jax.local_devices())[0].platform == "cpu"
    if on_cpu and 2 * count < len(rows) and screen.pays(rows, queries):
        table = screen.make(rows, metric)
        some = queries[:: len(queries) // screen.CHECKED][: screen.CHECKED]
        truth = _compare_all(rows, some, k, metric, devices)
        for many in (count, 2 * count):
            places = screen.candidates(table, some, many)
            among = [np.isin(t, p).mean() for t, p in zip(truth, places, strict=True)]
            if np.mean(among) >= screen.LEAST:
                places = screen.candidates(table, queries, many)
                return screen.rank(table, rows, queries, places, k)
    return _compare_all(rows, queries, k, metric, devices)


def _compare_all(
    rows: np.ndarray,
    queries: np.ndarray,
    k: int,
    metric: str,
    devices: Sequence[jax.Device] | None,
) -> np.ndarray:
    """`find` that compares each query with each row in all features."""
    mean = np.zeros(rows.shape[1], np.float32)
    if metric == "euclidean":
        mean = np.mean(rows, axis=0, dtype=np.float64).astype(np.float32)
    asked = chunks_lib.Chunks(queries, _QUERIES, devices)
    table = chunks_lib.Chunks(rows, _ROWS, devices)
    mean, found = jax.device_put(mean, asked.whole), []
    for part in asked:
        mine = _prepare(part.rows, mean, metric)
        best = jnp.full((asked.size, k), -jnp.inf, jnp.float32)
        best, places = jax.device_put(
            (best, jnp.zeros((asked.size, k), jnp.int32)), asked.split
        )
        for chunk in table:
            before = best
            best, places = _merge(best, places, mine, chunk, mean, metric)
            jax.block_until_ready(before)  # Else copies of all chunks wait.
        found.append(np.asarray(places))
    return np.concatenate(found)[: len(queries)]


def vote(labels: np.ndarray) -> np.ndarray:
    """The most frequent label of each row, `[N]` of `[N, k]`; the smallest of equals."""
    classes, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    result, step = [], max(2**24 // len(classes), 1)
    for start in range(0, len(labels), step):
        part = numbers[start : start + step]
        counts = np.zeros((len(part), len(classes)), np.int32)
        np.add.at(counts, (np.arange(len(part))[:, None], part), 1)
        result.append(counts.argmax(axis=1))
    return classes[np.concatenate(result)]
