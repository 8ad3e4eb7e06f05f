"""Arrays of all number types become those of the device, or say why not."""

import warnings

import numpy as np
import pytest

from mvjax.data import narrow

VALUES = np.arange(12).reshape(3, 4) / 16


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", np.longdouble])
def test_all_floats_become_float32(dtype):
    found, problem = narrow.to_device_type(VALUES.astype(dtype))
    assert problem is None and found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES.astype(np.float32))


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("u1", "uint8"),
        ("i2", "int16"),
        ("i4", "int32"),
        ("i8", "int32"),
        ("u8", "int32"),
        ("?", "float32"),
    ],
)
def test_integers_become_what_jax_holds_and_booleans_numbers(dtype, wanted):
    values = np.array([[1, 0], [0, 1]])
    found, problem = narrow.to_device_type(values.astype(dtype))
    assert problem is None and found.dtype == wanted
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "NaN at index 1."),
        (-np.inf, "an infinite value at index 1."),
        (1e300, "1e+300 at index 1, beyond float32."),
        (np.longdouble("1e4000"), "1e+4000 at index 1, beyond float32."),
    ],
)
def test_floats_that_float32_does_not_hold_are_named(value, words):
    array = np.zeros((3, 2), np.asarray(value).dtype)
    array[1, 1] = value
    assert narrow.to_device_type(array)[1] == f"holds {words}"
    present = np.array([True, False, True])
    found, problem = narrow.to_device_type(array, present)
    assert problem is None and not found.any()


def test_other_arrays_are_named():
    assert "int32" in narrow.to_device_type(np.array([2**40]))[1]
    assert "uint32" in narrow.to_device_type(np.array([2**40], np.uint64))[1]
    assert narrow.to_device_type(np.array([2**32 - 1], np.uint64))[0].dtype == np.uint32
    assert "complex64" in narrow.to_device_type(np.zeros(2, np.complex64))[1]
    assert narrow.to_device_type(np.zeros((0, 3)))[1] is None
