"""Whether representations collapse: their spread, effective rank and dead dimensions.

The effective rank is that of Roy and Vetterli, "The effective rank: a measure of
effective dimensionality", EUSIPCO 2007. Codes can fall together while the loss goes on
falling too, so that no loss curve shows it. Beside what codes say by themselves, the metric
`clamped` of a loss is watched, see `method.Aux`.
"""

from collections.abc import Mapping
import copy
import math
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.core import precision

PREFIX = "health/"
# Rows that enter the rank. The dimensions need no limit: the smaller Gram matrix has at
# most this side, and costs what a linear layer with so many inputs costs.
RANK_ROWS = 256
# Share of the largest below which a deviation or a singular value counts as nothing. The
# eigenvalues of a float32 Gram matrix are wrong by about 2e-7 of the largest, which
# are singular values of 5e-4: less than this, and noise would count as rank.
RELATIVE_FLOOR = 1e-3
ABSOLUTE_FLOOR = 1e-6  # Of a standard deviation; what varies less is constant.
# A figure is low below this share of its best, and has recovered above 1.5 times that.
FALLS = {"std": 0.1, "rank": 0.25, "live": 0.5}
RECOVERY = 1.5
CLAMPED = "clamped"  # The last part of the name of such a metric.
MOST_CLAMPED = 0.5  # Above it most distances teach nothing.
ADVICE = "check the learning rate or the weight of the term that keeps codes apart"


