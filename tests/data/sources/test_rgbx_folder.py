"""CMX's layout: stems of lists, labels that wrap, and one clear error for each mistake."""

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import check
from mvjax.data.sources import rgbx_folder

RNG = np.random.default_rng(0)
SIZE = (6, 8)


def write(path, shape=(*SIZE, 3), high=256):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = RNG.integers(0, high, shape, np.uint8)
    Image.fromarray(image).save(path)
    return image


@pytest.fixture
def folder(tmp_path):
    """Three scenes for training, in the order of their list, and one for testing."""
    for stem in "abcd":
        write(tmp_path / "RGB" / f"{stem}.png")
        write(tmp_path / "HHA" / f"{stem}.png")
        write(tmp_path / "Label" / f"{stem}.png", SIZE, 41)
    (tmp_path / "train.txt").write_text("c\na\n\nb \n")
    (tmp_path / "test.txt").write_text("d")
    return tmp_path


def make(folder, **options):
    return rgbx_folder.Source(**dict(folder=str(folder), size=SIZE) | options)


def test_labels_count_from_1_and_0_is_unknown(folder):
    source = make(folder)
    assert source.files.ids == ["c", "a", "b"]
    stored = np.asarray(Image.open(folder / "Label" / "c.png"))
    record = source[0]
    mask = record["targets"]["mask"]
    np.testing.assert_array_equal(mask, np.where(stored == 0, 255, stored - 1))
    assert batch.record_problems(record, source.spec, "here") == []
    rgb = np.asarray(Image.open(folder / "RGB" / "c.png"))
    np.testing.assert_array_equal(record["views"]["rgb"], rgb[..., ::-1])
    plain = make(folder, channel_order="rgb")
    np.testing.assert_array_equal(plain[0]["views"]["rgb"], rgb)
    assert plain.fingerprint() != source.fingerprint()
    assert len(make(folder, split="all")) == 4
    assert source.spec.target_names["mask"][39] == "other prop"


def test_other_sets_bring_their_own_classes(folder):
    heat = write(folder / "Thermal" / "d.jpg", SIZE)
    write(folder / "Label" / "d.png", SIZE, 9)
    source = make(folder, dataset="mfnet", split="test")
    x = source[0]["views"]["thermal"]
    assert x.shape == (*SIZE, 3) and np.array_equal(x[..., 0], x[..., 2])
    assert np.abs(x[..., 0].astype(int) - heat).mean() < 8  # JPEG.
    assert source[0]["targets"]["mask"].max() <= 8
    own = dict(dataset="own", class_names=("road", "house"), x="Thermal", size=None)
    write(folder / "Label" / "d.png", SIZE, 3)
    mask = make(folder, split="test", shift=1, **own)[0]["targets"]["mask"]
    assert set(np.unique(mask)) == {0, 1, 255}
    with pytest.raises(errors.UserError, match="d.png holds the label 2.*have 0 to 1"):
        make(folder, split="test", **own)[0]
    with pytest.raises(errors.UserError, match="dataset=own needs class_names"):
        make(folder, dataset="own")
    with pytest.raises(errors.UserError, match="set dataset=own"):
        make(folder, class_names=("a", "b"))
    with pytest.raises(errors.UserError, match="x=more/RGB: the second view has"):
        make(folder, x="more/RGB")
    assert len(rgbx_folder.spec(dataset="sunrgbd").target_names["mask"]) == 37


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "HHA" / "a.png").unlink(), "'a', which .*HHA lacks as a.jpg"),
        (lambda f: (f / "Label" / "b.png").unlink(), "'b', which .*Label lacks"),
        (lambda f: (f / "train.txt").write_text("\n"), "train.txt is empty"),
        (
            lambda f: (f / "train.txt").write_text("c\na\nb\na\n"),
            "train.txt lists a more than once",
        ),
        (lambda f: (f / "train.txt").unlink(), "Cannot read .*train.txt, the list"),
    ],
)
def test_what_is_missing_is_named(folder, spoil, message):
    spoil(folder)
    with pytest.raises(errors.UserError, match=message):
        make(folder)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((6, 7), np.uint8), "c.png has 6x8 pixels, but .*c.png has 6x7"),
        (np.zeros(SIZE, np.uint16), "c.png has the mode I;16; masks have one channel"),
        (
            np.zeros((*SIZE, 3), np.uint8),
            "c.png has the mode RGB; masks have one channel",
        ),
        (
            np.full(SIZE, 41, np.uint8),
            "c.png holds the label 41; the 40 classes have 1",
        ),
    ],
)
def test_a_bad_mask_is_named_once(folder, mask, message):
    Image.fromarray(mask).save(folder / "Label" / "c.png")
    options = dict(folder=str(folder), size=SIZE)
    config = dict(name="rgbx_folder", options=options, synthetic=False)
    rows, problems = check.check(config, ("train",))
    assert len(problems) == 1 and np.char.count(problems[0], "c.png")
    with pytest.raises(errors.UserError, match=message):
        make(folder)[0]
    assert [row.records for row in rows[:3]] == [2, 2, 2]


def test_files_of_another_size_are_refused(folder):
    with pytest.raises(errors.UserError, match="6x8 pixels, not 480x640; set"):
        make(folder, size=None)[0]
