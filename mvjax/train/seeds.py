"""Many seeds at once: states with a leading axis of seeds, and figures over them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CONFIDENCE = 0.95  # Of the intervals.


def stack(trees: list[Any]) -> Any:
    """Joins equal trees of arrays along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def count(restored: dict[str, Any]) -> int | None:
    """Number of seeds of a state that was read as a dict; None: it has no such axis."""
    return len(restored["step"]) if np.ndim(restored["step"]) else None


def pick(tree: Any, index: int) -> Any:
    """The arrays of one seed."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def common(tree: Any) -> Any | None:
    """The arrays that all seeds share; None: they differ."""
    first = pick(tree, 0)
    same = jax.tree.map(lambda leaf, one: bool((leaf == one).all()), tree, first)
    return first if all(jax.tree.leaves(same)) else None


def mean(results: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Means over seeds, and as `<metric>_std` their standard deviations (n - 1).

    A metric's own deviation, such as that over runs of k-means, gives way to it. What
    some seed has no value of has no mean.
    """
    return {
        label: {
            key: value
            for metric, values in _columns(results, label).items()
            for key, value in (
                (metric, float(np.mean(values))),
                (f"{metric}_std", float(np.std(values, ddof=1))),
            )
        }
        for label in _common(results)
    }


def intervals(
    results: list[dict[str, dict[str, float]]],
) -> dict[str, dict[str, tuple[float, float]]]:
    """Student's intervals of the means over seeds, at `CONFIDENCE`."""
    from scipy import stats

    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(results) - 1) / len(results) ** 0.5
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for label in _common(results):
        for metric, values in _columns(results, label).items():
            half = float(reach * np.std(values, ddof=1))
            centre = float(np.mean(values))
            found.setdefault(label, {})[metric] = (centre - half, centre + half)
    return found


def _columns(
    results: list[dict[str, dict[str, float]]], label: str
) -> dict[str, list[float]]:
    """Values of each metric of an evaluator, one for each seed."""
    names = [n for n in _common([r[label] for r in results]) if not n.endswith("_std")]
    return {name: [r[label][name] for r in results] for name in names}


def _common(parts: list[dict[str, Any]]) -> list[str]:
    """Keys that all have, in the order of the first."""
    return [key for key in parts[0] if all(key in part for part in parts)]
