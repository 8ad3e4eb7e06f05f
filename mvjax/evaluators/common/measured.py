"""Runs an evaluator of either form.

One form is `run(features) -> scores`. The other is for what can be added up row by row:

* `split` and `outputs`: which split, and names of what `predict` gives;
* `measure(outputs, batch) -> sums`: sums over the rows that `batch["mask"]` keeps, by
  name, traceable, `[...]` of integers or floats. It is compiled together with `predict`,
  so what is measured never leaves the device;
* `finish(sums) -> scores`: from the sums over the split, int64 or float64, of all batches,
  devices and processes.

It may have `predict(predict, batch) -> outputs`, which asks a function of a batch several
times and puts the outputs together that `measure` gets.

It is a frozen dataclass of hashable fields, because its programs are found by its value.
"""

from typing import Any

import numpy as np

from mvjax.evaluators.common import features as features_lib


def run(evaluator: Any, features: features_lib.Features) -> dict[str, float]:
    """Scores of an evaluator by name; those that are not defined are left out.

    A score of the second form is not defined where it is NaN or infinite.
    """
    if hasattr(evaluator, "run"):
        return {k: float(v) for k, v in evaluator.run(features).items()}
    scores = {}
    for name, value in evaluator.finish(features.sums(evaluator)).items():
        with features.leaving_out(name):
            if not np.isfinite(value):
                raise features_lib.Insufficient("It is not defined for these samples.")
            scores[name] = float(value)
    return scores
