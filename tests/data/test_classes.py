"""Classes are numbered by the sorted distinct values, which stay as names."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import classes

KINDS = np.array([0, 1, 2, 3] * 5)


@pytest.mark.parametrize(
    "dtype", ["i1", "i2", "i4", "i8", ">i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
)
def test_numbers_without_gaps_stay_what_they_are(dtype):
    found = classes.number(KINDS.astype(dtype), "label")
    np.testing.assert_array_equal(found.numbers, KINDS)
    assert found.numbers.dtype == np.int32
    assert found.names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array([0, 2, 5, 9])[KINDS], "0 2 5 9"),
        (KINDS + 20231100, "20231100 20231101 20231102 20231103"),
        (KINDS + 3_000_000_000, "3000000000 3000000001 3000000002 3000000003"),
        (KINDS.astype(np.uint64) + np.uint64(2**63), None),
        (KINDS + 2.0**40, None),
        (np.array(["b", "a", "d", "c"])[KINDS], "a b c d"),
        (np.array([b"b", b"a", b"d", b"\xc3\xa4"])[KINDS], "a b d ä"),
        (KINDS > 1, "False True"),
        (np.array(["x\ny", "$a", "\ud800", "_"])[KINDS], "$a _ x\\ny \\ud800"),
    ],
)
def test_values_are_sorted_and_kept_as_names(values, names):
    found = classes.number(values, "label")
    distinct = np.unique(values)
    np.testing.assert_array_equal(distinct[found.numbers], values)
    assert len(found.names) == len(distinct)
    if names is not None:
        assert " ".join(found.names) == names


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([5, -1, 7], [0, -1, 1]),
        ([5.0, np.nan, 7.0], [0, -1, 1]),
        ([5.0, -1.0, 7.0], [0, -1, 1]),
        (["cat", "", "dog"], [0, -1, 1]),
        ([b"cat", b"", b"dog"], [0, -1, 1]),
        (np.array([5, -1, 7]).astype(np.uint64), [0, -1, 1]),
        (np.array([5, -1, 7]).astype(np.uint16), [0, -1, 1]),
        (np.array([5, -1, 7]).astype(np.uint8), [0, -1, 1]),
        ([-1, -1, -1], [-1, -1, -1]),
        ([], []),
    ],
)
def test_what_is_unlabelled_has_no_class(values, known):
    assert classes.number(np.array(values), "label").numbers.tolist() == known


def test_a_whole_byte_of_classes_has_no_unlabelled_one():
    values = np.arange(256).repeat(2).astype(np.uint8)
    np.testing.assert_array_equal(classes.number(values, "label").numbers, values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.arange(64) + 10**12, "64 distinct values in 64 samples"),
        (np.array([f"id{i}" for i in range(50)]), "50 distinct values"),
        (np.array([0.5, 1.5, 1.0]), "3 distinct values, of which 2 .*such as 0.5"),
        (np.array([1.0, np.inf]), "such as inf"),
        (np.array([2.0**25, 1.0], np.float32), "beyond 1.67772e\\+07.*float32"),
        (np.array([3, -2]), "-2 at index 1, below -1"),
        (np.zeros((4, 1), int), r"is \[4, 1\] of int64"),
        (np.array([1j]), "complex128"),
    ],
)
def test_what_cannot_be_classes_is_refused(values, words):
    with pytest.raises(errors.UserError, match=f"the labels.*{words}"):
        classes.number(values, "the labels")


def test_many_classes_of_several_samples_are_classes():
    assert len(classes.number(np.arange(5000).repeat(2), "label").names) == 5000


def test_given_names_keep_the_numbers_where_classes_are_missing():
    found = classes.number(np.array([2, -1, 0]), "label", ("low", "mid", "high"))
    assert found.numbers.tolist() == [2, -1, 0] and found.names[1] == "mid"
    with pytest.raises(errors.UserError, match="3 at index 1, expected -1 or 0..2"):
        classes.number(np.array([0, 3]), "label", ("low", "mid", "high"))
    with pytest.raises(errors.UserError, match="must be integers"):
        classes.number(np.array(["low"]), "label", ("low", "mid", "high"))
