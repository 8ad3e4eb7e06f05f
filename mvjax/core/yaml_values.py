"""Values of YAML files that other programs have written, by key and with their limits.

YAML reads `1e-4` as text, and such files may hold arithmetic, `256 * 8`, for programs that
run it as code. Here it is read as arithmetic of numbers, and nothing is run.
"""

import ast
from collections.abc import Iterable, Mapping
import math
import operator
import pathlib
from typing import Any

import yaml

from mvjax.core import errors

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
Keys = Mapping[str, Any]  # Those that there may be; a part has a mapping of its own.


def calculate(text: str) -> float:
    """The value of numbers joined by `+ - * / **` and brackets.

    Raises:
      ValueError: The text is anything else, or its value no finite number.
    """
    try:
        found = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(errors.one_line(error)) from None
    if isinstance(found, complex) or not math.isfinite(found):
        raise ValueError("it is no finite number")
    return found


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=number) if type(number) in (int, float):
            return float(number)  # So that no power takes for ever.
        case ast.UnaryOp(op=op, operand=inner) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(inner))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError("it is no arithmetic of numbers")


class Values:
    """The values of a file, or of a part of it; an error names the file and the key."""

    def __init__(self, where: str, held: Any, keys: Keys):
        """Takes the values.

        Args:
          where: Name of the file, or of the part in it.
          held: What stands there.
          keys: See `Keys`.

        Raises:
          UserError: There is another key, or no keys at all.
        """
        if not isinstance(held, dict):
            raise errors.UserError(f"{where} holds no keys with values.")
        for key in held:
            if key not in keys:
                raise errors.unknown(f"key of {where}:", str(key), keys)
        self.where, self.held = where, held
        self._keys, self._used, self._parts = keys, set(), {}

    def get(self, key: str, default: Any = None) -> Any:
        """A value as it stands there; the default where it is missing or empty."""
        self._used.add(key)
        found = self.held.get(key)
        return default if found is None else found

    def number(self, key: str, default: float | None = None) -> float:
        """A number, or the value of a text that calculates one."""
        found = self.get(key, default)
        try:
            if type(found) not in (int, float, str):
                raise ValueError(f"it is of type {type(found).__name__}")
            return calculate(str(found))
        except ValueError as error:
            raise self.wrong(key, f"a number ({error})") from None

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers; none where it is missing."""
        found = self.get(key, [])
        if not isinstance(found, list) or not all(
            type(x) in (int, float) for x in found
        ):
            raise self.wrong(key, "a list of numbers")
        return tuple(map(float, found))

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 0."""
        found = self.number(key, default)
        if found != int(found) or found < 0:
            raise self.wrong(key, "a whole number of at least 0")
        return int(found)

    def flag(self, key: str) -> bool:
        """True or False, which it is where it is missing."""
        found = self.get(key, False)
        if not isinstance(found, bool):
            raise self.wrong(key, "True or False")
        return found

    def choose(self, key: str, choices: Iterable[str], default: str = "") -> str:
        """One of several texts."""
        found = self.get(key, default)
        if not isinstance(found, str) or found not in choices:
            raise errors.unknown(f"{key} in {self.where}:", str(found), choices)
        return found

    def part(self, key: str) -> "Values":
        """A part of the file; an empty one where it is missing."""
        if key not in self._parts:
            where, held = f"{self.where}, {key}", self.get(key, {})
            self._parts[key] = Values(where, held, self._keys[key])
        return self._parts[key]

    def unused(self) -> list[str]:
        """Keys with a value that nobody has asked for, those of parts with their part."""
        left = [
            key
            for key, found in self.held.items()
            if key not in self._used and found is not None
        ]
        inside = [
            f"{name}.{key}"
            for name, part in self._parts.items()
            for key in part.unused()
        ]
        return left + inside

    def wrong(self, key: str, wanted: str) -> errors.UserError:
        """The error for a value that is not what it must be."""
        found = self.held.get(key)
        if found is None:
            return errors.UserError(f"{self.where} lacks {key!r}.")
        return errors.UserError(
            f"{self.where}: {key} is {errors.quote(found)}; it must be {wanted}."
        )


class _Loader(yaml.SafeLoader):
    """Reads plain values, and no key twice, of which YAML would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """A dictionary."""
        seen = [key.value for key, _ in node.value]
        for key in seen:
            if seen.count(key) > 1:
                raise ValueError(f"key {errors.quote(key)} stands there twice")
        return super().construct_mapping(node, deep)


def read(path: str, keys: Keys) -> Values:
    """Reads a file.

    Raises:
      UserError: It is missing, or no YAML file of these keys.
    """
    try:
        held = yaml.load(pathlib.Path(path).read_bytes(), _Loader)
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{path} is no YAML file ({errors.one_line(error)})."
        ) from None
    return Values(path, held, keys)
