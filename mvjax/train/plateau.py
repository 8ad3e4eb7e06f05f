"""What an evaluation may do to a run: lower the learning rate, or end it.

Both count evaluations without improvement of one metric, as `ReduceLROnPlateau` and the
early stopping of PyTorch users do.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from mvjax.core import limits
from mvjax.core import schema
from mvjax.core import state as state_lib
from mvjax.train import sharding


@dataclasses.dataclass
class Plateau:
    """The settings and how the metric has fared; `seen` is all that a resume needs."""

    settings: dict[str, Any]
    best: float = math.nan
    waiting_to_lower: int = 0
    waiting_to_stop: int = 0
    scale: float = 1.0  # Of the learning rate.

    @classmethod
    def make(cls, config: Any, seen: dict[str, float] | None = None) -> "Plateau":
        """Starts, or goes on from what a checkpoint has `seen`."""
        defaults = {k: f.default for k, f in limits.declared(schema.Control).items()}
        settings = defaults | dict(config)
        made = cls(settings)
        for name, value in (seen or {}).items():
            setattr(made, name, math.nan if value is None else value)
        return made

    @property
    def seen(self) -> dict[str, Any]:
        """What belongs into a checkpoint, as JSON."""
        kept = {k: v for k, v in vars(self).items() if k != "settings"}
        return kept | {"best": None if math.isnan(self.best) else self.best}

    @property
    def stopped(self) -> bool:
        """Whether the run has waited long enough."""
        limit = self.settings["stop_after"]
        return bool(limit) and self.waiting_to_stop >= limit

    def observe(self, results: dict[str, dict[str, float]]) -> None:
        """Takes what evaluators found, `{label: {metric: value}}`.

        One that ran and has no value of the metric, or NaN, did not improve it.
        """
        label, _, metric = self.settings["metric"].partition("/")
        if metric and label in results:
            self._count(results[label].get(metric, math.nan))

    def _count(self, value: float) -> None:
        if self._is_better(value):
            self.best = value
            self.waiting_to_lower = self.waiting_to_stop = 0
            return
        self.waiting_to_stop += 1
        self.waiting_to_lower += 1
        limit = self.settings["lower_after"]
        if limit and self.waiting_to_lower > limit:
            self.scale *= self.settings["factor"]
            self.waiting_to_lower = 0

    def _is_better(self, value: float) -> bool:
        if math.isnan(value) or math.isnan(self.best):
            return not math.isnan(value)
        share = self.settings["threshold"]
        if self.settings["mode"] == "min":
            return value < self.best * (1 - share)
        return value > self.best * (1 + share)

    def apply(self, state: state_lib.TrainState) -> state_lib.TrainState:
        """The state with the learning rate's present scale."""
        old = state.lr_scale
        scale = np.full(old.shape, self.scale, np.float32)
        return state.replace(lr_scale=sharding.put_batch(scale, old.sharding))
