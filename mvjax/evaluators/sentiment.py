"""Sentiment scores of a model's predictions, beside a predictor that saw no input.

See `common/sentiment_metrics.py` for the scores and where the released ones differ.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import sentiment_metrics as metrics

KINDS = ("mosi", "sims", "classification")
BASELINES = {
    "mosi": "mean_predictor",
    "sims": "mean_predictor",
    "classification": "majority_class",
}
_OUTPUTS = {"mosi": "score", "sims": "score", "classification": "logits"}
# What gets an interval if nothing else is asked for.
_INTERVALS = {
    "mosi": ("mae", "corr"),
    "sims": ("mae", "corr"),
    "classification": ("accuracy", "f1"),
}
_SENTIMENTS = 3  # Classes: negative, neutral, positive.


@dataclasses.dataclass(frozen=True)
class Task:
    """What is predicted and how it is scored.

    Args:
      kind: `mosi` (also MOSEI) or `sims`, a truth on a scale, or `classification`; three
        classes are taken as negative, neutral and positive.
      target: The truth on a scale; classification takes the labels.
      output: Name that `predict` gives the prediction; "": `score` or `logits`.
    """

    kind: str
    target: str
    output: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise errors.unknown("kind", self.kind, KINDS)

    @property
    def feature(self) -> str:
        """Name that `predict` gives the prediction."""
        return self.output or _OUTPUTS[self.kind]

    def check(
        self, offer: offer_lib.Offer, splits: Sequence[str], intervals: Sequence[str]
    ) -> dict[str, metrics.Metric]:
        """The metrics that fit what the data and the method offer, by name.

        Raises:
          UserError: Unknown split, output, target or metric, an output of the wrong
            width, or, as `Insufficient`, data without labels.
        """
        offer.check_splits(*splits)
        columns = offer.columns(self.feature)
        self.check_columns(columns)
        table = self.table(columns)
        for name in intervals:
            if name not in table:
                raise errors.unknown("metric", name, table)
        if self.kind == "classification":
            offer.check_factor()
        else:
            offer.check_target(self.target)
            if shape := offer.target_shape(self.target):
                raise errors.UserError(
                    f"Target {self.target!r} has shape {shape}; sentiment needs a number "
                    "on a scale."
                )
        return table

    def interval_names(self, names: Sequence[str]) -> Sequence[str]:
        """The metrics that get an interval, those asked for or the two that matter."""
        return names or _INTERVALS[self.kind]

    def truth(self, features: features_lib.Features, split: str) -> np.ndarray:
        """The truth of a split, `[N]`; finite."""
        if self.kind == "classification":
            return features.labels(split)
        truth = features.target(split, self.target)
        bad = int((~np.isfinite(truth)).sum())
        if bad:
            raise features_lib.Insufficient(
                f"Target {self.target!r} of split {split!r} is not finite for {bad} of "
                f"{len(truth)} samples, and this evaluation needs them."
            )
        return truth

    def prediction(self, rows: np.ndarray) -> np.ndarray:
        """The model's output `[N, D]` or `[N]` as `[N]`, or logits `[N, K]`, checked."""
        rows = rows.reshape(len(rows), -1)
        self.check_columns(rows.shape[1])
        return rows if self.kind == "classification" else rows[:, 0]

    def check_columns(self, columns: int) -> None:
        """Refuses an output that is no prediction of this kind."""
        need = "one"
        if self.kind == "classification":
            need = "one for each class"
            fits = columns > 1
        else:
            fits = columns == 1
        if not fits:
            raise errors.UserError(
                f"Output {self.feature!r} has {columns} columns, but kind "
                f"{self.kind!r} needs {need}; set kind or output."
            )

    def table(self, columns: int) -> dict[str, metrics.Metric]:
        """The metrics of a prediction of so many columns, by name."""
        if self.kind == "classification":
            return (
                metrics.POLARITY if columns == _SENTIMENTS else metrics.CLASSIFICATION
            )
        return metrics.MOSI if self.kind == "mosi" else metrics.SIMS

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """All metrics that are defined."""
        return metrics.score(self.table(columns(prediction)), prediction, truth)

    def note_undefined(
        self,
        gaps: features_lib.LeavesOut,
        place: str,
        prediction: np.ndarray,
        scores: Mapping[str, float],
    ) -> None:
        """Notes the metrics below a place that are not among the scores."""
        for name in self.table(columns(prediction)):
            if name not in scores:
                gaps.left_out[f"{place}/{name}"] = (
                    "It is not defined for these samples."
                )

    def intervals(
        self,
        prediction: np.ndarray,
        truth: np.ndarray,
        *,
        names: tuple[str, ...] = (),
        other: np.ndarray | None = None,
        draws: int,
        seed: int,
    ) -> dict[str, tuple[float, float]]:
        """Intervals of 95 % of metrics, or of their difference to another model's.

        Args:
          prediction: See `prediction`.
          truth: `[N]`.
          names: Of the metrics; (): the two that matter most.
          other: The other model's prediction.
          draws: Number of draws; 0: no interval.
          seed: Of the draws.

        Returns:
          Both ends by name, those that are finite.
        """
        if draws < 0:
            raise errors.UserError(f"draws must be >= 0, not {draws}.")
        table, found = self.table(columns(prediction)), {}
        for name in self.interval_names(names):
            if name not in table:
                raise errors.unknown("metric", name, table)
            if draws:
                found[name] = metrics.bootstrap_interval(
                    table[name], prediction, truth, other=other, draws=draws, seed=seed
                )
        return {name: ends for name, ends in found.items() if np.isfinite(ends).all()}

    def blind(self, truth: np.ndarray, size: int, columns: int) -> np.ndarray:
        """What a predictor without input says: mean or most frequent class of `[M]`.

        Returns:
          `[size]`, or logits `[size, columns]`.
        """
        if self.kind != "classification":
            return np.full(size, np.mean(truth, dtype=np.float64), np.float32)
        counts = np.bincount(truth, minlength=columns)
        return np.eye(len(counts), dtype=np.float32)[[np.argmax(counts)] * size]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores of each split, of the model and of the mean of the training truths.

    With `draws`, the metrics named in `intervals` get the ends of a bootstrap interval
    of 95 % (`mae_low`, `mae_high`).
    """

    kind: limits.one_of(*KINDS) = "mosi"
    target: limits.Text = "score"
    output: str = ""  # See `Task`.
    splits: limits.AnyNames = ()  # (): all but the training split.
    train: limits.Text = "train"
    baseline: bool = True
    draws: limits.Draws = 0
    intervals: limits.AnyNames = ()  # (): mae and corr, or accuracy and f1.
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown kind, split, target, output or metric.
        """
        task = Task(self.kind, self.target, self.output)
        splits = self._splits(offer.splits)
        table = task.check(offer, (self.train, *splits), self.intervals)
        ends = task.interval_names(self.intervals) if self.draws else ()
        names = []
        for split in splits:
            names += [f"{split}/{name}" for name in table]
            names += [
                f"{split}/{name}_{end}" for name in ends for end in ("low", "high")
            ]
            if self.baseline:
                names += [f"{BASELINES[self.kind]}/{split}/{name}" for name in table]
        return names

    def _splits(self, known: Sequence[str]) -> tuple[str, ...]:
        """The splits that are scored."""
        return self.splits or tuple(split for split in known if split != self.train)

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<split>/<metric>`, `<split>/official/<metric>` and baselines.

        Those of the baseline stand below `mean_predictor/` or, for classes,
        `majority_class/`. A metric that is not defined for a split is left out.

        Raises:
          UserError: See `check`.
        """
        task = Task(self.kind, self.target, self.output)
        result, blind = {}, {}
        for split in self._splits(features.splits):
            with features.leaving_out(split):
                truth = task.truth(features, split)
                prediction = task.prediction(features.get(split, task.feature))
                scores = task.score(prediction, truth)
                task.note_undefined(features, split, prediction, scores)
                ends = task.intervals(
                    prediction,
                    truth,
                    names=self.intervals,
                    draws=self.draws,
                    seed=self.seed,
                )
                for name, (low, high) in ends.items():
                    scores |= {f"{name}_low": low, f"{name}_high": high}
                result |= {f"{split}/{name}": value for name, value in scores.items()}
                if self.baseline:
                    blind |= self._blind(task, features, split, truth, prediction)
        return result | blind

    def _blind(
        self,
        task: Task,
        features: features_lib.Features,
        split: str,
        truth: np.ndarray,
        prediction: np.ndarray,
    ) -> dict[str, float]:
        """Scores of a predictor that saw no input."""
        place, found = f"{BASELINES[self.kind]}/{split}", {}
        with features.leaving_out(place):
            seen = task.truth(features, self.train)
            guess = task.blind(seen, len(truth), columns(prediction))
            found = task.score(guess, truth)
        return {f"{place}/{name}": value for name, value in found.items()}


def columns(prediction: np.ndarray) -> int:
    """Columns of a prediction `[N]` or `[N, K]`."""
    return prediction.shape[1] if prediction.ndim == 2 else 1
