"""Settings that hold settings: fields whose type is a frozen dataclass, or named code.

sizes: Sizes = Sizes()                 # config.method.sizes.layers
backbone: core_backbone.Backbone      # config.method.backbone.name, ....depth
"""

import dataclasses
from typing import Any

from mvjax.core import backbone
from mvjax.core import decoder
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import lookup

# Types that say what is wanted, with the packages whose modules offer it by name.
NAMED = {backbone.Backbone: "models", decoder.Decoder: "models.decoders"}
NAME = "name"


@dataclasses.dataclass(frozen=True)
class _Named:
    """What a part has whose code the config names; that code adds its own."""

    name: limits.Text


def is_part(kind: Any) -> bool:
    """Whether a field of this type holds settings of its own."""
    inner = limits.plain(kind)
    return inner in NAMED or dataclasses.is_dataclass(inner)


def fields(kind: Any, values: Any) -> dict[str, limits.Field]:
    """The settings of a field.

    Args:
      kind: Its type, for which `is_part` holds.
      values: What the config says there, with a `name` where code is named.

    Raises:
      UserError: There is no code of that name.
    """
    inner = limits.plain(kind)
    if inner not in NAMED:
        return limits.declared(inner)
    common = limits.declared(_Named)
    name = values.get(NAME)
    if not isinstance(name, str) or not name:  # Whoever checks the config tells it.
        return common
    return limits.declared(code(kind, values)) | common


def code(kind: Any, values: Any) -> type:
    """The dataclass that a field of type `kind` holds."""
    inner = limits.plain(kind)
    if inner not in NAMED:
        return inner
    return getattr(lookup.find(NAMED[inner], values[NAME]), inner.__name__)


def plain(value: Any) -> Any:
    """Settings as the config holds them: a dataclass becomes a dict, with its name."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    held = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    module = type(value).__module__
    for inner, package in NAMED.items():
        if type(value).__name__ == inner.__name__:
            return {NAME: module.removeprefix(f"mvjax.{package}."), **held}
    return held


def complete(code: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Settings with those that a config leaves to the code, also inside of parts.

    Args:
      code: What the settings are of: a dataclass.
      values: As the config holds them. Parts of code outside mvjax stay as they are.
    """
    declared = limits.declared(code)
    full = {name: plain(field.default) for name, field in declared.items()} | values
    for name, value in full.items():
        held = name in declared and is_part(declared[name].kind)
        if not held or not isinstance(value, dict):
            continue
        if lookup.is_trusted(str(value.get(NAME, "")), ()):
            inner = _code_or_none(declared[name].kind, value)
            full[name] = complete(inner, value) if inner else value
    return full


def _code_or_none(kind: Any, values: dict[str, Any]) -> type | None:
    """The dataclass of a part; None where it names code that there is no more."""
    try:
        return code(kind, values)
    except (errors.UserError, KeyError):
        return None


def build(kind: type, what: str, fields: Any) -> Any:
    """Calls `kind(**fields)` for a dataclass whose fields declare their limits.

    Fields that hold settings of their own are built likewise.

    Args:
      kind: A dataclass.
      what: Where the fields come from, such as `"config.method"`.
      fields: Mapping of field names to values; `name` is left out.

    Raises:
      UserError: There is no such field, a value that it cannot have, or values that do
        not go together.
    """
    given = {k: v for k, v in dict(fields).items() if k != NAME}
    declared = limits.declared(kind)
    limits.check_all(what, given, declared)
    for name, value in given.items():
        if is_part(declared[name].kind) and hasattr(value, "items"):
            inner = code(declared[name].kind, value)
            given[name] = _build_inside(inner, f"{what}.{name}", value)
    return kind(**given)


def _build_inside(kind: type, what: str, fields: Any) -> Any:
    """A field that holds settings; an error of its own code gets its place."""
    try:
        return build(kind, what, fields)
    except errors.UserError as error:
        if str(error).startswith(what):
            raise
        raise errors.UserError(f"{what}: {error}") from None
