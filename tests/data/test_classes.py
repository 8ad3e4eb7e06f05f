"""Classes of any numbering: sorted distinct values become 0..K-1 and stay as names."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import classes

U64 = np.uint64(2**64 - 1)


@pytest.mark.parametrize(
    ("values", "numbers", "names"),
    [
        ([2, 0, 1, 2], [2, 0, 1, 2], ("0", "1", "2")),  # These keep their meaning.
        ([20231101, -1, 20231105], [0, -1, 1], ("20231101", "20231105")),
        ([2**40, 3_000_000_000, 2**40], [1, 0, 1], ("3000000000", str(2**40))),
        (np.array([5, 7, U64], np.uint64), [0, 1, -1], ("5", "7")),
        (np.array([1, 255], np.uint8), [0, -1], ("1",)),
        ([3.0, np.nan, 1.0, -1.0], [1, -1, 0, -1], ("1", "3")),
        (["dog", "", "cat", "dog"], [1, -1, 0, 1], ("cat", "dog")),
        ([b"a", b"b"], [0, 1], ("a", "b")),
        ([True, False, True], [1, 0, 1], ("False", "True")),
        ([-1, -1], [-1, -1], ()),
    ],
)
def test_values_are_numbered_in_order_and_kept_as_names(values, numbers, names):
    found = classes.number(np.array(values), "array 'label'")
    np.testing.assert_array_equal(found.numbers, numbers)
    assert found.numbers.dtype == np.int32 and found.names == names


def test_all_values_of_uint8_are_classes():
    values = np.arange(256).repeat(3).astype(np.uint8)
    np.testing.assert_array_equal(classes.number(values, "label").numbers, values)


def test_given_names_say_what_integers_mean():
    found = classes.number(np.array([2, 0]), "label", ("a", "b", "c"))
    np.testing.assert_array_equal(found.numbers, [2, 0])
    assert found.names == ("a", "b", "c")
    with pytest.raises(errors.UserError, match="3 at index 1, expected -1 or 0..2"):
        classes.number(np.array([2, 3]), "label", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(500), "500 distinct values in 500 samples: identities"),
        (np.array([str(i) for i in range(300)]), "300 distinct values"),
        (np.array([0.5, 1.0]), "2 distinct values, of which 1 are no whole numbers"),
        (np.array([np.inf, 1.0]), "no whole numbers, such as inf"),
        (np.array([1e300, 1.0]), "beyond"),
        (np.array([-2, 1]), "-2 at index 0, below -1"),
        (np.zeros((3, 2), int), r"must be \[N\]"),
        (np.array([1j]), "complex"),
    ],
)
def test_what_cannot_be_classes_is_refused_with_its_count(values, message):
    with pytest.raises(errors.UserError, match=message):
        classes.number(values, "array 'label'")
