"""Confusion matrices: counted on the device, read on the host.

`counts[i, j]` says how many samples of class i were taken for class j, `[K, K]`.
"""

import jax
import jax.numpy as jnp
import numpy as np


def count(
    truth: jax.Array, guess: jax.Array, keep: jax.Array, classes: int
) -> jax.Array:
    """Counts a batch, traceable.

    Args:
      truth: Classes, any shape, integers.
      guess: The same shape, in 0..classes-1.
      keep: The same shape, bool: which samples count; so do only those whose truth lies
        in 0..classes-1.
      classes: K.

    Returns:
      `[K, K]` int32.
    """
    truth = truth.astype(jnp.int32)
    keep = keep & (truth >= 0) & (truth < classes)
    cell = jnp.where(keep, truth * classes + guess, classes**2)  # The last is dropped.
    counts = jnp.zeros(classes**2, jnp.int32)
    counts = counts.at[cell.reshape(-1)].add(1, mode="drop")
    return counts.reshape(classes, classes)


def recall(counts: np.ndarray) -> np.ndarray:
    """Share of each class that was found, `[K]`; NaN for a class without samples."""
    return _divide(np.diag(counts), counts.sum(axis=1))


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, `[K]`; NaN where it occurs nowhere."""
    hits = np.diag(counts)
    return _divide(hits, counts.sum(axis=1) + counts.sum(axis=0) - hits)


def frequency_iou(counts: np.ndarray) -> float:
    """Intersection over union, weighted by how frequent the classes are; NaN without any."""
    weighted = counts.sum(axis=1) * np.nan_to_num(iou(counts))
    return float(_divide(weighted.sum(), counts.sum()))


def accuracy(counts: np.ndarray) -> float:
    """Share of samples whose class was found; NaN without any."""
    return float(_divide(np.trace(counts), counts.sum()))


def mean(values: np.ndarray) -> float:
    """Mean of the numbers that are not NaN; NaN without any."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
