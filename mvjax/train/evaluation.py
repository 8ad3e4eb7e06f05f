"""The evaluators of a run: checked before its first step, run on the way and at its end."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.core import notice
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import suite
from mvjax.train import control
from mvjax.train import run as run_lib
from mvjax.train import seeds
from mvjax.train import summary


def check(
    run: run_lib.Run, labels: Sequence[str] | None = None
) -> tuple[dict[str, list[str] | None], dict[str, str]]:
    """Checks evaluators against data and method, see `suite.check`.

    Args:
      run: The run; sizes of its splits are looked at unless it needs no data.
      labels: Which evaluators; None: all.
    """
    return suite.check(_chosen(run, labels), _offer(run))


def check_training(run: run_lib.Run) -> dict[str, str]:
    """Checks evaluators and what the config does with their scores.

    Returns:
      What the evaluation will leave out, see `suite.Found`.

    Raises:
      UserError: A setting does not fit, or names a score that will not be there.
    """
    names, left_out = check(run)
    _check_control(run, names)
    _check_best(run, names)
    return left_out


def check_score(run: run_lib.Run, what: str, score: str) -> None:
    """Refuses the name of a score that no final evaluation of a run will have.

    Args:
      run: The run.
      what: Where the name stands, for the message.
      score: Such as `knn/shared/accuracy`.
    """
    _check_score(check(run)[0], what, score)


def evaluate(
    run: run_lib.Run,
    variables: method_lib.Variables,
    labels: Sequence[str] | None = None,
    *,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Runs evaluators.

    Args:
      run: The run.
      variables: Of one seed.
      labels: Which evaluators; None: all.
      between: Called before each evaluator; what it raises ends the evaluation.

    Returns:
      `{"results": {"clustering": {"shared/acc": ...}}}`, the metrics by evaluator; where
      there are any also `{"left_out": ..., "failed": ...}`, see `suite.Found`.
    """
    chosen = _chosen(run, labels)
    found = suite.run(chosen, run.features(variables), between=between)
    return _as_dict(found)


def evaluate_seeds(
    run: run_lib.Run,
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
    if len(run.seeds) == 1:
        return evaluate(run, variables, labels, between=between)
    chosen, each = _chosen(run, labels), {}
    for i, seed in enumerate(run.seeds):
        features = run.features(seeds.pick(variables, i))
        each[seed] = suite.run(chosen, features, between=between)
    results = [found.results for found in each.values()]
    common = suite.Found(
        seeds.mean(results),
        _of_seeds({seed: found.left_out for seed, found in each.items()}),
        _of_seeds({seed: found.failed for seed, found in each.items()}),
    )
    return _as_dict(common) | {
        "seeds": list(run.seeds),
        "intervals": seeds.intervals(results),
        "each": results,
    }


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


def _chosen(run: run_lib.Run, labels: Sequence[str] | None) -> dict[str, Any]:
    """Evaluators by label.

    Raises:
      UserError: There is no evaluator of such a label.
    """
    made = run.evaluators()
    for label in labels or ():
        if label not in made:
            raise errors.unknown("evaluator", label, made)
    return made if labels is None else {label: made[label] for label in labels}


def _offer(run: run_lib.Run) -> offer_lib.Offer:
    """What evaluators are checked against."""
    outputs = jax.eval_shape(run.method.predict, run.shapes, run.example(2))
    splits = run.splits
    sizes = {split: len(run.source(split)) for split in splits if run.data_needed}
    shapes = {name: output.shape[1:] for name, output in outputs.items()}
    return offer_lib.Offer(run.spec, splits, shapes, sizes)


def _check_control(run: run_lib.Run, names: Mapping[str, Iterable[str] | None]) -> None:
    """Refuses a control whose metric will not be there to be observed."""
    settings = control.Control.make(run.config.control).settings
    score, asked = settings["metric"], settings["lower_after"] or settings["stop_after"]
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
        _check_runs(run, "config.control.metric", score)


def _check_best(run: run_lib.Run, names: Mapping[str, Iterable[str] | None]) -> None:
    """Refuses a best checkpoint whose metric will not be there when it is chosen."""
    settings, what = run.config.checkpoint, "config.checkpoint.best"
    if settings.best in ("", "loss"):  # None, or one that every step has.
        return
    if settings.best.partition("/")[0] in names:
        _check_score(names, f"metric in {what}", settings.best)
        _check_runs(run, what, settings.best)
        return
    _, metrics = jax.eval_shape(run.plain_step, *summary.step_arguments(run))
    known = [*metrics, *(["loss_std"] if len(run.seeds) > 1 else [])]
    if settings.best not in known:
        known += _all_scores(names)
        raise errors.unknown(f"metric in {what}", settings.best, known)


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


def _check_runs(run: run_lib.Run, what: str, score: str) -> None:
    """Refuses the score of an evaluator that never runs while training."""
    label = score.partition("/")[0]
    every = run.config.evals[label].get("every_epochs", 0)
    if not every:
        raise errors.UserError(
            f"{what}={score} is of an evaluator that never runs while training: set "
            f"config.evals.{label}.every_epochs to 1 or more."
        )
    if run.data_needed and every * run.steps_per_epoch > run.total_steps:
        notice.warn(
            f"{what}={score}: config.evals.{label}.every_epochs={every} is more than "
            "this run has"
        )
