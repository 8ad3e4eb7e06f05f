"""What a setting may be, said where the setting is defined.

A field of a method, an evaluator or a data set states its limits with its type:

    width: limits.Size = 64
    norm: limits.one_of("batch", "group") = "batch"
    ch_mult: limits.some(limits.Size) = (1, 2, 4)

Numbers are finite and fit into 32 bits whatever the type says, as they travel
into programs of the device.
"""

from collections.abc import Mapping
import dataclasses
import inspect
import types
import typing
from typing import Annotated, Any, NamedTuple

import ml_collections

from mvjax.core import errors

# In the metadata of a dataclass's field: it is no setting, whoever builds it fills it.
INTERNAL = "internal"
_INT32 = 2**31 - 1
_FLOAT32 = 3.4e38
_NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}


class Range(NamedTuple):
    """Ends of a range of numbers; None: none of its own."""

    low: float | None = None
    high: float | None = None
    above: float | None = None  # Like `low`, which itself is not allowed.
    below: float | None = None

    def allows(self, value: float) -> bool:
        """Whether a number lies in the range."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        parts = {"at least": self.low, "above": self.above}
        parts |= {"at most": self.high, "below": self.below}
        told = {k: f"{x:,}" for k, x in parts.items() if x is not None}
        return "be " + " and ".join(f"{word} {x}" for word, x in told.items())


class Choices(NamedTuple):
    """Texts, or whole numbers, of which a setting is one."""

    names: tuple[str, ...] | tuple[int, ...]

    def allows(self, value: str | int) -> bool:
        """Whether a value is a choice."""
        return value in self.names

    def __str__(self) -> str:
        return "be one of " + ", ".join(map(repr, self.names))


class Entries(NamedTuple):
    """How many entries a tuple, or letters a text, has at least."""

    least: int = 1
    distinct: bool = False  # Whether none may stand there twice.

    def allows(self, value: tuple | str) -> bool:
        """Whether there are enough."""
        twice = self.distinct and len(set(value)) < len(value)
        return len(value) >= self.least and not twice

    def __str__(self) -> str:
        if not self.least:
            return "not name anything twice"
        enough = (
            "not be empty" if self.least == 1 else f"have at least {self.least} entries"
        )
        return enough + (" or name anything twice" if self.distinct else "")


Count = Annotated[int, Range(low=1)]
Natural = Annotated[int, Range(low=0)]
# A width, a number of layers or of channels: more would fit into no memory.
Size = Annotated[int, Range(low=1, high=2**20)]
Layers = Annotated[int, Range(low=1, high=256)]  # Each is compiled by itself.
Runs = Annotated[int, Range(low=1, high=10_000)]  # Each costs a whole pass.
Pixels = Annotated[int, Range(low=1, high=2**14)]  # The side of an image.
Classes = Annotated[int, Range(low=0, high=2**20)]
Draws = Annotated[int, Range(low=0, high=10_000_000)]  # Of a bootstrap.
Positive = Annotated[float, Range(above=0)]
Weight = Annotated[float, Range(low=0)]
Share = Annotated[float, Range(low=0, high=1)]
Part = Annotated[float, Range(above=0, high=1)]
LearningRate = Annotated[float, Range(above=0, high=1_000_000)]
Rate = Annotated[float, Range(low=0, below=1)]  # Of dropout, or of decay.
Dtype = Annotated[str, Choices(("float32", "bfloat16"))]
Text = Annotated[str, Entries()]
Names = Annotated[tuple[Text, ...], Entries(distinct=True)]
AnyNames = Annotated[tuple[Text, ...], Entries(least=0, distinct=True)]


def one_of(*names: str | int) -> Any:
    """The type of a text, or of a whole number, that is one of `names`."""
    return Annotated[type(names[0]), Choices(names)]


def some(kind: Any, *, distinct: bool = False) -> Any:
    """The type of a tuple with at least one entry of type `kind`, perhaps none twice."""
    return Annotated[tuple[kind, ...], Entries(distinct=distinct)]


class Field(NamedTuple):
    """A setting as its place of definition declares it."""

    kind: Any  # Its type with its limits; `Any` where there is none.
    default: Any = dataclasses.MISSING  # MISSING: it must be given.


def declared(code: Any) -> dict[str, Field]:
    """The settings that a dataclass or a function takes, by name."""
    try:
        kinds = typing.get_type_hints(code, include_extras=True)
    except NameError:  # A user's types may exist for the type checker only.
        kinds = {}
    if dataclasses.is_dataclass(code):
        given = {
            f.name: _default(f)
            for f in dataclasses.fields(code)
            if f.init and INTERNAL not in f.metadata
        }
    else:
        given = {
            name: dataclasses.MISSING if p.default is p.empty else p.default
            for name, p in inspect.signature(code).parameters.items()
            if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
    return {name: Field(kinds.get(name, Any), value) for name, value in given.items()}


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def check(where: str, value: Any, kind: Any) -> None:
    """Checks a value against a type and its limits.

    Args:
      where: Name of the setting, such as `"config.method.width"`.
      value: The setting.
      kind: `int`, `float`, `str`, `bool`, `dict`, `dict[str, ...]`, `tuple[...]`, unions
        of them with None and `Annotated` ones. A type of any other kind is not looked at.

    Raises:
      UserError: The value has another type or lies outside the limits.
    """
    origin = typing.get_origin(kind)
    if origin is Annotated:
        base, *rules = typing.get_args(kind)
        check(where, value, base)
        for rule in rules:
            if base is str and isinstance(rule, Choices) and not rule.allows(value):
                raise errors.unknown(where, value, rule.names)
            if not rule.allows(value):
                raise _wrong(where, value, str(rule))
    elif origin in (types.UnionType, typing.Union):
        _check_union(where, value, typing.get_args(kind))
    elif origin is tuple or kind is tuple:
        _check_tuple(where, value, typing.get_args(kind))
    elif origin is dict or kind is dict:
        _check_dict(where, value, typing.get_args(kind))
    elif kind in _NOUNS:
        _check_plain(where, value, kind)


def check_all(where: str, values: Mapping[str, Any], fields: dict[str, Field]) -> None:
    """Checks each value against the field of its name.

    Args:
      where: Name of the part that holds them, such as `"config.method"`.
      values: Settings by name.
      fields: What there may be, see `declared`.

    Raises:
      UserError: There is no such field, or see `check`.
    """
    for name, value in values.items():
        if name not in fields:
            raise errors.unknown(f"key of {where}", str(name), fields)
        check(f"{where}.{name}", value, fields[name].kind)


def _check_plain(where: str, value: Any, kind: type) -> None:
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:
        raise _wrong(where, value, f"be {_NOUNS[kind]}")
    if kind is float and not abs(value) <= _FLOAT32:  # NaN is not, either.
        raise _wrong(where, value, "be a finite number of 32 bits")
    if kind is int and abs(value) > _INT32:
        raise _wrong(where, value, f"be at most {_INT32:,}, or fit into 32 bits")


def _check_union(where: str, value: Any, options: tuple[Any, ...]) -> None:
    if value is None and type(None) in options:
        return
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return check(where, value, option)
        except errors.UserError as error:
            problems.append(error)
    raise problems[0]


def _check_tuple(where: str, value: Any, kinds: tuple[Any, ...]) -> None:
    if not isinstance(value, tuple):
        raise _wrong(where, value, "be a tuple")
    if kinds and kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if kinds and len(value) != len(kinds):
        raise _wrong(where, value, f"have {len(kinds)} entries")
    for i, (entry, kind) in enumerate(zip(value, kinds)):
        check(f"{where}[{i}]", entry, kind)


def _check_dict(where: str, value: Any, kinds: tuple[Any, ...]) -> None:
    if not isinstance(value, Mapping | ml_collections.ConfigDict):
        raise _wrong(where, value, "hold settings of its own")
    for name, entry in value.items() if kinds else ():
        check(f"{where}.{name}", entry, kinds[1])


def _wrong(where: str, value: Any, must: str) -> errors.UserError:
    return errors.UserError(f"{where} is {errors.quote(value)}; it must {must}.")


def describe(kind: Any) -> str:
    """The limits of a type in words, such as `at least 1`; "" where there are none."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        base, *rules = typing.get_args(kind)
        told = [str(rule).replace("be ", "", 1) for rule in rules]
        return "; ".join(filter(None, [*told, describe(base)]))
    if origin in (types.UnionType, typing.Union):
        told = [describe(k) for k in typing.get_args(kind)]
        return "; ".join(filter(None, told)) + " or None" if any(told) else ""
    if origin is tuple:
        told = {describe(k) for k in typing.get_args(kind) if k is not Ellipsis}
        return "each " + told.pop() if len(told) == 1 and any(told) else ""
    return ""


def optional(kind: Any) -> bool:
    """Whether None has the type."""
    return type(None) in typing.get_args(kind)


def plain(kind: Any) -> type:
    """The class of a type without its limits; of a union, the first that is not None."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return plain(typing.get_args(kind)[0])
    if origin in (types.UnionType, typing.Union):
        return plain(next(k for k in typing.get_args(kind) if k is not type(None)))
    return str if kind is Any else origin or kind  # Text where nothing tells.
