"""Which split of a run its page shows."""

from typing import Any


def shown(features: Any) -> str:
    """The first split that is not `train`, or `train` where there is no other."""
    others = [name for name in features.splits if name != "train"]
    return (others or list(features.splits))[0]
