"""Views of a few samples above what the method makes of their codes."""

from collections.abc import Mapping
from typing import Any

from mvjax.report import plots

_FAMILY = "recon"  # The outputs that the caption calls reconstructions without more.


def pictures(
    label: str, evaluator: Any, scores: Mapping[str, float], features: Any, samples: Any
) -> dict[str, Any]:
    """Images by caption, one picture for each family of outputs, see `report.of`."""
    del label, scores  # The pictures are of the samples.
    expanded = [features.expand(samples.split, e) for e in evaluator.features]
    # A prefix asks for what owes nothing to training, which is not shown.
    names = dict.fromkeys(n for prefix, found in expanded if not prefix for n in found)
    if not names:
        return {}
    batch, outputs = next(features.batches(samples.split, tuple(names)))
    views = samples.seen(batch)
    families: dict[str, dict[str, str]] = {}
    for name in names:
        family, _, view = name.partition("/")
        if view in views and views[view].ndim == 4:
            families.setdefault(family, {})[view] = name
    found = {}
    for family, members in families.items():
        which = "" if family == _FAMILY else f" ({family})"
        found[f"Reconstructions of {samples.split} samples{which}"] = (
            plots.reconstructions(
                {view: views[view] for view in members},
                {view: outputs[name] for view, name in members.items()},
            )
        )
    return found
