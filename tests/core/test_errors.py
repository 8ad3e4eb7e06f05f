"""Messages stay one bearable line, whatever they quote."""

import pytest

from mvjax.core import errors
from mvjax.core import json_value


def test_values_that_python_does_not_write_are_quoted_too():
    deep = ()
    for _ in range(100_000):
        deep = (deep,)
    for value in (10**5000, (10**5000,), deep):
        assert "too long to show" in errors.quote(value)
    assert errors.quote("a") == "'a'"
    assert len(errors.quote("a" * 10_000)) < 300


def test_what_hides_or_moves_text_is_written_out():
    assert errors.plain("a\x1b[31m\u202eb\nc\tü") == "a\\x1b[31m\\u202eb c\\tü"


def test_an_error_that_cannot_be_told_has_its_name():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    assert errors.one_line(Silent()) == "Silent"


def test_whole_numbers_of_json_fit_into_64_bits():
    assert json_value.parse(b'{"a": [12, 1.5]}') == {"a": [12, 1.5]}
    for digits in (20, 400, 5000):
        with pytest.raises(ValueError, match=f"number of {digits} digits"):
            json_value.parse("-" + "9" * digits)