def measure(
    outputs: Mapping[str, jax.Array], mask: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Measures the representations among the outputs of `Method.predict`.

    Those are `shared`, `embedding`, both with or without `/<view>`, `private/<view>` and
    `features/<view>`, floats of more than one dimension in batches of more than one row. A
    row with a NaN or an infinity counts as padding.

    Args:
      outputs: Arrays `[B, ...]`, any float type; `[B, D]` after flattening.
      mask: True for rows that are not padding, `[B]`; all of them without it.

    Returns:
      `health/<name>/std` (mean of `deviations`), `health/<name>/rank` (`effective_rank`)
      and `health/<name>/dead` (`dead_share`), each `[]` float32: 0, 0 and 1 for constant
      codes, NaN where fewer than two rows are left.
    """
    figures = {}
    for name, value in outputs.items():
        if not _is_representation(name, value):
            continue
        h = value.reshape(value.shape[0], -1).astype(jnp.float32)  # [B, D]
        valid = jnp.all(jnp.isfinite(h), axis=1)  # [B]
        if mask is not None:
            valid &= mask.astype(bool)
        std = deviations(h, valid)
        figures[f"{PREFIX}{name}/std"] = jnp.mean(std)
        figures[f"{PREFIX}{name}/rank"] = effective_rank(h, valid)
        figures[f"{PREFIX}{name}/dead"] = dead_share(std)
    return figures


def _is_representation(name: str, value: jax.Array) -> bool:
    family, _, view = name.partition("/")
    if family not in ("shared", "embedding", "private", "features"):
        return False
    if not view and family in ("private", "features"):
        return False
    if not jnp.issubdtype(value.dtype, jnp.floating) or value.ndim < 2:
        return False
    return value.shape[0] > 1 and value.size > value.shape[0]


def _centre(h: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows `[B, D]` less their mean, zero where not valid, and the number of valid ones."""
    count = jnp.sum(valid)
    # Less a valid row first: what is constant becomes zero exactly, and a mean that is
    # large beside the deviations costs no digits.
    h = jnp.where(valid[:, None], h - h[jnp.argmax(valid)], 0.0)
    mean = jnp.sum(h, axis=0) / jnp.maximum(count, 1)
    return jnp.where(valid[:, None], h - mean, 0.0), count


def deviations(h: jax.Array, valid: jax.Array) -> jax.Array:
    """Standard deviation `[D]` of each dimension, with divisor n.

    Args:
      h: Codes, `[B, D]` float32; invalid rows may hold anything.
      valid: Rows that count, `[B]` bool; fewer than two give NaN.
    """
    centred, count = _centre(h, valid)
    std = jnp.sqrt(jnp.sum(centred**2, axis=0) / jnp.maximum(count, 1))
    return jnp.where(count > 1, std, jnp.nan)


def dead_share(std: jax.Array) -> jax.Array:
    """Share of deviations `[D]` below 1e-3 of the largest, or 1e-6; `[]`, NaN of NaN."""
    floor = jnp.maximum(RELATIVE_FLOOR * jnp.max(std), ABSOLUTE_FLOOR)
    return jnp.where(jnp.isnan(floor), jnp.nan, jnp.mean(std < floor))


def effective_rank(h: jax.Array, valid: jax.Array) -> jax.Array:
    """Exponential of the entropy of the normalised singular values of centred codes.

    Singular values below 1e-3 of the largest, and dimensions that vary by less than 1e-6,
    count as zero. The rank lies between 1 and the smaller of D and one less than the rows;
    where all codes are equal it is 0.

    Args:
      h: Codes, `[B, D]` float32, of which the first 256 rows enter.
      valid: Rows that count, `[B]` bool; fewer than two give NaN.
    """
    h, valid = h[:RANK_ROWS], valid[:RANK_ROWS]
    centred, count = _centre(h, valid)
    centred = jnp.where(deviations(h, valid) < ABSOLUTE_FLOOR, 0.0, centred)
    rows, width = centred.shape
    axes = ((0,), (0,)) if width <= rows else ((1,), (1,))
    # Accelerators would multiply in fewer digits than the floor relies on.
    gram = jax.lax.dot_general(
        centred, centred, (axes, ((), ())), precision=precision.HIGHEST
    )
    squares = jnp.linalg.eigvalsh(gram)
    kept = squares > RELATIVE_FLOOR**2 * jnp.max(squares)
    singular = jnp.sqrt(jnp.where(kept, squares, 0.0))
    total = jnp.sum(singular)
    share = singular / jnp.where(total > 0, total, 1.0)
    rank = jnp.exp(jnp.sum(jax.scipy.special.entr(share)))
    return jnp.where(count > 1, jnp.where(total > 0, rank, 0.0), jnp.nan)


class Watch:
    """Says in plain words when a representation falls below what it was in this run.

    It also says when most distances of a loss are at their floor, from the start or not.

    A fall is a standard deviation below a tenth of its best, a rank below a quarter, a
    share of live dimensions below half, or no live dimension at all. What was low from the
    start is no fall. Each is reported once, until the figure has recovered.
    """

    def __init__(self, seen: dict[str, Any]):
        self._seen = copy.deepcopy(seen)

    @classmethod
    def make(cls, seen: dict[str, Any] | None = None) -> "Watch":
        """Starts, or goes on from what a checkpoint has `seen`."""
        return cls(seen or {})

    @property
    def seen(self) -> dict[str, Any]:
        """What belongs into a checkpoint, as JSON."""
        return copy.deepcopy(self._seen)

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Takes metrics by name, those of `measure` among them, and returns warnings."""
        warnings = []
        found: dict[str, dict[str, float]] = {}
        for key, value in metrics.items():
            name, _, figure = key.removeprefix(PREFIX).rpartition("/")
            if figure == "dead":
                figure, value = "live", 1 - value
            if key.startswith(PREFIX) and figure in FALLS and math.isfinite(value):
                found.setdefault(name, {})[figure] = float(value)
            if key.rpartition("/")[2] == CLAMPED and math.isfinite(value):
                warnings.append(self._clamped(step, key, float(value)))
        warnings += [self._compare(step, name, now) for name, now in found.items()]
        return [text for text in warnings if text]

    def _clamped(self, step: int, name: str, share: float) -> str:
        """Notes a share of distances at their floor; returns a warning or nothing."""
        past = self._seen.setdefault(name, {"best": {}, "warned": []})
        known = bool(past["warned"])
        if share < MOST_CLAMPED / RECOVERY:
            past["warned"] = []
        if share <= MOST_CLAMPED or known:
            return ""
        past["warned"] = [CLAMPED]
        return (
            f"step {step}: {share:.0%} of the distances between codes are at the floor of "
            f"the loss, where they teach nothing (metric {name}); {ADVICE}"
        )

    def _compare(self, step: int, name: str, now: dict[str, float]) -> str:
        """Notes the figures of one representation; returns a warning or nothing."""
        is_first = name not in self._seen
        past = self._seen.setdefault(name, {"best": {}, "warned": []})
        best, warned = past["best"], set(past["warned"])
        low = set()
        for figure, value in now.items():
            if figure not in best or value > best[figure][0]:
                best[figure] = [value, step]
            limit = FALLS[figure] * best[figure][0]
            if value < limit:
                low.add(figure)
            elif value > RECOVERY * limit:
                warned.discard(figure)
        if now.get("live", 1.0) <= 0 and not is_first:
            low.add("constant")
        elif "live" in now:
            warned.discard("constant")
        past["warned"] = sorted(warned | low)
        return _say(step, name, low - warned, now, best)


def _say(step: int, name: str, fallen: set[str], now: dict, best: dict) -> str:
    """Words for what has newly fallen; empty if nothing has."""
    if "constant" in fallen:
        return (
            f"step {step}: {name} has collapsed: no dimension varies between the samples "
            f"any more; {ADVICE}"
        )
    words = {
        "rank": "its effective rank fell to {:.1f} (best {:.1f} at step {})",
        "std": "its standard deviation fell to {:.2g} (best {:.2g} at step {})",
        "live": "its live dimensions fell to {:.0%} (best {:.0%} at step {})",
    }
    said = ", ".join(words[k].format(now[k], *best[k]) for k in words if k in fallen)
    return f"step {step}: {name} may be collapsing: {said}; {ADVICE}" if said else ""
