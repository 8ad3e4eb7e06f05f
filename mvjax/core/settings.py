"""Which settings each part of a config has: those of `schema`, and of the code it names.

A part is named by the keys that lead to it: `("evals", "knn")` is `config.evals.knn`.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any, NamedTuple

import ml_collections

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import lookup
from mvjax.core import nested
from mvjax.core import schema

_FIXED = {
    (): schema.Run,
    ("data",): schema.Data,
    ("control",): schema.Control,
    ("mesh",): schema.Mesh,
    ("checkpoint",): schema.Checkpoint,
}
_SEPARATORS = "/, . and ="  # Of keys in overrides and of names of scores.
_PLAIN = (int, float, str, bool, type(None), ml_collections.ConfigDict)
_RESERVED = ("split", "cache")  # Arguments of a data set that are the run's to set.


class Part(NamedTuple):
    """What may stand in a part of a config."""

    fields: dict[str, limits.Field]
    other: Any = None  # Type under keys that the user chooses; None: there are none.


def part(config: ml_collections.ConfigDict, folders: Sequence[str]) -> Part:
    """The settings that a part takes.

    Args:
      config: A config.
      folders: Keys that lead to the part.

    Raises:
      UserError: The part names code that does not exist.
    """
    try:
        return _part(config, folders)
    except errors.UserError as error:
        if str(error).startswith("config."):  # Of a part around it.
            raise
        named = ".".join(("config", *folders)).removesuffix(".options")
        raise errors.UserError(f"{named}.name: {error}") from error


def _part(config: ml_collections.ConfigDict, folders: Sequence[str]) -> Part:
    match tuple(folders):
        case tuple(key) if key in _FIXED:
            return Part(limits.declared(_FIXED[key]))
        case ("evals",) | ("warm_start",) | ("optim", "groups"):
            return Part({}, dict)
        case ("method",):
            return _named(config.method, schema.Method, _method)
        case ("method", *_):
            return _inside(config, folders)
        case ("evals", label):
            return _named(config.evals[label], schema.Evaluation, _evaluator)
        case ("evals", _, *_):
            return _inside(config, folders)
        case ("data", "options", *inside):
            return _options(config.data, inside)
        case ("data", ("train_policy" | "eval_policy") as key):
            return _named(config.data[key], schema.Policy, _policy)
        case ("data", "device_policy"):
            return _named(config.data.device_policy, schema.Policy, _transform)
        case ("data", "subset"):
            return Part(limits.declared(schema.Subset))
        case ("data", "beside"):
            return Part({}, dict)
        case ("data", "beside", _):
            return Part(limits.declared(schema.Beside))
        case ("data", "beside", label, "policy"):
            return _named(config.data.beside[label].policy, schema.Policy, _policy)
        case ("optim",):
            return _named(config.optim, schema.Optim, _optimizer)
        case ("optim", "groups", label):
            group = config.optim.groups[label]
            name = group.get("name") or config.optim.name
            return _named({"name": name}, schema.Group, _optimizer)
        case ("optim", "schedule"):
            return _named(config.optim.schedule, schema.Schedule, _schedule)
        case ("optim", "groups", label, "schedule"):
            schedule = config.optim.groups[label].schedule
            return _named(schedule, schema.Schedule, _schedule)
        case ("warm_start", _):
            return Part(limits.declared(schema.WarmStart))
        case ("warm_start", _, "take"):
            return Part({}, limits.Text)
    return Part({})


def _options(data: ml_collections.ConfigDict, inside: Sequence[str]) -> Part:
    """The options of a data set, or what one of them holds.

    A data set that reads another one says so: `INSIDE` of its file has, by the name of
    the option with the other's options, that of the option with its name.
    """
    name, held, where = data.name, data.get("options", {}), "config.data.options"
    for key in inside:
        naming = getattr(lookup.find("data.sources", name), "INSIDE", {}).get(key, "")
        name, held = held.get(naming), held.get(key, {})
        if not name or not isinstance(name, str) or not hasattr(held, "get"):
            return Part({}, Any)  # It is the data set's to check.
        try:
            lookup.find("data.sources", name)
        except errors.UserError as error:
            raise errors.UserError(f"{where}.{naming}: {error}") from error
        where = f"{where}.{key}"
    fields = limits.declared(lookup.find("data.sources", name).spec)
    return Part({k: v for k, v in fields.items() if k not in _RESERVED})


def _inside(config: ml_collections.ConfigDict, folders: Sequence[str]) -> Part:
    """The settings of a field that holds settings."""
    *outer, name = folders
    around = part(config, outer).fields
    if name not in around or not nested.is_part(around[name].kind):
        return Part({})
    held: Any = config
    for folder in folders:
        held = held.get(folder) or {}
    return Part(nested.fields(around[name].kind, held))


def _named(values: Any, common: type, find: Callable[[str], Any]) -> Part:
    """The settings that all such parts have, and those of the code that this one names."""
    fields = limits.declared(common)
    name = values.get("name", fields["name"].default)
    if not isinstance(name, str):  # Missing or no text, which `check` tells.
        return Part(fields)
    return Part(limits.declared(find(name)) | fields)


def _method(name: str) -> Any:
    return lookup.find("methods", name).Method


def _policy(name: str) -> Any:
    return lookup.find("data.augment", name).Policy


def _transform(name: str) -> Any:
    return lookup.find("transforms", name).Transform


def _evaluator(name: str) -> Any:
    return lookup.find("evaluators", name).Evaluator


def _optimizer(name: str) -> Any:
    return lookup.find("train", "optim").find(name)


def _schedule(name: str) -> Any:
    return lookup.find("train", "schedules").find(name)


def defaults(config: ml_collections.ConfigDict, folders: Sequence[str]) -> dict:
    """Defaults of the settings that a part leaves to the code, by name.

    None becomes a placeholder of the setting's type; what holds settings is a dict.
    """
    held: Any = config
    for folder in folders:
        held = held[folder]
    return {
        name: _default(field)
        for name, field in part(config, folders).fields.items()
        if name not in held and field.default is not dataclasses.MISSING
    }


def _default(field: limits.Field) -> Any:
    if field.default is not None:
        return nested.plain(field.default)
    if nested.is_part(field.kind):
        return {}
    return ml_collections.config_dict.placeholder(limits.plain(field.kind))


def check(config: ml_collections.ConfigDict, folders: tuple[str, ...] = ()) -> None:
    """Checks every setting of a part and of those inside it.

    Raises:
      UserError: A setting is missing, unknown, of another type or outside its limits.
    """
    held: Any = config
    for folder in folders:
        held = held[folder]
    known = part(config, folders)
    inside = ".".join(("config", *folders))
    for name in held:
        if not isinstance(name, str) or not name or set(name) & set("/.="):
            raise errors.UserError(
                f"{inside} has the key {name!r}; keys are text without {_SEPARATORS}."
            )
    strange = sorted(set(held) - set(known.fields)) if known.other is None else []
    for name, field in known.fields.items():
        if name not in held and field.default is dataclasses.MISSING:
            # What is missing may be there, misspelt; but a name decides on all others.
            if strange and name != "name":
                raise errors.unknown(f"key of {inside}", strange[0], known.fields)
            raise errors.UserError(f"{inside} lacks {name!r}.")
    for name in sorted(held, key=lambda key: (key != "name", key)):
        where = f"{inside}.{name}"
        if name in strange:
            raise errors.unknown(f"key of {inside}", name, known.fields)
        kind = known.fields[name].kind if name in known.fields else known.other
        value = held[name]
        limits.check(where, value, dict if _holds_settings(kind, value) else kind)
        _check_plain(where, value)
        if isinstance(value, ml_collections.ConfigDict):
            check(config, (*folders, name))


def _holds_settings(kind: Any, value: Any) -> bool:
    """Whether a setting must be a part of its own."""
    return nested.is_part(kind) and not (value is None and limits.optional(kind))


def _check_plain(where: str, value: Any) -> None:
    """Raises `UserError` for what no file of a config could hold, such as an array."""
    if isinstance(value, tuple | list):
        for i, entry in enumerate(value):
            _check_plain(f"{where}[{i}]", entry)
    elif not isinstance(value, _PLAIN):
        raise errors.UserError(
            f"{where} is {errors.quote(value)}, of type {type(value).__name__}; "
            "settings are numbers, texts, True, False, None and tuples of them."
        )


def names_of_code(config: Any) -> Iterator[tuple[str, str]]:
    """Yields the settings of a config that name modules to import, with the names.

    Args:
      config: Nested mappings, perhaps of a file that somebody has changed.
    """

    def name(held: Any) -> Any:
        return held.get("name") if hasattr(held, "get") else None

    def inside(where: str, held: Any) -> Iterator[tuple[str, str]]:
        for key in held if hasattr(held, "get") else ():
            if hasattr(held[key], "get"):
                if name(held[key]) is not None:
                    yield f"{where}.{key}.name", name(held[key])
                yield from inside(f"{where}.{key}", held[key])

    yield "config.method.name", name(config.get("method"))
    yield from inside("config.method", config.get("method"))
    data = config.get("data")
    yield "config.data.name", name(data)
    beside: Any = None
    if hasattr(data, "get"):
        for key in ("train_policy", "eval_policy", "device_policy"):
            yield f"config.data.{key}.name", name(data.get(key))
        beside = data.get("beside")
    for label in beside if hasattr(beside, "get") else ():
        policy = beside[label].get("policy") if hasattr(beside[label], "get") else None
        yield f"config.data.beside.{label}.policy.name", name(policy)
    evals = config.get("evals")
    for label in evals if hasattr(evals, "get") else ():
        yield f"config.evals.{label}.name", name(evals[label])


def foreign_code(config: Any) -> tuple[str, ...]:
    """Modules outside mvjax that a config names."""
    names = [name for _, name in names_of_code(config) if isinstance(name, str)]
    return tuple(n for n in names if "." in n and not n.startswith("mvjax."))


class Listed(NamedTuple):
    """One line of `show --settings`."""

    key: str
    value: Any
    stands: bool  # Whether the config sets it.
    limits: str  # In words.


def listed(config: ml_collections.ConfigDict) -> Iterator[Listed]:
    """Yields every setting in alphabetical order."""
    yield from _listed(config, config, ())


def _listed(
    config: ml_collections.ConfigDict,
    held: ml_collections.ConfigDict,
    folders: tuple[str, ...],
) -> Iterator[Listed]:
    known, extra = part(config, folders).fields, defaults(config, folders)
    for name in sorted({*held, *extra}):
        value = held[name] if name in held else extra[name]
        if isinstance(value, ml_collections.ConfigDict):
            yield from _listed(config, value, (*folders, name))
        elif isinstance(value, dict) and name in known:
            if not value and limits.optional(known[name].kind):
                key = ".".join((*folders, name))
                yield Listed(
                    key, None, False, f"or {key}.{nested.NAME} and what it takes"
                )
            yield from _left_out((*folders, name), value, known[name].kind)
        elif not isinstance(value, dict):
            if isinstance(value, ml_collections.FieldReference):
                value = value.get()
            kind = known[name].kind if name in known else Any
            key = ".".join((*folders, name))
            yield Listed(key, value, name in held, limits.describe(kind))


def _left_out(
    folders: tuple[str, ...], held: dict[str, Any], kind: Any
) -> Iterator[Listed]:
    """Yields the settings of a field that the config leaves to the code as a whole."""
    known = nested.fields(kind, held) if nested.is_part(kind) else {}
    for name, value in sorted(held.items()):
        inner = known[name].kind if name in known else Any
        if isinstance(value, dict):
            yield from _left_out((*folders, name), value, inner)
        else:
            key = ".".join((*folders, name))
            yield Listed(key, value, False, limits.describe(inner))
