"""Average precision of scores for several labels of one sample.

AP is the sum of (R_k - R_{k-1}) P_k over the distinct thresholds, without interpolation;
scores that are equal share a threshold. `map_micro` takes all pairs of sample and label
as one ranking: what the released code of DeCUR and of MV-MR calls mAP. `map_macro` is the
mean over the labels, in which one without any positive has 0, as the library that DeCUR
uses has it. `map_voc` is the mean over the labels that have a positive, the usual mAP.
`map_11` is that of the 11-point AP of VOC 2007.

A truth may be unknown, such as a class of which there are only difficult objects in an
image of VOC 2007: it is left out of the rankings, as that benchmark has it, or is a
negative, as in the released code of MV-MR.

Only the scores `[N, K]` are kept for a split, as a ranking needs them all.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import confusion
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """AP of one ranking; NaN without any positive.

    Args:
      scores: `[N]`, greater for more likely.
      truth: `[N]`, 0 or 1; what is neither does not count.
    """
    precision, found = _curve(scores, truth)
    if not len(found) or not found[-1]:
        return np.nan
    gained = np.diff(found, prepend=0) / found[-1]
    return float(np.sum(gained * precision))


def eleven_points(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the greatest precision at recalls of at least 0, 0.1, ..., 1.

    Takes what `average_precision` takes.
    """
    precision, found = _curve(scores, truth)
    if not len(found) or not found[-1]:
        return np.nan
    # Tenths are compared as whole numbers, so that no rounding decides.
    at_least = [10 * found >= tenth * found[-1] for tenth in range(11)]
    return float(np.mean([precision[chosen].max() for chosen in at_least]))


def is_known(truth: np.ndarray) -> np.ndarray:
    """Which truths are 0 or 1, of the same shape, bool."""
    return np.isin(truth, (0, 1))


def _curve(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and number of positives found at each distinct threshold, falling."""
    known = is_known(truth)
    scores, truth = scores[known], np.asarray(truth[known], np.int64)
    order = np.argsort(-scores, kind="stable")
    scores, truth = scores[order], truth[order]
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    found = np.cumsum(truth)[last]
    return found / (np.flatnonzero(last) + 1), found


def per_label(
    measure: Callable[[np.ndarray, np.ndarray], float],
    scores: np.ndarray,
    truth: np.ndarray,
) -> np.ndarray:
    """A measure of each label, `[K]`, of scores and truths `[N, K]`."""
    return np.array([measure(s, t) for s, t in zip(scores.T, truth.T, strict=True)])


def micro(scores: np.ndarray, truth: np.ndarray) -> float:
    """AP of all pairs of sample and label as one ranking, of `[N, K]`."""
    return average_precision(scores.reshape(-1), truth.reshape(-1))


def macro(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean AP of the labels, 0 for one without any positive, of `[N, K]`."""
    return float(np.nan_to_num(per_label(average_precision, scores, truth)).mean())


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """`map_micro`, `map_macro`, `map_voc` and `map_11` of multi-hot truths.

    With `batch` also `map_micro_batchmean` and `map_macro_batchmean`, the mean over
    batches of that size in the order of the records, as the released code of DeCUR
    reports.
    """

    output: limits.Text = "logits"
    target: limits.Text = "labels"  # Multi-hot, `[K]`: 1 where the label holds.
    split: limits.Text = "test"
    ignore: int = 255  # What stands for a truth that is not known.
    unknown: limits.one_of("left_out", "negative") = "left_out"  # What such a truth is.
    batch: limits.Natural = 0  # 0: no mean over batches.
    drop_last: bool = (
        True  # Whether that mean leaves out a last batch that is not full.
    )
    per_class: bool = False  # Also `ap/<number>` of the labels.

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, output or target, or an output of another width.
        """
        offer.check_splits(self.split)
        offer.check_target(self.target, shaped=True)
        shape, wanted = offer.output_shape(self.output), offer.target_shape(self.target)
        if len(wanted) != 1 or tuple(shape) != tuple(wanted):
            raise errors.UserError(
                f"Output {self.output!r} has shape {tuple(shape)} per sample and target "
                f"{self.target!r} {tuple(wanted)}; both must be (labels,)."
            )
        ignore = offer.spec.targets[self.target].ignore
        if ignore is not None and ignore != self.ignore:
            raise errors.UserError(
                f"Target {self.target!r} is {ignore:g} where it is not known: set "
                f"ignore={ignore:g}."
            )
        names = ["map_micro", "map_macro", "map_voc", "map_11"]
        if self.batch:
            least = self.batch if self.drop_last else 1
            offer.check_size(self.split, least, f"batches of {self.batch}")
            names += ["map_micro_batchmean", "map_macro_batchmean"]
        return names + [f"ap/{k}" for k in range(wanted[0]) if self.per_class]

    def class_names(self, spec: Any) -> tuple[str, ...]:
        """What the numbers in `ap/<number>` stand for; (): the data do not say."""
        return spec.target_names.get(self.target, ())

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns the scores by name; those that are not defined are left out.

        Raises:
          UserError: Truths that are neither 0 nor 1 nor unknown.
        """
        scores, truth = self.read(features)
        each = per_label(average_precision, scores, truth)
        result = {
            "map_micro": micro(scores, truth),
            "map_macro": float(np.nan_to_num(each).mean()),
            "map_voc": confusion.mean(each),
            "map_11": confusion.mean(per_label(eleven_points, scores, truth)),
        }
        if self.batch:
            result |= self._batch_means(scores, truth)
        if self.per_class:
            result |= {f"ap/{k}": value for k, value in enumerate(each)}
        for name in [name for name, value in result.items() if np.isnan(value)]:
            with features.leaving_out(name):
                del result[name]
                raise features_lib.Insufficient("It is not defined for these samples.")
        return result

    def read(self, features: features_lib.Features) -> tuple[np.ndarray, np.ndarray]:
        """Scores and truths, `[N, K]`; truths that are left out keep their value.

        Raises:
          UserError: See `run`.
        """
        scores = features.get(self.split, self.output)
        truth = features.target(self.split, self.target)
        where = f"Target {self.target!r} of split {self.split!r}"
        if truth.shape != scores.shape:
            raise errors.UserError(
                f"{where} has shape {truth.shape}, {self.output!r} {scores.shape}."
            )
        unknown = truth == self.ignore
        wrong = truth[~(is_known(truth) | unknown)]
        if wrong.size:
            raise errors.UserError(
                f"{where} must hold 0, 1 and, where it is not known, {self.ignore} only; "
                f"it holds {wrong[0]:g}."
            )
        if self.unknown == "negative":
            truth = np.where(unknown, 0, truth)
        return scores, truth

    def _batch_means(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """Means over batches; one without any positive has 0."""
        size = len(scores)
        end = size - size % self.batch if self.drop_last else size
        parts = [slice(i, i + self.batch) for i in range(0, end, self.batch)]
        if not parts:
            return {"map_micro_batchmean": np.nan, "map_macro_batchmean": np.nan}
        micros = [np.nan_to_num(micro(scores[p], truth[p])) for p in parts]
        macros = [macro(scores[p], truth[p]) for p in parts]
        return {
            "map_micro_batchmean": float(np.mean(micros)),
            "map_macro_batchmean": float(np.mean(macros)),
        }
