"""Golden check of RERD's evaluation: every recorded score of every function.

Most released functions round to four decimals, half a unit of which is half the
tolerance; ours are compared unrounded, so that no last bit can tip them over.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mvjax.evaluators.common import sentiment_metrics
from tests import golden_data

# Recorded name of a score: ours.
NAMES = {
    "Has0_acc_2": "has0_acc2",
    "Has0_F1_score": "has0_f1",
    "Non0_acc_2": "non0_acc2",
    "Non0_F1_score": "non0_f1",
    "Mult_acc_2": "acc2",
    "Mult_acc_3": "acc3",
    "Mult_acc_5": "acc5",
    "Mult_acc_7": "acc7",
    "F1_score": "f1",
    "MAE": "mae",
    "Corr": "corr",
    "Acc_3": "accuracy",
    "F1_score_3": "f1",
}


def _released(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores with the released values under the plain names."""
    official = sentiment_metrics.OFFICIAL
    return {
        **scores,
        **{
            k.removeprefix(official): v
            for k, v in scores.items()
            if k.startswith(official)
        },
    }


def _regression(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return sentiment_metrics.score(sentiment_metrics.MOSI, prediction, truth)


def _sims(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return sentiment_metrics.score(sentiment_metrics.SIMS, prediction, truth)


def _classes(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return _released(
        sentiment_metrics.score(sentiment_metrics.POLARITY, logits, labels)
    )


def _senti(exclude_zero: bool) -> Callable[..., dict[str, float]]:
    return lambda prediction, truth: sentiment_metrics.senti(
        prediction, truth, exclude_zero=exclude_zero
    )


def _weighted(prediction: np.ndarray, truth: np.ndarray) -> float:
    return sentiment_metrics.weighted_accuracy(prediction, truth)


# Recorded name of a function: ours and the inputs that it got.
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, str]]] = {
    "rerd_regression": (_regression, ("pred", "truth")),
    "rerd_senti_exclude_zero_True": (_senti(True), ("pred", "truth")),
    "rerd_senti_exclude_zero_False": (_senti(False), ("pred", "truth")),
    "rerd_regression_on_sims": (_regression, ("pred_sims", "truth_sims")),
    "mmsa_mosi_regression": (_regression, ("pred", "truth")),
    "mmsa_sims_regression": (_sims, ("pred_sims", "truth_sims")),
    "mmsa_classification": (_classes, ("logits3", "class3")),
    "weighted_accuracy": (_weighted, ("pred", "truth")),
    "unrounded": (_regression, ("pred", "truth")),
}


def check_metrics(case: golden_data.Case) -> None:
    """Compares every score of every recorded function."""
    results, atol = case.meta["results"], case.meta["tolerance"]["atol"]
    assert results, "the recording holds no results"
    unknown = sorted(set(results) - set(FUNCTIONS))
    assert not unknown, f"functions without a check: {unknown}"
    for name, recorded in results.items():
        function, inputs = FUNCTIONS[name]
        found = function(*(case.inputs[key] for key in inputs))
        if not isinstance(recorded, Mapping):
            recorded, found = {name: recorded}, {name: found}
        for key, expected in recorded.items():
            ours = found[NAMES.get(key, key)]
            error = abs(ours - expected)
            print(f"{error:9.2e} of {atol:g}: {name}/{key}")
            assert error <= atol, f"{name}/{key}: {ours} is not {expected}"
