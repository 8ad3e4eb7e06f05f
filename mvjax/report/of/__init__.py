"""Pictures that belong to an evaluator, in the file of its name.

Each file has `pictures(label, evaluator, scores, features) -> {caption: figure}`: the label
of the evaluator in the config, the evaluator, what it found, and features of the run.
"""

from collections.abc import Callable
import importlib
import pkgutil
from typing import Any


def find(name: str) -> Callable[..., dict[str, Any]] | None:
    """The function that draws what an evaluator of a name found; None: nobody does."""
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return importlib.import_module(f"{__name__}.{name}").pictures
