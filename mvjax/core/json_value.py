"""Values out of JSON files: whether they have the right form, and where two differ."""

import json
from typing import Any

NAMES = {
    dict: "an object {...}",
    list: "a list [...]",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    None: "null",
}


_DIGITS = 19  # Of the greatest whole number that 64 bits hold.


def parse(text: bytes | str) -> Any:
    """The value that a JSON text means.

    Raises:
      ValueError: It is none, or holds a whole number that 64 bits do not.
      RecursionError: It is nested too deeply.
    """
    return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int:
    count = len(digits.lstrip("-"))
    if count > _DIGITS or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"it holds a whole number of {count} digits")
    return int(digits)


def find_fault(value: Any, form: Any, where: str = "") -> str:
    """What is not as it should be, with its place; "" if nothing.

    Args:
      value: What was read.
      form: A type; None; a tuple of forms, any of which will do; `[form]` for a list,
        `[form, form]` for a list of two; `{name: form}` for an object, where a name that
        ends in "?" may be missing and more names may be there; `{str: form}` for one
        with any names.
      where: Place of the value, such as `"results.knn"`.
    """
    if isinstance(form, tuple):
        faults = [find_fault(value, one, where) for one in form]
        return "" if "" in faults else faults[0]
    kind = type(form) if isinstance(form, (dict, list)) else form
    if not _is_a(value, kind):
        place = f"{where} is" if where else "it holds"
        return f"{place} {_name(value)}, not {NAMES[kind]}"
    if isinstance(form, list):
        if len(form) > 1 and len(value) != len(form):
            return f"{where or 'it'} has {len(value)} items, not {len(form)}"
        faults = (
            find_fault(one, form[min(i, len(form) - 1)], f"{where}[{i}]")
            for i, one in enumerate(value)
        )
        return next(filter(None, faults), "")
    if isinstance(form, dict):
        faults = (
            _find_in_object(value, name, inner, f"{where}." if where else "")
            for name, inner in form.items()
        )
        return next(filter(None, faults), "")
    return ""


def _find_in_object(value: dict, name: Any, form: Any, prefix: str) -> str:
    """`find_fault` of one name of an object, or of all its names."""
    for one in list(value) if name is str else [name.removesuffix("?")]:
        if one in value:
            if fault := find_fault(value[one], form, prefix + one):
                return fault
        elif not name.endswith("?"):
            return f"{prefix}{one} is missing"
    return ""


def _is_a(value: Any, kind: type | None) -> bool:
    """Whether a value is of a type as JSON means it."""
    if kind is None:
        return value is None
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _name(value: Any) -> str:
    """A value for a message: short ones themselves, the kind of others."""
    if isinstance(value, (dict, list)) or len(repr(value)) > 40:
        return NAMES[type(value)]
    return NAMES[None] if value is None else repr(value)


def held(value: Any, path: str) -> Any:
    """What nested dicts hold under `key.key`; None where there is nothing, or `{}`."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return None if value == {} else value


def find_difference(old: Any, new: Any, where: str) -> str:
    """The first place where two values differ and both values there; "" if nowhere.

    Names come before other fields, as those mean little under another name. Tuples are
    as good as lists.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}, key=lambda key: (key != "name", key)):
            parts = old.get(key, _ABSENT), new.get(key, _ABSENT)
            if found := find_difference(*parts, f"{where}.{key}" if where else key):
                return found
        return ""
    if _plain(old) == _plain(new):
        return ""
    return f"{where}: {_show(old)} there, {_show(new)} here"


_ABSENT = object()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _show(value: Any) -> str:
    return "nothing" if value is _ABSENT else str(_plain(value))
