"""Predictions of each record as files, and the colours of classes."""

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.evaluators import segmentation
from mvjax.evaluators.common import export
from mvjax.evaluators.common import palette
from mvjax.evaluators.common import visible
from tests.evaluators import dense


def read(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("fields", [{}, {"flip": True}])
def test_each_record_has_its_guess_raw_and_in_colours(tmp_path, fields):
    source, features = dense.Source(37), dense.make()
    evaluator = segmentation.Evaluator(**fields)
    assert export.write("cover", evaluator, features, source, tmp_path) == 37
    guess = dense.logits(source.image).argmax(-1)
    names = sorted(path.name for path in (tmp_path / "cover" / "classes").iterdir())
    assert names == [f"{i:06d}.png" for i in range(37)]
    for i in (0, 20, 36):
        raw = read(tmp_path / "cover" / "classes" / f"{i:06d}.png")
        np.testing.assert_array_equal(raw, guess[i])
        colours = read(tmp_path / "cover" / "colours" / f"{i:06d}.png")
        np.testing.assert_array_equal(colours, palette.colours(dense.CLASSES)[raw])
        beside = read(tmp_path / "cover" / "beside" / f"{i:06d}.png")
        width = raw.shape[1]
        assert beside.shape == (raw.shape[0], 3 * width, 3)
        np.testing.assert_array_equal(beside[:, 2 * width :], colours)
        unknown = source.mask[i] == 255
        assert (beside[:, width : 2 * width][unknown] == 0).all()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cover").write_text("a file")
    args = segmentation.Evaluator(), dense.make(), dense.Source(37), tmp_path
    with pytest.raises(
        errors.UserError, match="Cannot write .*cover/classes/000000.png"
    ):
        export.write("cover", *args)


def test_colours_are_those_of_pascal_voc_and_differ():
    found = palette.colours(255)
    voc = [[128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert found[:5].tolist() == voc and found[7].tolist() == [64, 0, 0]
    assert len(np.unique(found, axis=0)) == 255 and found.any(axis=1).all()
    painted = palette.paint(np.array([[0, 1], [-1, 9]]), 2)
    assert painted.tolist() == [[[128, 0, 0], [0, 128, 0]], [[0, 0, 0], [0, 0, 0]]]


def test_pictures_show_red_where_the_data_say_it_is():
    image = np.zeros((1, 2, 3), np.float32)
    image[0, 1] = (0.0, 1.0, 2.0)
    shown = visible.visible(image, ("blue", "green", "red"))
    assert shown[0, 1].tolist() == [255, 128, 0]
    assert visible.visible(image)[0, 1].tolist() == [0, 128, 255]
    assert visible.visible(image[..., :2])[0, 1].tolist() == [0, 0, 0]
    assert not visible.visible(np.full((2, 2, 1), np.nan)).any()
