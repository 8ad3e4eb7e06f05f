"""Arrays of any number type reach the device in one that it has, or are named."""

import numpy as np
import pytest

from mvjax.data import narrow

VALUES = [[0, 1], [3, 2]]


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        (">f4", "float32"),
        ("f8", "float32"),
        (">f8", "float32"),
        (np.longdouble, "float32"),
        ("f2", "float32"),
        ("i8", "int32"),
        ("u8", "int32"),
        ("u1", "uint8"),
        ("i2", "int16"),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_keep_their_values(dtype, wanted, order):
    array = np.array(VALUES, dtype, order=order)
    found, problem = narrow.to_device_type(array)
    assert problem is None and found.dtype == wanted
    np.testing.assert_array_equal(found, VALUES)


def test_booleans_become_floats():
    found, problem = narrow.to_device_type(np.array([True, False]))
    assert problem is None and found.dtype == np.float32
    np.testing.assert_array_equal(found, [1, 0])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.0], [1e300]]), "holds 1e+300 at index 1, beyond float32."),
        (np.array([[0.0], [np.nan]]), "holds NaN at index 1."),
        (np.array([[-np.inf], [0.0]]), "holds an infinite value at index 0."),
        (np.array([2**40]), "holds integers beyond int32."),
        (np.array([2**40], np.uint64), "holds integers beyond uint32."),
        (np.array(["a"]), "holds <U1, expected numbers."),
        (np.array([1j]), "holds complex128, expected numbers."),
    ],
)
def test_what_does_not_fit_is_named(array, message):
    assert narrow.to_device_type(array)[1] == message


def test_absent_samples_may_hold_anything_and_become_zero():
    array = np.array([[1.0], [np.nan]])
    found, problem = narrow.to_device_type(array, np.array([True, False]))
    assert problem is None
    np.testing.assert_array_equal(found, [[1], [0]])
