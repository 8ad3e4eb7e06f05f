"""Overrides of a config: texts `optim.lr=3e-4` of a command line."""

import ast
import contextlib
from typing import Any
import warnings

import ml_collections

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import nested
from mvjax.core import settings


def set_value(config: ml_collections.ConfigDict, override: str) -> None:
    """Applies one override `key.key=value` in place.

    Settings that the config leaves to the code's defaults can be set too, and so can
    those of an optional part that it leaves out, whose `name` comes first. With another
    `name` a part loses the settings that only the code it named before takes.
    """
    path, separator, text = override.partition("=")
    if not separator:
        raise errors.UserError(f"Override {override!r} lacks a value: key=value.")
    keys, node, old = path.split("."), config, None
    *folders, name = keys
    for i, key in enumerate(keys):
        old = _find(config, node, keys[:i], key)
        if isinstance(old, dict):  # A part that the config leaves empty.
            with node.unlocked(), node.ignore_type():
                node[key] = old = ml_collections.ConfigDict(old)
        if i < len(folders):
            node = old
    part = settings.part(config, folders)
    declared = part.fields[name].kind if name in part.fields else type(old)
    kind, optional = limits.plain(declared), limits.optional(declared)
    if not _is_part(old):
        value = convert(f"config.{path}", text, kind, optional=optional)
    elif optional and text == "None":
        value = None
    else:
        raise _no_value(config, keys, text, old)
    with node.unlocked(), node.ignore_type():
        node[name] = value
        if name == nested.NAME and folders:
            known = settings.part(config, folders).fields
            for key in [k for k in node if k in part.fields and k not in known]:
                del node[key]


def _find(
    config: ml_collections.ConfigDict, node: Any, folders: list[str], key: str
) -> Any:
    """What stands under a key of a part, or its default; a dict: a part to be made.

    Raises:
      UserError: There is no such key.
    """
    inside = ".".join(("config", *folders))
    if not _is_part(node):
        raise errors.unknown(f"key of {inside}", key, ())
    fields, other = settings.part(config, folders)
    extra = settings.defaults(config, folders)
    if key not in {*node, *extra, *fields}:
        if set(fields) == {nested.NAME} and not node.get(nested.NAME):
            raise errors.UserError(
                f"{inside} is not set; write --{inside}.{nested.NAME}=... before "
                f"--{inside}.{key}=..., since the name decides what else there is."
            )
        unknown = errors.unknown(f"key of {inside}", key, {*node, *extra})
        if other is dict:
            unknown = errors.UserError(f"{unknown} Only the config file adds others.")
        raise unknown
    found = node[key] if key in node else extra.get(key)
    if found is None and key in fields and nested.is_part(fields[key].kind):
        return {}
    return found


def _no_value(
    config: ml_collections.ConfigDict, keys: list[str], text: str, held: Any
) -> errors.UserError:
    """The error of an override that gives a value to what holds settings."""
    path, fields = ".".join(keys), settings.part(config, keys).fields
    inside = sorted({*held, *settings.defaults(config, keys), *fields})
    told = f"config.{path} holds several settings: {', '.join(inside) or 'none yet'}."
    if nested.NAME in fields:
        told += f" Write --config.{path}.{nested.NAME}={text} to choose the code."
    return errors.UserError(told)


def _is_part(value: Any) -> bool:
    return isinstance(value, ml_collections.ConfigDict)


def convert(what: str, text: str, kind: type, *, optional: bool = False) -> Any:
    """Text of a command line to a value of a type, or to None where that may be."""
    if optional and text == "None":
        return None
    if kind is str:
        return text
    if kind is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if kind is float and text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(text)
    try:
        with warnings.catch_warnings():  # Of texts that are nearly Python.
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        value = tuple(text.split(",")) if kind is tuple else text
    if kind is float and type(value) is int:
        with contextlib.suppress(OverflowError):  # It has hundreds of digits.
            value = float(value)
    if kind is tuple and isinstance(value, (list, str)):
        value = tuple(value) if isinstance(value, list) else (value,)
    if type(value) is not kind:
        raise errors.UserError(
            f"{what} wants {kind.__name__}, not {errors.quote(text)}."
        )
    return value
