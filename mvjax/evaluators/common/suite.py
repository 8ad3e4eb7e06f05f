"""The evaluators of a config: made by name, checked, run one after the other.

An evaluator is a dataclass with `run(features) -> {name: score}`, or with `outputs`,
`measure` and `finish`, which add up on the device, see `measured`. It may also have
`check(offer) -> names`, which raises `UserError` where its settings do not fit what the
data and the method offer, and otherwise gives the names of the scores that `run` will
find; without it nothing is known before `run`. In both, `leaving_out(name)` of what they
are given sets apart what the data may be unable to give, see `features.LeavesOut`. One
that builds on others of the config has `bind(evaluators) -> evaluator`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
import warnings

from mvjax.core import config as config_lib
from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import notice
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import offer as offer_lib

_SHOWN = 5  # Names in a warning.


class Found(NamedTuple):
    """What evaluators found."""

    results: dict[str, dict[str, float]]  # Scores by label of the evaluator.
    left_out: dict[str, str]  # Reasons by `<label>` or `<label>/<name of a part>`.
    failed: dict[str, str]  # Errors by label.


# What scikit-learn says of codes that have collapsed, and of classes of one sample; the
# scores say it too.
_EXPECTED = (
    "Number of distinct clusters",
    "The number of unique classes is greater than 50%",
)


def make(evals: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the evaluators of `config.evals` by label.

    Raises:
      UserError: There is no such evaluator, or it has no such field.
    """
    made = {}
    for label, fields in evals.items():
        if "name" not in fields:
            choices = ", ".join(lookup.available("evaluators"))
            raise errors.UserError(
                f"config.evals.{label} lacks a name. Choices: {choices}."
            )
        module = lookup.find("evaluators", fields["name"])
        options = {k: v for k, v in fields.items() if k != "every_epochs"}
        made[label] = config_lib.build(
            module.Evaluator, f"config.evals.{label}", options
        )
    return {label: _bound(label, one, made) for label, one in made.items()}


def _bound(label: str, evaluator: Any, made: Mapping[str, Any]) -> Any:
    """An evaluator with the others that it names, if it can name some."""
    if not hasattr(evaluator, "bind"):
        return evaluator
    try:
        return evaluator.bind(made)
    except errors.UserError as error:
        raise errors.UserError(f"config.evals.{label}: {error}") from error


def check(
    evaluators: Mapping[str, Any], offer: offer_lib.Offer
) -> tuple[dict[str, list[str] | None], dict[str, str]]:
    """Checks the settings of evaluators before anything is computed.

    Args:
      evaluators: By label.
      offer: What data and method promise.

    Returns:
      Names of the scores by label, None where an evaluator does not tell; and what will
      be left out, as in `Found`.

    Raises:
      UserError: A setting does not fit.
    """
    names: dict[str, list[str] | None] = {}
    left_out: dict[str, str] = {}
    for label, evaluator in evaluators.items():
        names[label] = None
        if not hasattr(evaluator, "check"):
            continue
        offer.left_out.clear()
        try:
            names[label] = list(evaluator.check(offer))
        except features_lib.Insufficient as error:
            names[label], reasons = [], {"": str(error)}
        except errors.UserError as error:
            raise errors.UserError(f"config.evals.{label}: {error}") from error
        else:
            reasons = dict(offer.left_out)
        if not names[label] and not reasons:
            raise errors.UserError(
                f"config.evals.{label} asks for nothing: name some features."
            )
        left_out |= _labelled(label, names[label], reasons)
    return names, left_out


def run(
    evaluators: Mapping[str, Any],
    features: features_lib.Features,
    *,
    between: Callable[[], None] = lambda: None,
) -> Found:
    """Runs evaluators; what one cannot do is told in a warning and keeps no other back.

    Args:
      evaluators: By label.
      features: What they read.
      between: Called before each; what it raises ends the evaluation.
    """
    found = Found({}, {}, {})
    for label, evaluator in evaluators.items():
        between()
        features.left_out.clear()
        scores: dict[str, float] = {}
        try:
            scores = _run_one(evaluator, features)
        except features_lib.Insufficient as error:
            features.left_out.clear()
            features.left_out[""] = str(error)
        except Exception as error:  # Of anybody's code; the others go on.
            if dist.share()[1] > 1:
                raise  # The other processes may wait for this one's rows.
            found.failed[label] = _describe(error)
            notice.warn(f"evaluation {label!r} failed: {found.failed[label]}")
            continue
        if scores:
            found.results[label] = scores
        left_out = _labelled(label, scores, features.left_out)
        found.left_out.update(left_out)
        warn_of(left_out)
    return found


def _run_one(evaluator: Any, features: features_lib.Features) -> dict[str, float]:
    """Scores of one evaluator, without warnings of what the scores say too."""
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message)
        return measured.run(evaluator, features)


def warn_of(left_out: Mapping[str, str], when: str = "is") -> None:
    """Prints a warning for each reason.

    Args:
      left_out: See `Found`.
      when: "is", or "will be".
    """
    for reason, names in by_reason(left_out).items():
        shown = ", ".join(map(repr, names[:_SHOWN]))
        if len(names) > _SHOWN:
            shown += f" and {len(names) - _SHOWN} more"
        verb = "are" if when == "is" and len(names) > 1 else when
        notice.warn(f"evaluation {shown} {verb} left out: {reason}")


def by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Names by reason."""
    found: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        found.setdefault(reason, []).append(name)
    return found


def _labelled(
    label: str, scores: Iterable[str] | None, reasons: Mapping[str, str]
) -> dict[str, str]:
    """Reasons by label and part; by label alone where one holds for all."""
    if not scores and len(set(reasons.values())) == 1:
        return {label: next(iter(reasons.values()))}
    return {f"{label}/{name}" if name else label: r for name, r in reasons.items()}


def _describe(error: Exception) -> str:
    """Type and first line of an error; a mistake of use speaks for itself."""
    text = (str(error).strip() or "no reason given").splitlines()[0]
    mistake = isinstance(error, errors.UserError)
    return text if mistake else f"{type(error).__name__}: {text}"
