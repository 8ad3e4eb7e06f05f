"""3D Shapes: pairs agree and differ in the right factors, images and splits are right."""

import itertools
import sys

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data.sources import shapes3d

HUES, REST = 5, 2


def make_labels():
    """Values of a small file in the published order, `[1000, 6]`."""
    scales, turns = (
        np.linspace(0.75, 1.25, 8)[:REST],
        np.linspace(-30, 30, 15)[:REST],
    )
    hues = np.linspace(0, 0.9, 10)[-HUES:]
    return np.array([*itertools.product(hues, hues, hues, scales, range(REST), turns)])


def make_images(count):
    """Images that say which row they are."""
    images = np.zeros((count, 64, 64, 3), np.uint8)
    images[:, :, :, 0] = (np.arange(count) // 256)[:, None, None]
    images[:, :, :, 1] = (np.arange(count) % 256)[:, None, None]
    return images


def row_of(image):
    return int(image[5, 5, 0]) * 256 + int(image[5, 5, 1])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("shapes") / "3dshapes.h5")


def write(path, **changes):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    labels = make_labels()
    content = {"images": make_images(len(labels)), "labels": labels} | changes
    with h5py.File(path, "w") as stream:
        for name, array in content.items():
            if array is not None:
                stream.create_dataset(name, data=array, compression="gzip")
    return str(path)


def test_views_agree_in_three_factors_and_differ_in_three(file):
    source = shapes3d.Source(file=file, split="train")
    labels = make_labels()
    assert len(source) == 800
    for i in range(0, len(source), 7):
        record = source[i]
        batch.validate_record(record, source.spec, "shapes3d")
        x, y = (labels[row_of(record["views"][view])] for view in "xy")
        np.testing.assert_array_equal(x[3:], y[3:])
        assert (x[:3] != y[:3]).all()
        factors = record["factors"]
        assert factors["shape"] == record["label"] == x[4]
        assert factors["scale"] == np.searchsorted(np.linspace(0.75, 1.25, 8), x[3])
        assert factors["orientation"] == round((x[5] + 30) * 14 / 60)
        for view, values in (("x", x), ("y", y)):
            for name, value in zip(("floor", "wall", "object"), values):
                assert factors[f"{name}_hue_{view}"] == round(value * 10)


def test_gathered_batches_are_the_records(file):
    source = shapes3d.Source(file=file, split="test")
    found = source.gather([3, 0, 3])
    for row, i in enumerate((3, 0, 3)):
        for view in "xy":
            wanted = source[i]["views"][view]
            np.testing.assert_array_equal(found["views"][view][row], wanted)
        assert found["factors"]["wall_hue_y"][row] == source[i]["factors"]["wall_hue_y"]


def test_no_image_is_in_both_splits(file):
    seen = {}
    for split in ("train", "test"):
        source = shapes3d.Source(file=file, split=split)
        views = source.gather(np.arange(len(source)))["views"]
        seen[split] = {row_of(image) for view in "xy" for image in views[view]}
        # Each image is the first of one record.
        assert len({row_of(image) for image in views["x"]}) == len(source)
    assert not seen["train"] & seen["test"]
    assert len(seen["train"]) == 800 and len(seen["test"]) == 200
    assert len(shapes3d.Source(file=file, split="all")) == 1000


def test_partners_are_random_but_fixed(file):
    def make(**options):
        return shapes3d.Source(file=file, **options)

    one, again, other = make(), make(), make(pair_seed=1)
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    labels = one.factors["object_hue_y"]
    counts = np.bincount(labels, minlength=10)[-HUES:]
    assert counts.min() > 800 / HUES / 2
    assert not np.array_equal(labels, other.factors["object_hue_y"])


def test_a_limit_keeps_random_records_and_reads_no_more(file):
    source = shapes3d.Source(file=file, limit=30)
    whole = shapes3d.Source(file=file)
    assert len(source) == 30 and len(source._images) <= 60
    np.testing.assert_array_equal(
        source.factors["floor_hue_x"], whole.factors["floor_hue_x"][:30]
    )
    assert len(np.unique(source.factors["floor_hue_x"])) == HUES


