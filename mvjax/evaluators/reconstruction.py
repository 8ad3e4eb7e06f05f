"""Mean squared error between the views and their reconstructions."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import rows as rows_lib


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """`mse` per view, over all values of the samples that have the view.

    Expressions are `recon/<view>`, or `recon/*` for all views; any other family of
    outputs with a member per view and its shape, such as `recon_private/*`, works too.
    Views of uint8 are scaled to [0, 1] first.
    """

    features: limits.Names = ("recon/*",)
    split: limits.Text = "test"

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split; a name does not exist, has no view of its own or
            another shape.
        """
        offer.check_splits(self.split)
        found = []
        for expression in self.features:
            prefix, names = offer.expand(expression)
            for name in names:
                view = name.partition("/")[2]
                if view not in offer.spec.views or name not in offer.outputs:
                    raise errors.unknown("view", view or name, offer.spec.views)
                _check_shape(name, offer.shape(name), offer.spec.views[view].shape)
                found.append(f"{prefix}{name}/mse")
        return list(dict.fromkeys(found))

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
            sums, counts = self._errors(features, prefix, names)
            for name in names:
                with features.leaving_out(f"{prefix}{name}"):
                    if not counts[name]:
                        raise features_lib.Insufficient(
                            f"No sample of split {self.split!r} has the view of {name!r}."
                        )
                    result[f"{prefix}{name}/mse"] = sums[name] / counts[name]
        return result

    def _errors(
        self, features: features_lib.Features, prefix: str, names: list[str]
    ) -> tuple[dict[str, float], dict[str, int]]:
        """Summed errors and numbers of values by name, in a pass that keeps no image."""
        sums, counts = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
        stream = features.batches(self.split, tuple(names), untrained=bool(prefix))
        for batch, outputs in stream:
            for name in names:
                view = name.partition("/")[2]
                if view not in batch["views"] or name not in outputs:
                    raise errors.unknown("view", view or name, batch["views"])
                target = rows_lib.unit_range(batch["views"][view])
                output = outputs[name].astype(np.float32)
                _check_shape(name, output.shape[1:], target.shape[1:])
                present = batch.get("present", {}).get(view)
                if present is not None:
                    has = np.asarray(present, bool)
                    target, output = target[has], output[has]
                sums[name] += float(np.sum((output - target) ** 2, dtype=np.float64))
                counts[name] += target.size
        return sums, counts


def _check_shape(name: str, found: Sequence[int], wanted: Sequence[int]) -> None:
    """Refuses an output whose samples do not have the shape of its view."""
    if tuple(found) != tuple(wanted):
        raise errors.UserError(
            f"Output {name!r} has shape {tuple(found)} per sample, but its view has "
            f"{tuple(wanted)}."
        )
