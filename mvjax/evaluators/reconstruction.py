"""Mean squared error between the views and their reconstructions."""

import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """`mse` per view, over all values of the samples that have the view.

    Expressions are `recon/<view>`, or `recon/*` for all views; any other family of
    outputs with a member per view and its shape, such as `recon_private/*`, works too.
    Views of uint8 are scaled to [0, 1] first.
    """

    features: limits.some(limits.Text) = ("recon/*",)
    split: limits.Text = "test"

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<name>/mse`, one for each view that the expressions name.

        Raises:
          UserError: A name does not exist, has no view of its own or another shape.
        """
        asked: dict[str, list[str]] = {}  # Prefix -> names.
        for expression in self.features:
            prefix, names = features.expand(self.split, expression)
            asked.setdefault(prefix, []).extend(names)
        result = {}
        for prefix, names in asked.items():
            names = list(dict.fromkeys(names))
            for name, error in self._errors(features, prefix, names).items():
                result[f"{prefix}{name}/mse"] = error
        return result

    def _errors(
        self, features: features_lib.Features, prefix: str, names: list[str]
    ) -> dict[str, float]:
        """Errors by name, in one pass that keeps no image."""
        sums, counts = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
        stream = features.batches(self.split, untrained=bool(prefix))
        for batch, outputs in stream:
            for name in names:
                view = name.partition("/")[2]
                if view not in batch["views"] or name not in outputs:
                    raise errors.unknown("view", view or name, batch["views"])
                target = features_lib.unit_range(batch["views"][view])
                output = outputs[name].astype(np.float32)
                if output.shape != target.shape:
                    raise errors.UserError(
                        f"Output {name!r} has shape {output.shape[1:]} per sample, but "
                        f"view {view!r} has {target.shape[1:]}."
                    )
                present = batch.get("present", {}).get(view)
                if present is not None:
                    has = np.asarray(present, bool)
                    target, output = target[has], output[has]
                sums[name] += float(np.sum((output - target) ** 2, dtype=np.float64))
                counts[name] += target.size
        return {n: sums[n] / counts[n] if counts[n] else float("nan") for n in names}
