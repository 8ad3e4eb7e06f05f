"""Values of YAML files: arithmetic without running anything, and mistakes by name."""

import pytest

from mvjax.core import errors
from mvjax.core import yaml_values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("0.3 * 256 / 2**8", 0.3),
        ("-(1 + 2)", -3.0),
        ("+ 4 - 1", 3.0),
    ],
)
def test_arithmetic_of_numbers_has_a_value(text, value):
    assert yaml_values.calculate(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "True", "1j", "[1]", "1 if 2 else 3", "__import__('os')", "'1'"),
        *("1 / 0", "9**9**9**9", "(-8)**0.5", "1e999", "1 +", "1 % 2", "(" * 200),
    ],
)
def test_anything_else_has_none(text):
    with pytest.raises(ValueError):
        yaml_values.calculate(text)


def test_keys_that_nobody_asks_for_are_told(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\nb: {c: 2e-3, d: [1, 2.5]}\ne:\nf: 3\n")
    values = yaml_values.read(str(file), dict(a=(), b=("c", "d"), e=(), f=()))
    assert values.whole("a") == 1 and values.number("e", 5.0) == 5.0
    assert values.part("b").numbers("d") == (1.0, 2.5)
    assert values.unused() == ["f", "b.c"]
    with pytest.raises(
        errors.UserError, match="a.yaml, b: d is .*; it must be a number"
    ):
        values.part("b").number("d")
    with pytest.raises(errors.UserError, match="a: f is 3; it must be True or False"):
        yaml_values.Values("a", dict(f=3), dict(f=())).flag("f")