def test_images_are_shrunk(file):
    source = shapes3d.Source(file=file, size=32, limit=10)
    whole = shapes3d.Source(file=file, limit=10)
    assert source.spec == shapes3d.spec(size=32)
    image, large = source[4]["views"]["y"], whole[4]["views"]["y"]
    assert image.shape == (32, 32, 3) and row_of(image) == row_of(large)


def test_all_values_of_the_data_set_are_known():
    values = [low + step * np.arange(n) for low, step, n in shapes3d.FACTORS.values()]
    assert values[5][-1] == pytest.approx(30) and values[3][-1] == pytest.approx(1.25)
    rows = np.stack([np.resize(v, 15) for v in values], axis=1)
    for column, name in enumerate(shapes3d.FACTORS):
        classes = shapes3d.classify(rows, "file")[name]
        count = len(values[column])
        np.testing.assert_array_equal(classes, np.arange(15) % count)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "no 'labels' but images"),
        ({"images": np.zeros((1000, 32, 32, 3), np.uint8)}, "expected .N, 64, 64, 3"),
        ({"images": np.zeros((1000, 64, 64, 3), np.float32)}, "of uint8"),
        ({"labels": make_labels()[:-1]}, "1000 images but 999 labels"),
        ({"labels": make_labels() + 0.05}, "floor_hue of image 0 is 0.55"),
        ({"labels": make_labels() * np.nan}, "floor_hue of image 0 is nan"),
        ({"labels": make_labels() * [0, 1, 1, 1, 1, 1]}, "no partner"),
    ],
)
def test_another_file_is_refused(tmp_path, changes, message):
    with pytest.raises(errors.UserError, match=message):
        shapes3d.Source(file=write(tmp_path / "other.h5", **changes))


def test_no_file_is_told_from_a_damaged_one(tmp_path):
    pytest.importorskip("h5py", reason="h5py is not installed")
    with pytest.raises(errors.UserError, match="No file given"):
        shapes3d.Source()
    with pytest.raises(errors.UserError, match="There is no file"):
        shapes3d.Source(file=str(tmp_path / "none.h5"))
    (tmp_path / "bad.h5").write_bytes(b"no")
    with pytest.raises(errors.UserError, match="no HDF5 file"):
        shapes3d.Source(file=str(tmp_path / "bad.h5"))
    with pytest.raises(errors.UserError, match="split"):
        shapes3d.Source(file=write(tmp_path / "good.h5"), split="valid")


def test_nothing_is_read_beyond_the_bound(file, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with pytest.raises(
        errors.UserError, match="'images' would take .*config.data.limit"
    ):
        shapes3d.Source(file=file, max_gib=0.001)
    assert len(shapes3d.Source(file=file, max_gib=0.001, limit=5)) == 5
    with h5py.File(tmp_path / "wide.h5", "w") as stream:  # Of a few kilobytes.
        for name, shape, kind in (
            ("images", (64, 64, 3), "u1"),
            ("labels", (6,), "f8"),
        ):
            chunks = (1, *shape)
            stream.create_dataset(name, (10**12, *shape), kind, chunks=chunks)
    with pytest.raises(errors.UserError, match="'labels' would take .* GiB"):
        shapes3d.Source(file=str(tmp_path / "wide.h5"))


def test_files_of_other_kinds_are_named(tmp_path):
    pytest.importorskip("h5py", reason="h5py is not installed")
    (tmp_path / "a.h5").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(errors.UserError, match="it is a Git LFS pointer"):
        shapes3d.Source(file=str(tmp_path / "a.h5"))
    with pytest.raises(errors.UserError, match="it is a folder"):
        shapes3d.Source(file=str(tmp_path))


def test_damage_inside_is_named(tmp_path):
    file = write(tmp_path / "bad.h5")
    with open(file, "r+b") as stream:
        size = stream.seek(0, 2)
        stream.seek(size // 2)
        stream.write(b"\xff" * (size // 4))
    with pytest.raises(errors.UserError, match="bad.h5"):
        shapes3d.Source(file=file)


def test_without_h5py_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(errors.UserError, match=r"pip install .mvjax\[shapes3d\]"):
        shapes3d.Source(file="3dshapes.h5")
    assert shapes3d.spec().views["x"].shape == (64, 64, 3)  # Needs neither.
