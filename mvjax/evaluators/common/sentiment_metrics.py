"""Scores of sentiment predictions as the benchmarks of MOSI, MOSEI and SIMS define them.

`prediction` and `truth` are `[N]` real numbers (classification: logits `[N, K]` and
labels `[N]`). Each table `MOSI`, `SIMS`, `CLASSIFICATION`, `POLARITY` maps names to
functions of both. Names under `official/` are what the released evaluation computes where
it errs; the plain name is then the corrected score.

* F1 scores are weighted by how often a class occurs in the truth. The released final
  report of MOSI and MOSEI passes truth and prediction in the wrong order, so that the
  predicted classes weigh: `official/non0_f1`, `official/positive_f1`.
* The released "non-zero" scores of three classes compare labels 0 and 2 with guesses 0
  and 1, so that a positive is never right: `official/non0_acc2`, `official/non0_f1`.

A score without anything to count, such as one of the non-zero truths where all are
zero, is NaN; `score` leaves it out. The correlation of a constant is 0: it tells nothing.
Nothing is rounded here; the released code rounds to four decimals.
"""

from collections.abc import Callable, Mapping

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]

OFFICIAL = "official/"
NEUTRAL = 1  # Classes of sentiment: 0 negative, 1 neutral, 2 positive.
# Right-closed: a value that equals an edge belongs below it.
_SIMS_EDGES = {2: (0.0,), 3: (-0.1, 0.1), 5: (-0.7, -0.1, 0.1, 0.7)}


