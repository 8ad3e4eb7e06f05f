"""The scores of a run: its features and evaluators, checked before its first step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
from typing import Any

import jax
import numpy as np

from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.core import notice
from mvjax.core import state as state_lib
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import predictor as predictor_lib
from mvjax.evaluators.common import suite
from mvjax.train import constants
from mvjax.train import health
from mvjax.train import optim
from mvjax.train import program as program_lib
from mvjax.train import seeds
from mvjax.train import sharding


class Scoring:
    """What is measured of a run's variables.

    Args:
      program: The program of the run, on whose devices the features are computed.
    """

    def __init__(self, program: program_lib.Program):
        self.program = program
        self.run = program.run

    def predictor(
        self,
        variables: method_lib.Variables,
        prepare: Callable[[dict[str, Any]], dict[str, Any]] = lambda batch: batch,
    ) -> predictor_lib.Predictor:
        """`predict` with variables bound, over this process's devices."""
        mesh = sharding.evaluation_mesh(self.program.mesh)
        whole, rows = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        return predictor_lib.Predictor(
            self._programs,
            jax.device_put(variables, whole),
            rows=rows,
            whole=whole,
            prepare=prepare,
        )

    @functools.cached_property
    def _programs(self) -> predictor_lib.Programs:
        method, transform = self.run.method, self.run.inputs.transform

        def predict(variables: method_lib.Variables, batch: method_lib.Batch) -> Any:
            batch = transform(batch, None) if transform else batch
            return method.predict(variables, batch)

        return predictor_lib.Programs(predict)

    @functools.cached_property
    def _untrained(self) -> predictor_lib.Predictor:
        return self.predictor(self.run.fresh_variables(), constants.detach)

    def features(self, variables: method_lib.Variables) -> features_lib.Features:
        """Features of the splits, with those of untrained variables as baseline."""
        return features_lib.Features(
            self.predictor(variables),
            {split: self.run.training_source(split) for split in self.run.splits},
            batch_size=self.run.eval_batch_size,
            baseline=self._untrained,
            threads=self.run.config.data.threads,
            workers=self.run.config.data.workers,
        )

    def evaluators(self) -> dict[str, Any]:
        """The evaluators of `config.evals` by label."""
        return suite.make(self.run.config.evals)

    def class_names(self) -> dict[str, tuple[str, ...]]:
        """What the data call the classes that evaluators number, by label."""
        spec = self.run.inputs.batch_spec
        return {
            label: evaluator.class_names(spec)
            for label, evaluator in self.evaluators().items()
            if hasattr(evaluator, "class_names")
        }

    def health(self, state: state_lib.TrainState) -> dict[str, float]:
        """How the codes of the first training records spread, see `health.measure`."""
        variables = state.eval_variables
        if jax.process_count() > 1:
            variables = self.program.fetch(variables)
        if len(self.run.seeds) > 1:
            variables = seeds.pick(variables, 0)
        outputs = self.predictor(variables)(self._probe)
        figures = {k: float(v) for k, v in _measure(outputs).items()}
        return {k: v for k, v in figures.items() if np.isfinite(v)}

    @functools.cached_property
    def _probe(self) -> batch_lib.Record:
        source = self.run.training_source("train")
        rows = np.arange(self.run.eval_batch_size) % len(source)
        return pipeline.gather(source, rows)

    def check(
        self, labels: Sequence[str] | None = None
    ) -> tuple[dict[str, list[str] | None], dict[str, str]]:
        """Checks evaluators against data and method, see `suite.check`.

        Args:
          labels: Which evaluators; None: all.
        """
        return suite.check(self._chosen(labels), self._offer())

    def check_training(self) -> dict[str, str]:
        """Checks evaluators and what the config does with their scores.

        Returns:
          What the evaluation will leave out, see `suite.Found`.

        Raises:
          UserError: A setting does not fit, or names a score that will not be there.
        """
        names, left_out = self.check()
        self._check_control(names)
        self._check_best(names)
        return left_out

    def check_score(self, what: str, score: str) -> None:
        """Refuses the name of a score that no final evaluation of a run will have.

        Args:
          what: Where the name stands, for the message.
          score: Such as `knn/shared/accuracy`.
        """
        _check_score(self.check()[0], what, score)

    def evaluate(
        self,
        variables: method_lib.Variables,
        labels: Sequence[str] | None = None,
        *,
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Runs evaluators.

        Args:
          variables: Of one seed.
          labels: Which evaluators; None: all.
          between: Called before each evaluator; what it raises ends the evaluation.

        Returns:
          `{"results": {"clustering": {"shared/acc": ...}}}`, the metrics by evaluator; where
          there are any also `{"left_out": ..., "failed": ...}`, see `suite.Found`.
        """
        chosen = self._chosen(labels)
        found = suite.run(chosen, self.features(variables), between=between)
        return _as_dict(found)

    def evaluate_seeds(
        self,
        variables: method_lib.Variables,
        labels: Sequence[str] | None = None,
        *,
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """`evaluate` of each seed of a run.

        Returns:
          With several seeds `results` holds their means and deviations; and then there is
          also `{"seeds": ..., "intervals": ..., "each": ...}`.
        """
        if len(self.run.seeds) == 1:
            return self.evaluate(variables, labels, between=between)
        chosen, each = self._chosen(labels), {}
        for i, seed in enumerate(self.run.seeds):
            features = self.features(seeds.pick(variables, i))
            each[seed] = suite.run(chosen, features, between=between)
        results = [found.results for found in each.values()]
        common = suite.Found(
            seeds.mean(results),
            _of_seeds({seed: found.left_out for seed, found in each.items()}),
            _of_seeds({seed: found.failed for seed, found in each.items()}),
        )
        return _as_dict(common) | {
            "seeds": list(self.run.seeds),
            "intervals": seeds.intervals(results),
            "each": results,
        }

    def _chosen(self, labels: Sequence[str] | None) -> dict[str, Any]:
        """Evaluators by label.

        Raises:
          UserError: There is no evaluator of such a label.
        """
        made = self.evaluators()
        for label in labels or ():
            if label not in made:
                raise errors.unknown("evaluator", label, made)
        return made if labels is None else {label: made[label] for label in labels}

    def _offer(self) -> offer_lib.Offer:
        """What evaluators are checked against."""
        outputs = jax.eval_shape(
            self.run.method.predict, self.run.shapes, self.run.example(2)
        )
        splits = self.run.splits
        sizes = {
            split: len(self.run.source(split))
            for split in splits
            if self.run.data_needed
        }
        shapes = {name: output.shape[1:] for name, output in outputs.items()}
        # Evaluators see batches of the host, before any transform of the device.
        return offer_lib.Offer(self.run.inputs.batch_spec, splits, shapes, sizes)

    def _check_control(self, names: Mapping[str, Iterable[str] | None]) -> None:
        """Refuses a control whose metric will not be there to be observed."""
        settings = optim.Plateau.make(self.run.config.control).settings
        score, asked = (
            settings["metric"],
            settings["lower_after"] or settings["stop_after"],
        )
        if not score:
            if asked:
                scores = _all_scores(names)
                raise errors.UserError(
                    "config.control.lower_after and .stop_after need config.control.metric. "
                    f"Choices: {', '.join(scores) or 'none'}."
                )
            return
        _check_score(names, "config.control.metric", score)
        if asked:
            self._check_runs("config.control.metric", score)

    def _check_best(self, names: Mapping[str, Iterable[str] | None]) -> None:
        """Refuses a best checkpoint whose metric will not be there when it is chosen."""
        settings, what = self.run.config.checkpoint, "config.checkpoint.best"
        if settings.best in ("", "loss"):  # None, or one that every step has.
            return
        if settings.best.partition("/")[0] in names:
            _check_score(names, f"metric in {what}", settings.best)
            self._check_runs(what, settings.best)
            return
        _, metrics = jax.eval_shape(
            self.program.plain_step, *self.program.step_arguments()
        )
        known = [*metrics, *(["loss_std"] if len(self.run.seeds) > 1 else [])]
        if settings.best not in known:
            known += _all_scores(names)
            raise errors.unknown(f"metric in {what}", settings.best, known)

    def _check_runs(self, what: str, score: str) -> None:
        """Refuses the score of an evaluator that never runs while training."""
        label = score.partition("/")[0]
        every = self.run.config.evals[label].get("every_epochs", 0)
        if not every:
            raise errors.UserError(
                f"{what}={score} is of an evaluator that never runs while training: set "
                f"config.evals.{label}.every_epochs to 1 or more."
            )
        if (
            self.run.data_needed
            and every * self.run.steps_per_epoch > self.run.total_steps
        ):
            notice.warn(
                f"{what}={score}: config.evals.{label}.every_epochs={every} is more than "
                "this run has"
            )


_measure = jax.jit(health.measure)


def _as_dict(found: suite.Found) -> dict[str, Any]:
    """What goes into a file; it says nothing of what was not left out."""
    kept = {k: v for k, v in found._asdict().items() if v}
    return {"results": {}} | kept


def _of_seeds(reasons: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """Reasons by name, with the seeds that they hold for if not for all."""
    found = {}
    for name in dict.fromkeys(name for mine in reasons.values() for name in mine):
        mine = [seed for seed in reasons if name in reasons[seed]]
        some = (
            "" if len(mine) == len(reasons) else f" (seed {', '.join(map(str, mine))})"
        )
        found[name] = reasons[mine[0]][name] + some
    return found


def _check_score(
    names: Mapping[str, Iterable[str] | None], what: str, score: str
) -> None:
    """Refuses the name of a score that no evaluator gives."""
    label, _, name = score.partition("/")
    mine = names.get(label, ())
    if mine is None and name:  # The evaluator does not tell.
        return
    if name not in (mine or ()):
        raise errors.unknown(what, score, _all_scores(names))


def _all_scores(names: Mapping[str, Iterable[str] | None]) -> list[str]:
    """Names of all scores, without deviations; `<label>/...` where nobody tells."""
    found = []
    for label, scores in names.items():
        scores = ["..."] if scores is None else scores
        found += [f"{label}/{s}" for s in scores if not s.endswith("_std")]
    return found
