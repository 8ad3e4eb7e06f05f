"""Splits are found by their usual names or refused by name."""

import pytest

from mvjax.core import errors
from mvjax.data import splits


def test_usual_names_are_known_in_any_case():
    found = splits.find(["Training", " DEV", "tst"], "file")
    assert found == {"Training": "train", " DEV": "valid", "tst": "test"}
    assert splits.find(splits.NAMES, "file") == {x: x for x in splits.NAMES}
    for name in ("val", "valid", "validation", "dev", "Development"):
        assert splits.find([name], "file") == {name: "valid"}


@pytest.mark.parametrize("name", ["holdout", "eval", "", "train2"])
def test_unknown_names_are_refused(name):
    with pytest.raises(errors.UserError, match=f"file: the split '{name}' is unknown"):
        splits.find(["train", name], "file")


def test_own_names_are_taken_where_there_may_be_others():
    assert splits.find(["unlabelled"], "f", more=True) == {"unlabelled": "unlabelled"}
    for name in ("Unlabelled", "tset", "all", "../x"):
        with pytest.raises(errors.UserError, match=f"'{name}' is un.*in small letters"):
            splits.find(["train", name], "f", more=True)


def test_two_names_for_one_split_are_refused():
    with pytest.raises(errors.UserError, match="'dev' and 'valid' both.*'valid'"):
        splits.find(["train", "dev", "valid"], "file")
