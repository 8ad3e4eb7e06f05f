"""Records are checked against what their data set promises."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import synthetic

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


def _sequence_spec() -> batch.Spec:
    view = batch.ViewSpec((5, 2), "float32", -1.0, 1.0)
    return batch.Spec(
        {"audio": view},
        None,
        targets={"score": batch.TargetSpec(low=-3.0, high=3.0)},
        lengths=("audio",),
    )


def test_an_example_has_targets_and_full_lengths():
    found = batch.example(_sequence_spec(), 4)
    assert found["targets"]["score"].dtype == np.float32
    np.testing.assert_array_equal(found["lengths"]["audio"], [5, 5, 5, 5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": {"score": np.float32(3.5)}}, "target 'score': 3.5, expected -3"),
        ({"targets": {"score": np.float32(np.nan)}}, "target 'score': nan"),
        ({"targets": {}}, "has the targets none, expected score"),
        (
            {"lengths": {"audio": np.int32(6)}},
            "length of view 'audio': 6, expected 0..5",
        ),
        ({"lengths": {"vision": np.int32(1)}}, "has the lengths vision"),
    ],
)
def test_bad_targets_and_lengths_are_named(changes, message):
    record = {
        "views": {"audio": np.zeros((5, 2), np.float32)},
        "label": np.int32(-1),
        "index": np.int32(0),
        "targets": {"score": np.float32(0)},
        "lengths": {"audio": np.int32(3)},
    }
    assert batch.record_problems(record, _sequence_spec(), "here") == []
    problems = batch.record_problems(record | changes, _sequence_spec(), "here")
    assert len(problems) == 1 and message in problems[0]


def test_array_source_and_twin_hand_over_targets_and_lengths():
    spec = _sequence_spec()
    source = arrays.ArraySource(
        spec,
        {"audio": np.zeros((3, 5, 2), np.float32)},
        targets={"score": np.arange(3)},
        lengths={"audio": np.array([1, 2, 5])},
    )
    found = source.gather([2, 0])
    np.testing.assert_array_equal(found["targets"]["score"], [2, 0])
    np.testing.assert_array_equal(found["lengths"]["audio"], [5, 1])
    twin = synthetic.Synthetic(spec, 50)
    for index in range(50):
        assert batch.record_problems(twin[index], spec, "twin") == []
    assert np.std([twin[i]["targets"]["score"] for i in range(50)]) > 0.5


def _dense_spec() -> batch.Spec:
    view = batch.ViewSpec((4, 6, 1), "uint8", 0, 255)
    targets = {
        "tags": batch.TargetSpec((5,), "uint8", 0, 1),
        "mask": batch.TargetSpec((4, 6), "uint8", 0, 3, ignore=255),
    }
    return batch.Spec({"photo": view}, None, targets=targets)


def test_tags_and_masks_go_through_sources_and_twins():
    spec = _dense_spec()
    assert spec.scores == []
    found = batch.example(spec, 2)["targets"]
    assert found["tags"].shape == (2, 5) and found["mask"].shape == (2, 4, 6)
    assert found["mask"].dtype == np.uint8
    twin = synthetic.Synthetic(spec, 40)
    for index in range(40):
        assert batch.record_problems(twin[index], spec, "twin") == []
    masks = np.stack([twin[i]["targets"]["mask"] for i in range(40)])
    assert len(np.unique(masks)) == 4
    source = arrays.ArraySource(
        spec,
        {"photo": np.zeros((3, 4, 6, 1), np.uint8)},
        targets={"tags": np.eye(3, 5), "mask": np.full((3, 4, 6), 255, np.int64)},
    )
    assert source[1]["targets"]["tags"].tolist() == [0, 1, 0, 0, 0]
    assert source.gather([2, 0])["targets"]["mask"].dtype == np.uint8
    assert batch.record_problems(source[1], spec, "here") == []
    with pytest.raises(errors.UserError, match="'tags': 300 at index 1 is no uint8"):
        views = {"photo": np.zeros((2, 4, 6, 1), np.uint8)}
        truths = {"tags": [[0] * 5, [300] * 5], "mask": np.zeros((2, 4, 6), np.uint8)}
        arrays.ArraySource(spec, views, targets=truths)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((4, 6), 4, np.uint8), "holds values from 4 to 4, expected 0 to 3"),
        (np.zeros((4, 5), np.uint8), "has shape (4, 5), expected (4, 6)"),
        (np.zeros((4, 6), np.int32), "has dtype int32, expected uint8"),
        (None, "is a NoneType, not an array"),
    ],
)
def test_bad_masks_are_named(mask, message):
    record = {
        "views": {"photo": np.zeros((4, 6, 1), np.uint8)},
        "label": np.int32(-1),
        "index": np.int32(0),
        "targets": {"tags": np.ones(5, np.uint8), "mask": mask},
    }
    problems = batch.record_problems(record, _dense_spec(), "here")
    assert problems == [f"here, record 0, target 'mask': {message}."]


def test_of_views_that_vary_rank_and_channels_are_checked():
    view = batch.ViewSpec((32, 32, 3), "uint8", 0, 255, varies=True)
    assert batch.view_problem(np.zeros((5, 70, 3), np.uint8), view) is None
    for shape in ((5, 70, 1), (5, 3)):
        problem = batch.view_problem(np.zeros(shape, np.uint8), view)
        assert problem == f"has shape {shape}, expected 3 axes, the last of 3 channels"
    specs = {"train": batch.Spec({"a": view._replace(varies=False)}, 2)}
    specs["test"] = batch.Spec({"a": view}, 2)
    number = batch.ViewSpec((), "float32", 0, 1)
    none = {"train": batch.Spec({}, None), "test": batch.Spec({"n": number}, None)}
    assert "is [] of float32 in the split 'test'" in batch.differences(none)[0]
    assert "is [*, *, 3] of uint8 in the split 'test'" in batch.differences(specs)[0]


def test_views_of_two_splits_are_compared():
    wide = SPEC.views | {"sound": SPEC.views["sound"]._replace(shape=(8,))}
    less = {"photo": SPEC.views["photo"]}
    assert batch.differences({"train": SPEC, "test": SPEC}) == []
    for views, words in ((wide, "is [8] of float32"), (less, "is missing")):
        (line,) = batch.differences({"train": SPEC, "test": SPEC._replace(views=views)})
        assert (
            f"'sound' {words} in the split 'test' but [7] of float32 in 'train'" in line
        )


def test_names_of_channels_leave_fingerprints_as_they_were():
    view = batch.ViewSpec((4, 4, 2), "uint8", 0, 255)
    plain = batch.Spec({"sar": view}, 3)
    named = plain._replace(channel_names={"sar": ("VV", "VH")})
    assert str(named) == str(plain)
    told = repr(plain).replace(", channel_names={}, target_names={})", ")")
    assert str(plain) == told
    assert named.channels("sar") == ("VV", "VH") and plain.channels("sar") == ("0", "1")
