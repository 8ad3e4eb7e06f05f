"""The evaluators of a config: made by name, run one after the other."""

from collections.abc import Mapping
from typing import Any
import warnings

from mvjax.core import config as config_lib
from mvjax.core import lookup
from mvjax.core import notice
from mvjax.evaluators.common import features as features_lib

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
        module = lookup.find("evaluators", fields["name"])
        options = {k: v for k, v in fields.items() if k != "every_epochs"}
        made[label] = config_lib.build(
            module.Evaluator, f"config.evals.{label}", options
        )
    return made


def run(
    evaluators: Mapping[str, Any], features: features_lib.Features
) -> dict[str, dict[str, float]]:
    """Runs evaluators.

    Those that compare with labels which no sample has are left out with a warning.

    Args:
      evaluators: By label.
      features: What they read.

    Returns:
      Metrics by label, `{"clustering": {"shared/acc": ...}}`.
    """
    results = {}
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message)
        for label, evaluator in evaluators.items():
            try:
                results[label] = evaluator.run(features)
            except features_lib.Unlabelled as error:
                notice.warn(f"evaluation {label!r} is left out: {error}")
    return results
