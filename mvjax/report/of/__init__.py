"""Pictures that belong to an evaluator, in the file of its name.

Each file has `pictures(label, evaluator, scores, features, samples) -> {caption: figure}`:
the label of the evaluator in the config, the evaluator, what it found, features of the run,
and samples of the split that the page shows, see `samples.Samples`. Equal captions of two
evaluators are of one picture.

It may have `codes(evaluator) -> {pattern: factor}` too: which factor gives the scatters of
codes their colours, or None for outputs that the pictures show already.
"""

from collections.abc import Mapping
import fnmatch
import importlib
import pkgutil
import types
from typing import Any


def find(name: str) -> types.ModuleType | None:
    """The file that draws what an evaluator of a name found; None: nobody does."""
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return importlib.import_module(f"{__name__}.{name}")


class Drawn:
    """Pictures of the evaluators that found something, and what these say of codes.

    Args:
      names: Names of the evaluators by label.
      evaluators: By label.
      results: What they found, by label.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        evaluators: Mapping[str, Any],
        results: Mapping[str, Mapping[str, float]],
    ):
        # There may be results of others, which the config had when it was evaluated.
        found = {label: find(names[label]) for label in results if label in evaluators}
        self._files = {k: v for k, v in found.items() if v is not None and results[k]}
        self._evaluators, self._results = evaluators, results

    def pictures(self, features: Any, samples: Any) -> dict[str, Any]:
        """Figures by caption; see the top of this file for the arguments."""
        figures: dict[str, Any] = {}
        for label, file in self._files.items():
            evaluator, scores = self._evaluators[label], self._results[label]
            figures |= file.pictures(label, evaluator, scores, features, samples)
        return figures

    def factors(self, codes: Mapping[str, Any]) -> dict[str, str]:
        """Names of the codes that are to be scattered, each with its factor or ""."""
        known: dict[str, str | None] = {}
        for label, file in self._files.items():
            if hasattr(file, "codes"):
                known = file.codes(self._evaluators[label]) | known
        factors = {}
        for name in codes:
            fitting = [k for k in known if fnmatch.fnmatchcase(name, k)]
            factor = known[fitting[0]] if fitting else ""
            if factor is not None:
                factors[name] = factor
        return factors
