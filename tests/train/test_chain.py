"""Stages of a chain and their names."""

import pytest

from mvjax.core import errors
from mvjax.train import chain


def test_stages_are_called_after_their_files_or_as_one_says():
    specs = ["configs/dim/sdim.py:dataset=digits", "again=configs/dim/sdim.py:a=b"]
    assert chain.name_stages(specs) == {
        "sdim": "configs/dim/sdim.py:dataset=digits",
        "again": "configs/dim/sdim.py:a=b",
    }
    assert chain.name_stages(["a/my-file.py"]) == {"my-file": "a/my-file.py"}


@pytest.mark.parametrize(
    "specs, message",
    [
        (["a/x.py", "b/x.py:debug"], "'x' .* more than one"),
        (["x=a.py", "x=b.py"], "'x' .* more than one"),
        (["config=a.py"], "'config' .* no stage"),
        (["a/report.py"], "'report' .* no stage"),
        (["a/my file.py"], "'a/my file.py' gives its stage no name"),
    ],
)
def test_names_that_are_taken_are_refused(specs, message):
    with pytest.raises(errors.UserError, match=message):
        chain.name_stages(specs)
