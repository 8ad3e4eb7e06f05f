"""Settings of a config, among them those that its file leaves to the code's defaults."""

from collections.abc import Callable, Iterator, Sequence
import inspect
import typing
from typing import Any

import ml_collections

from mvjax.core import lookup


def left_out(
    config: ml_collections.ConfigDict, folders: Sequence[str]
) -> dict[str, Any]:
    """Defaults of what the config does not set though the code that it names takes it.

    Args:
      config: A complete config.
      folders: Names that lead to a part, such as `("evals", "knn")`.

    Returns:
      Defaults by name, for None a typed placeholder. Empty unless the part is `method`,
      `data.options` or an evaluator.
    """
    code = _code(config, folders)
    if code is None:
        return {}
    part = config
    for folder in folders:
        part = part[folder]
    hints = typing.get_type_hints(code)
    reserved = ("split", "cache") if folders[0] == "data" else ()  # The run's to set.
    return {
        name: _default(parameter.default, hints.get(name))
        for name, parameter in inspect.signature(code).parameters.items()
        if name not in (*part, *reserved) and parameter.default is not parameter.empty
    }


def listed(config: ml_collections.ConfigDict) -> Iterator[tuple[str, Any, bool]]:
    """Yields key, value and whether the config sets it, in alphabetical order."""
    yield from _listed(config, config, ())


def _listed(
    config: ml_collections.ConfigDict,
    part: ml_collections.ConfigDict,
    folders: tuple[str, ...],
) -> Iterator[tuple[str, Any, bool]]:
    extra = left_out(config, folders)
    for name in sorted({*part, *extra}):
        value = part[name] if name in part else extra[name]
        if isinstance(value, ml_collections.ConfigDict):
            yield from _listed(config, value, (*folders, name))
        else:
            if isinstance(value, ml_collections.FieldReference):
                value = value.get()
            yield ".".join((*folders, name)), value, name in part


def _code(config: ml_collections.ConfigDict, folders: Sequence[str]) -> Callable | None:
    """What takes the settings of a part as arguments, if it is code that it names."""
    match tuple(folders):
        case ("method",):
            return lookup.find("methods", config.method.name).Method
        case ("evals", label) if label in config.evals:
            return lookup.find("evaluators", config.evals[label].name).Evaluator
        case ("data", "options"):
            return lookup.find("data.sources", config.data.name).spec
    return None


def _default(value: Any, hint: Any) -> Any:
    """A default, or, for None of a type `str | None`, a placeholder of that type."""
    if value is not None:
        return value
    kind, *_ = typing.get_args(hint) or (str,)  # Text where nothing tells.
    return ml_collections.config_dict.placeholder(typing.get_origin(kind) or kind)
