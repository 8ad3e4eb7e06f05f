"""What is left of one trained model's scores if views are missing at test time.

Every subset of the views but the empty one is scored in a pass of its own: `present` is
switched off for the views outside, and the method does with it what it does for samples
that lack a view. So this works for any method whose `predict` heeds `present`.
"""

from collections.abc import Collection, Mapping, Sequence
import dataclasses
import functools
import itertools
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators import sentiment
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import offer as offer_lib

_MOST_VIEWS = 6  # 63 passes.


def subsets(views: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets but the empty one, small ones first, views in their order."""
    sizes = range(1, len(views) + 1)
    return [s for size in sizes for s in itertools.combinations(views, size)]


def keep_views(batch: dict[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    """A batch in which no sample has the views outside `kept`.

    Args:
      batch: With `views` and optionally `present`; not changed.
      kept: Names of views; a sample that lacks one of them still lacks it.
    """
    present = {}
    for view, values in batch["views"].items():
        has = batch.get("present", {}).get(view)
        has = np.ones(len(values), bool) if has is None else np.asarray(has, bool)
        present[view] = has if view in kept else np.zeros_like(has)
    return {**batch, "present": present}


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores for each subset of the views, named like `text+audio`.

    They are the scores of another evaluator of the config, `of`, or where none is named
    those of sentiment on `split`. With `draws`, the latter get also `<metric>_change`,
    the difference to all views, with the ends of a paired bootstrap interval of 95 %
    (`_low`, `_high`).
    """

    kind: limits.one_of(*sentiment.KINDS) = "mosi"
    target: limits.Text = "score"
    output: str = ""  # See `sentiment.Task`.
    views: limits.AnyNames = ()  # Whose subsets; others are missing. (): all.
    split: limits.Text = "test"
    draws: limits.Draws = 0
    intervals: limits.AnyNames = ()  # Metrics; (): mae and corr, or accuracy and f1.
    seed: limits.Natural = 0
    of: str = ""  # Label of another evaluator in `config.evals`.
    inner: Any = dataclasses.field(default=None, init=False)  # The evaluator `of`.

    def bind(self, evaluators: Mapping[str, Any]) -> "Evaluator":
        """The same with the evaluator that `of` names, found by label.

        Raises:
          UserError: There is no such evaluator, it wraps others itself, or settings of
            the sentiment scores are given beside it.
        """
        if not self.of:
            return self
        known = [k for k, v in evaluators.items() if not isinstance(v, Evaluator)]
        if self.of not in known:
            raise errors.unknown("evaluator in `of`", self.of, known)
        default = Evaluator(of=self.of, views=self.views)
        for field in dataclasses.fields(self):
            if getattr(self, field.name) != getattr(default, field.name):
                raise errors.UserError(
                    f"`{field.name}` says nothing beside of={self.of!r}, which brings "
                    "settings of its own; leave it out."
                )
        bound = dataclasses.replace(self)
        object.__setattr__(bound, "inner", evaluators[self.of])
        return bound

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown kind, split, view, target, output or metric, or more views
            than can be left out.
        """
        if self.inner is not None:
            names = self.inner.check(offer) if hasattr(self.inner, "check") else []
            views = self._views(offer.spec.views)
            for name, reason in list(offer.left_out.items()):
                del offer.left_out[name]
                offer.left_out |= {
                    f"{'+'.join(s)}/{name}": reason for s in subsets(views)
                }
            return [f"{'+'.join(s)}/{name}" for s in subsets(views) for name in names]
        task = sentiment.Task(self.kind, self.target, self.output)
        table = task.check(offer, (self.split,), self.intervals)
        views = self._views(offer.spec.views)
        ends = task.interval_names(self.intervals) if self.draws else ()
        changes = [f"{n}_change{end}" for n in ends for end in ("", "_low", "_high")]
        return [
            f"{'+'.join(subset)}/{name}"
            for subset in subsets(views)
            for name in (*table, *(changes if subset != views else ()))
        ]

    def class_names(self, spec: Any) -> tuple[str, ...]:
        """What the other evaluator's numbered scores stand for, where it says so."""
        named = getattr(self.inner, "class_names", None)
        return named(spec) if named else ()

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<subset>/<metric>`.

        Raises:
          UserError: See `check`, or a method that pays no attention to `present`.
        """
        if self.inner is not None:
            return self._run_inner(features)
        task = sentiment.Task(self.kind, self.target, self.output)
        views = self._views(features.views(self.split))
        truth = task.truth(features, self.split)
        predictions = {s: self._predict(features, task, s) for s in subsets(views)}
        full = predictions[views]
        if len(views) > 1 and _all_equal(list(predictions.values())):
            raise errors.UserError(
                f"Output {task.feature!r} is the same whichever of the views "
                f"{', '.join(views)} are missing: the method's predict does not heed "
                "`present`."
            )
        result = {}
        for subset, prediction in predictions.items():
            scores, place = task.score(prediction, truth), "+".join(subset)
            task.note_undefined(features, place, prediction, scores)
            if subset != views:
                scores |= self._changes(task, prediction, full, truth)
            result |= {f"{place}/{name}": value for name, value in scores.items()}
        return result

    def _run_inner(self, features: features_lib.Features) -> dict[str, float]:
        """Scores of the other evaluator for each subset."""
        split = getattr(self.inner, "split", features.splits[-1])
        views = self._views(features.views(split))
        changed = {
            subset: features.changed(functools.partial(keep_views, kept=subset))
            for subset in subsets(views)
        }
        if len(views) > 1 and _same(
            [next(f.batches(split))[1] for f in changed.values()]
        ):
            raise errors.UserError(
                f"No output differs, whichever of the views {', '.join(views)} are "
                "missing: the method's predict does not heed `present`."
            )
        result = {}
        for subset, some in changed.items():
            place = "+".join(subset)
            with features.leaving_out(place):
                scores = measured.run(self.inner, some)
                result |= {f"{place}/{name}": value for name, value in scores.items()}
            left_out = some.left_out.items()
            features.left_out |= {f"{place}/{name}": why for name, why in left_out}
        return result

    def _views(self, known: Collection[str]) -> tuple[str, ...]:
        """The views whose subsets are scored, in the order of the data."""
        for view in self.views:
            if view not in known:
                raise errors.unknown("view", view, known)
        views = tuple(v for v in known if v in self.views or not self.views)
        if len(views) > _MOST_VIEWS:
            raise errors.UserError(
                f"{len(views)} views have {2 ** len(views) - 1} subsets; name at most "
                f"{_MOST_VIEWS} of {', '.join(views)} in `views`."
            )
        return views

    def _predict(
        self, features: features_lib.Features, task: sentiment.Task, kept: Sequence[str]
    ) -> np.ndarray:
        """Predictions in index order from the views that are kept."""
        features.expand(self.split, task.feature)  # Names the choices if unknown.
        order, parts = [], []
        stream = features.changed(lambda batch: keep_views(batch, kept)).batches(
            self.split, (task.feature,)
        )
        for batch, outputs in stream:
            order.append(batch["index"])
            parts.append(outputs[task.feature])
        prediction = task.prediction(np.concatenate(parts))
        bad = int((~np.isfinite(prediction.reshape(len(prediction), -1))).any(1).sum())
        if bad:
            raise errors.UserError(
                f"Output {task.feature!r} from {'+'.join(kept)} is NaN or infinite for "
                f"{bad} of {len(prediction)} samples."
            )
        return prediction[np.argsort(np.concatenate(order), kind="stable")]

    def _changes(
        self,
        task: sentiment.Task,
        prediction: np.ndarray,
        full: np.ndarray,
        truth: np.ndarray,
    ) -> dict[str, float]:
        """Differences to all views with their intervals."""
        ends = task.intervals(
            prediction,
            truth,
            names=self.intervals,
            other=full,
            draws=self.draws,
            seed=self.seed,
        )
        table, scores = task.table(sentiment.columns(full)), {}
        for name, (low, high) in ends.items():
            change = table[name](prediction, truth) - table[name](full, truth)
            scores |= {
                f"{name}_change": change,
                f"{name}_change_low": low,
                f"{name}_change_high": high,
            }
        return scores


def _same(found: list[dict[str, np.ndarray]]) -> bool:
    """Whether all outputs are the same in all of these."""
    return all(
        np.array_equal(value, other[name], equal_nan=True)
        for other in found[1:]
        for name, value in found[0].items()
    )


def _all_equal(predictions: list[np.ndarray]) -> bool:
    """Whether all predictions are the same although they tell samples apart."""
    first = predictions[0]
    constant = not np.ptp(first, axis=0).any()
    return not constant and all(np.array_equal(first, p) for p in predictions[1:])
