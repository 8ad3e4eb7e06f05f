"""Training records come several times in a row; other splits stay."""

import pathlib

import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import check
from mvjax.data import pipeline
from mvjax.data.sources import digits

CONFIG = dict(name="repeated", options=dict(of="digits", times=3, options=dict(size=8)))


def test_copies_follow_each_other():
    source = pipeline.make_source(CONFIG | dict(limit=5), "train")
    plain = digits.Source(size=8, limit=5)
    assert len(source) == 15 and source.spec == plain.spec
    for index in (0, 2, 3, 14):
        record, wanted = source[index], plain[index // 3]
        np.testing.assert_array_equal(
            record["views"]["image"], wanted["views"]["image"]
        )
        assert (record["label"], record["index"]) == (wanted["label"], index)
    found = source.gather([4, 0])
    np.testing.assert_array_equal(found["label"], plain.labels[[1, 0]])
    np.testing.assert_array_equal(found["index"], [4, 0])
    np.testing.assert_array_equal(source.labels, np.repeat(plain.labels, 3))
    assert source.fingerprint() != plain.fingerprint()
    assert len(pipeline.make_source(CONFIG, "test")) == 359


def test_batches_in_order_hold_all_copies():
    source = pipeline.make_source(CONFIG, "train")
    options = dict(seed=0, batch_size=6, step=0, threads=0, shuffle=False)
    with pipeline.train_batches(source, **options) as batches:
        batch = next(batches)
    np.testing.assert_array_equal(batch["index"], np.arange(6))
    images = batch["views"]["image"]
    assert (images[0] == images[2]).all() and (images[2] != images[3]).any()


def test_files_of_the_other_are_checked(tmp_path):
    options = dict(of="mnist", options=dict(folder=str(tmp_path)))
    _, problems = check.check(dict(name="repeated", options=options), ["train"])
    assert len(problems) == 1 and "No IDX files of mnist" in problems[0]
    assert check.check(CONFIG | dict(limit=20))[1] == []


def test_names_and_options_are_those_of_the_other():
    assert pipeline.find_splits(CONFIG) == ("train", "test")
    with pytest.raises(errors.UserError, match="options.of names no.*: .*digits"):
        pipeline.make_spec(dict(name="repeated"))
    with pytest.raises(
        errors.UserError, match="option of the data set 'digits': 'sise'"
    ):
        pipeline.make_spec(
            dict(name="repeated", options=dict(of="digits", options=dict(sise=3)))
        )


def load(*settings: str):
    path = pathlib.Path(__file__).parents[3] / "configs/transfer/classify.py"
    overrides = [f"data.options.{setting}" for setting in settings]
    return config_lib.load(f"{path}:debug", ["data.name=repeated", *overrides])


def test_the_command_line_sets_options_of_the_other():
    for settings in (
        ("of=digits", "options.size=8"),
        ("of=repeated", "options.of=digits", "options.options.size=8"),
    ):
        data = load(*settings).data
        assert pipeline.make_spec(data).views["image"].shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            ("of=digits", "options.sise=8"),
            "options.options 'sise'. Did you mean 'size'",
        ),
        (("of=digits", "options.size=x"), "options.options.size wants int"),
        (("of=digits", "options.split=x"), "options.options 'split'"),
        (("of=digit", "options.size=8"), "data.options.of: Unknown.*'digits'"),
        (("options.size=8",), "options.options 'size'. Choices: none"),
    ],
)
def test_what_the_other_does_not_take_is_named(settings, says):
    with pytest.raises(errors.UserError, match=says):
        load(*settings)