def score(
    metrics: Mapping[str, Metric], prediction: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """All metrics of a table that are defined for these samples.

    Args:
      metrics: One of the tables of this file.
      prediction: `[N]`, or `[N, K]` logits for the tables of classification.
      truth: `[N]`.
    """
    if len(prediction) != len(truth) or truth.ndim != 1 or not truth.size:
        raise ValueError(
            f"prediction {prediction.shape} and truth {truth.shape} must have the same "
            "number of samples, at least one"
        )
    values = {name: metric(prediction, truth) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def accuracy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Share of equal entries of two `[N]`; NaN without any."""
    return float(np.mean(truth == guess)) if len(truth) else float("nan")


def weighted_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    """F1 of each class, weighted by its share of the truth, `[N]` both; NaN without any.

    The F1 of a class is symmetric in its arguments, their weights are not.
    """
    if not len(truth):
        return float("nan")
    total = 0.0
    for k in np.unique(truth):
        in_truth, in_guess = truth == k, guess == k
        both = np.sum(in_truth & in_guess)
        total += np.sum(in_truth) * 2 * both / (np.sum(in_truth) + np.sum(in_guess))
    return float(total / len(truth))


def mean_absolute_error(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean of |prediction - truth|, not clipped."""
    return float(np.mean(np.abs(_double(prediction) - _double(truth))))


def correlation(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Pearson's r; 0 if either is constant."""
    # The deviations of a constant from its mean may be rounding errors, not zeros.
    if np.ptp(prediction) == 0 or np.ptp(truth) == 0:
        return 0.0
    x, y = (_double(v) - _double(v).mean() for v in (prediction, truth))
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # Squares of tiny values vanish.
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def rounded_accuracy(limit: float) -> Metric:
    """Accuracy after clipping to +-limit and rounding, half to even, on both sides."""

    def metric(prediction: np.ndarray, truth: np.ndarray) -> float:
        classes = (np.round(np.clip(v, -limit, limit)) for v in (truth, prediction))
        return accuracy(*classes)

    return metric


def weighted_accuracy(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy of positive against the rest if both were equally frequent.

    With p positive and n other truths: (tp * n / p + tn) / (2 n); NaN if either is 0.
    """
    positive, guess = truth > 0, prediction > 0
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return float("nan")
    hits, others = np.sum(positive & guess), np.sum(~positive & ~guess)
    return float((hits * (n / p) + others) / (2 * n))


def senti(
    prediction: np.ndarray, truth: np.ndarray, *, exclude_zero: bool
) -> dict[str, float]:
    """The final report of the released code, F1 weighted by predicted classes.

    Args:
      prediction: `[N]`.
      truth: `[N]`.
      exclude_zero: Whether samples of truth 0 are left out of `f1` and `acc`, which
        tell positive from the rest.

    Returns:
      `f1`, `acc`, `mae`, `corr`, `acc7` and `acc5`, those that are defined.
    """
    chosen = _non_zero if exclude_zero else _all
    positive = {
        "f1": _binary(chosen, np.greater, _swapped_f1),
        "acc": _binary(chosen, np.greater, accuracy),
    }
    rest = {name: MOSI[name] for name in ("mae", "corr", "acc7", "acc5")}
    return score(positive | rest, prediction, truth)


def bootstrap_interval(
    metric: Metric,
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    other: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a metric over samples drawn with replacement.

    Args:
      metric: Function of prediction and truth; draws for which it is NaN do not count.
      prediction: `[N, ...]`.
      truth: `[N]`.
      other: A second model's prediction of the same samples: the interval is that of
        `metric(prediction) - metric(other)`, both on the same draws, so that samples
        which are hard for both cancel.
      draws: Number of draws.
      seed: Of the draws; equal seeds and sizes draw equal samples.
      level: Share of the draws within the interval.

    Returns:
      Both ends; NaN if the metric is NaN for every draw.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws {draws} must be >= 1, and level {level} in (0, 1)")
    rng = np.random.default_rng(seed)
    values = np.empty(draws)
    for i in range(draws):
        rows = rng.integers(len(truth), size=len(truth))
        values[i] = metric(prediction[rows], truth[rows])
        if other is not None:
            values[i] -= metric(other[rows], truth[rows])
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _swapped_f1(truth: np.ndarray, guess: np.ndarray) -> float:
    """The released slip: the guess weighs."""
    return weighted_f1(guess, truth)


def _double(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64)


def _all(truth: np.ndarray) -> np.ndarray:
    return np.ones(len(truth), bool)


def _non_zero(truth: np.ndarray) -> np.ndarray:
    return truth != 0


def _binary(
    chosen: Callable[[np.ndarray], np.ndarray],
    compare: Callable[..., np.ndarray],
    compute: Metric,
) -> Metric:
    """A metric of two classes: `compute(truth, guess)` of the chosen samples' signs."""

    def metric(prediction: np.ndarray, truth: np.ndarray) -> float:
        rows = chosen(truth)
        return compute(compare(truth[rows], 0), compare(prediction[rows], 0))

    return metric


def _unit(metric: Metric) -> Metric:
    """A metric of values clipped to [-1, 1]."""

    def clipped(prediction: np.ndarray, truth: np.ndarray) -> float:
        return metric(np.clip(prediction, -1, 1), np.clip(truth, -1, 1))

    return clipped


def _binned(classes: int, compute: Metric) -> Metric:
    """A metric of the bins of SIMS: `compute(truth, guess)`."""
    # In float32, as labels are stored: 0.1 there is above the 0.1 of Python.
    edges = np.asarray(_SIMS_EDGES[classes], np.float32)

    def metric(prediction: np.ndarray, truth: np.ndarray) -> float:
        bins = (np.searchsorted(edges, np.float32(v)) for v in (truth, prediction))
        return compute(*bins)

    return metric


def _argmax(compute: Metric) -> Metric:
    """A metric of the most likely class: `compute(labels, guess)`."""
    return lambda logits, labels: compute(labels, np.argmax(logits, axis=1))


def _poles(compute: Metric, *, drop_neutral: bool, positive: int = NEUTRAL) -> Metric:
    """A metric of positive (1) against negative (0), by the logits of both.

    Args:
      compute: Takes truth and guess.
      drop_neutral: Whether neutral truths are left out; else they count as negative.
      positive: What a positive truth is called; 2 is the slip of the released code.
    """

    def metric(logits: np.ndarray, labels: np.ndarray) -> float:
        rows = labels != NEUTRAL if drop_neutral else _all(labels)
        guess = np.argmax(logits[rows][:, [0, 2]], axis=1)
        return compute(np.where(labels[rows] > NEUTRAL, positive, 0), guess)

    return metric


MOSI: dict[str, Metric] = {
    "mae": mean_absolute_error,
    "corr": correlation,
    "acc7": rounded_accuracy(3),
    "acc5": rounded_accuracy(2),
    # Negative against the rest, then positive against negative, then against the rest.
    "has0_acc2": _binary(_all, np.greater_equal, accuracy),
    "has0_f1": _binary(_all, np.greater_equal, weighted_f1),
    "non0_acc2": _binary(_non_zero, np.greater, accuracy),
    "non0_f1": _binary(_non_zero, np.greater, weighted_f1),
    "positive_acc2": _binary(_all, np.greater, accuracy),
    "positive_f1": _binary(_all, np.greater, weighted_f1),
    "weighted_acc2": weighted_accuracy,
    "official/non0_f1": _binary(_non_zero, np.greater, _swapped_f1),
    "official/positive_f1": _binary(_all, np.greater, _swapped_f1),
}

SIMS: dict[str, Metric] = {
    "mae": _unit(mean_absolute_error),
    "corr": _unit(correlation),
    "acc2": _unit(_binned(2, accuracy)),
    "acc3": _unit(_binned(3, accuracy)),
    "acc5": _unit(_binned(5, accuracy)),
    "f1": _unit(_binned(2, weighted_f1)),
    # The released code scores this data set like MOSI.
    **{
        OFFICIAL + name: MOSI[name]
        for name in (
            *("mae", "corr", "acc7", "acc5"),
            *("has0_acc2", "has0_f1", "non0_acc2", "non0_f1"),
        )
    },
}

CLASSIFICATION: dict[str, Metric] = {
    "accuracy": _argmax(accuracy),
    "f1": _argmax(weighted_f1),
}

# Of three classes of sentiment. The benchmark's "Has0" counts neutral as negative here,
# unlike in regression.
POLARITY: dict[str, Metric] = {
    **CLASSIFICATION,
    "has0_acc2": _poles(accuracy, drop_neutral=False),
    "has0_f1": _poles(weighted_f1, drop_neutral=False),
    "non0_acc2": _poles(accuracy, drop_neutral=True),
    "non0_f1": _poles(weighted_f1, drop_neutral=True),
    "official/non0_acc2": _poles(accuracy, drop_neutral=True, positive=2),
    "official/non0_f1": _poles(weighted_f1, drop_neutral=True, positive=2),
}
