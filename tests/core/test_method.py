"""Views that a method does not take are refused in words that say what to do."""

import pytest

from mvjax.core import errors
from mvjax.core import method
from mvjax.data import batch

WANTED = (8, 6, 3)


def check(shape=WANTED, dtype="uint8", low=0.0, high=255.0, **options):
    view = batch.ViewSpec(shape, dtype, low, high)
    method.check_image("photo", view, WANTED, fields="config.method.size", **options)


def test_bytes_and_floats_up_to_one_are_images():
    check()
    check(dtype="float32", low=0.0, high=1.0)
    check(dtype="float32", low=0.2, high=1.0 + 1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            dict(dtype="float32"),
            "0 to 255; float images are in .0, 1.*Divide them by 255",
        ),
        (dict(dtype="float32", low=-1.0, high=1.0), "from -1 to 1; float images"),
        (dict(dtype="float32", low=-9e9, high=9e9), r"float images are in .0, 1., o"),
        (dict(dtype="int32"), "dtype int32; images are uint8, or float"),
        (dict(shape=(3, 8, 6)), "channels first.*array.transpose"),
        (dict(shape=(3, 64, 64)), "channels first"),
        (dict(shape=(8, 6, 1)), "the method wants .8, 6, 3.*config.method.size.*$"),
        (dict(dtype="float32", high=1.0, floats=False), "images are uint8[.]$"),
    ],
)
def test_others_are_refused(changes, words):
    with pytest.raises(errors.UserError, match=f"View 'photo'.*{words}"):
        check(**changes)


def test_a_missing_channel_axis_is_told():
    assert "array[..., None]" in method.axes_hint((8, 6), (8, 6, 1))
    assert method.axes_hint((8, 5, 3), WANTED) == ""
    assert method.axes_hint((7,), (9,)) == ""


def test_vectors_may_hold_anything_and_views_are_named():
    vector = batch.ViewSpec((7,), "float32", -50.0, 50.0)
    spec = batch.Spec({"v": vector}, None)
    method.check_views(spec, {"v": (7,)}, fields="f")
    with pytest.raises(errors.UserError, match="'v' has shape"):
        method.check_views(spec, {"v": (6,)}, fields="f")
    with pytest.raises(errors.UserError, match="'w'.*Choices: v"):
        method.check_views(spec, {"w": (7,)}, fields="f")
