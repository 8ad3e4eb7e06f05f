"""Records are checked against what their data set promises."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch

SPEC = batch.Spec(
    {
        "photo": batch.ViewSpec((4, 5, 3), "uint8", 0, 200),
        "sound": batch.ViewSpec((7,), "float32", -1, 1),
    },
    3,
)


def sound_record(**changes):
    views = {"photo": np.zeros((4, 5, 3), np.uint8), "sound": np.zeros(7, np.float32)}
    views |= changes.pop("views", {})
    record = {"views": views, "label": np.int32(2), "index": np.int32(41)}
    return record | changes


def test_a_sound_record_passes():
    batch.validate_record(sound_record(), SPEC, "here")
    batch.validate_record(sound_record(label=np.int32(-1)), SPEC, "here")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": {"photo": np.zeros((4, 4, 3), np.uint8)}}, ["photo", "(4, 4, 3)"]),
        ({"views": {"photo": np.zeros((4, 5, 3), int)}}, ["photo", "int64", "uint8"]),
        ({"views": {"photo": np.full((4, 5, 3), 201, np.uint8)}}, ["201", "0 to 200"]),
        ({"views": {"sound": np.full(7, np.nan, np.float32)}}, ["sound", "NaN"]),
        ({"views": {"sound": np.full(7, np.inf, np.float32)}}, ["sound", "infinite"]),
        ({"views": {"sound": [0.0] * 7}}, ["sound", "list"]),
        ({"views": {"extra": np.zeros(1)}}, ["extra, photo, sound"]),
        ({"label": np.int32(3)}, ["label 3", "0..2"]),
        ({"present": {"smell": np.bool_(True)}}, ["smell"]),
    ],
)
def test_a_bad_record_is_named(changes, words):
    with pytest.raises(errors.UserError) as caught:
        batch.validate_record(sound_record(**changes), SPEC, "my source")
    for word in ["my source", "41", *words]:
        assert word in str(caught.value)


def test_an_absent_view_is_not_looked_at():
    record = sound_record(
        views={"sound": np.full(7, np.nan, np.float32)},
        present={"sound": np.bool_(False)},
    )
    batch.validate_record(record, SPEC, "here")


def test_all_problems_of_a_record_are_listed():
    record = sound_record(
        views={
            "photo": np.full((4, 5, 3), 255, np.uint8),
            "sound": np.zeros(3, np.float32),
        },
        label=np.int32(9),
    )
    assert len(batch.record_problems(record, SPEC, "here")) == 3


def test_the_example_is_a_batch_of_the_spec():
    example = batch.example(SPEC, 6)
    assert example["views"]["photo"].shape == (6, 4, 5, 3)
    assert example["views"]["sound"].dtype == np.float32
    assert example["label"].shape == example["index"].shape == (6,)
    assert example["label"].dtype == example["index"].dtype == np.int32
