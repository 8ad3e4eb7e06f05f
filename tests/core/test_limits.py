"""Limits of settings: said where a setting is defined, and refused by name."""

import dataclasses
from typing import Annotated

import pytest

from mvjax.core import errors
from mvjax.core import limits


@dataclasses.dataclass(frozen=True)
class Example:
    """Settings of every kind."""

    must: int
    width: limits.Size = 8
    share: limits.Share = 0.5
    rate: limits.Positive | None = None
    norm: limits.one_of("batch", "group") = "batch"
    widths: limits.some(limits.Size) = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    names: limits.Names = ("a", "b")
    flag: bool = False
    rates: limits.Share | dict[str, limits.Share] = 0.0
    unique: limits.AnyNames = ()
    free: Annotated[float, limits.Range(above=0, below=1)] = 0.5


FIELDS = limits.declared(Example)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("width", 0, "setting is 0; it must be at least 1 and at most 1,048,576"),
        ("width", -3, "is -3"),
        ("width", 2**20 + 1, "at most 1,048,576"),
        ("width", 2.0, "is 2.0; it must be a whole number"),
        ("width", True, "is True; it must be a whole number"),
        ("width", "8", "must be a whole number"),
        ("must", 2**31, "fit into 32 bits"),
        ("share", 1.5, "at least 0 and at most 1"),
        ("share", float("nan"), "must be a finite number"),
        ("share", float("inf"), "must be a finite number"),
        ("rate", 0.0, "must be above 0"),
        ("norm", "bach", "Unknown setting 'bach'. Did you mean 'batch'"),
        ("widths", (), "must not be empty"),
        ("widths", (1, -2), r"setting\[1\] is -2"),
        ("widths", 3, "must be a tuple"),
        ("pair", (0.0,), "must have 2 entries"),
        ("names", ("a", "a"), "name anything twice"),
        ("names", ("",), r"setting\[0\] is ''; it must not be empty"),
        ("flag", 1, "must be True or False"),
        ("rates", float("nan"), "must be a finite number"),
        ("unique", ("a", "a"), "must not name anything twice"),
        ("free", 1.0, "above 0 and below 1"),
        ("must", None, "is None; it must be a whole number"),
    ],
)
def test_what_lies_outside_is_named_with_its_limits(name, value, message):
    with pytest.raises(errors.UserError, match=message):
        limits.check("setting", value, FIELDS[name].kind)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 1),
        ("share", 1),  # A whole number is a number.
        ("share", 0.0),
        ("rate", None),
        ("rate", 1e-9),
        ("widths", (3,)),
        ("pair", (1, 2)),
        ("rates", {"text": 0.5}),
        ("unique", ()),
        ("must", -(2**31) + 1),
    ],
)
def test_what_lies_inside_passes(name, value):
    limits.check("setting", value, FIELDS[name].kind)


def test_types_are_told_in_words():
    told = {name: limits.describe(field.kind) for name, field in FIELDS.items()}
    assert told["must"] == "" and told["flag"] == ""
    assert told["share"] == "at least 0 and at most 1"
    assert told["rate"] == "above 0 or None"
    assert told["norm"] == "one of 'batch', 'group'"
    assert told["widths"] == "not empty; each at least 1 and at most 1,048,576"


def test_a_field_without_a_default_must_be_given():
    assert FIELDS["must"].default is dataclasses.MISSING
    assert FIELDS["rate"].default is None


def test_types_that_only_a_type_checker_sees_are_not_looked_at():
    def function(*, width: "Unknown" = 3):  # noqa: F821
        del width

    assert limits.declared(function)["width"].default == 3
    limits.check("setting", -3, limits.declared(function)["width"].kind)
