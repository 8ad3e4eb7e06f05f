"""A user's own arrays are taken as they are or refused by name."""

import warnings

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data.sources import npz


def sound(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "photo": rng.integers(0, 256, (20, 4, 5, 3)).astype(np.uint8),
        "sound": rng.normal(size=(20, 7)),
        "label": rng.integers(0, 3, 20),
    }
    arrays |= changes
    return {name: array for name, array in arrays.items() if array is not None}


def write(tmp_path, **changes):
    path = tmp_path / "mine.npz"
    np.savez(path, **sound(**changes))
    return str(path)


def test_views_and_labels_are_taken(tmp_path):
    file = write(tmp_path)
    source = npz.Source(split="all", file=file)
    assert source.spec == npz.spec(file=file)
    assert source.spec.views["photo"] == batch.ViewSpec((4, 5, 3), "uint8", 0, 255)
    assert source.spec.views["sound"].dtype == "float32"
    assert source.spec.classes == 3
    np.testing.assert_array_equal(source.views["photo"], sound()["photo"])
    np.testing.assert_array_equal(source.labels, sound()["label"])
    for i in range(20):
        batch.validate_record(source[i], source.spec, file)


def test_random_splits_are_fixed_disjoint_and_complete(tmp_path):
    file = write(tmp_path)
    train, test = (npz.Source(split=s, file=file) for s in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert npz.Source(file=file).fingerprint() == train.fingerprint()
    rows = np.concatenate([train.views["sound"], test.views["sound"]])
    wanted = sound()["sound"].astype(np.float32)
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(wanted, axis=0))
    assert len(npz.Source(file=file, train_fraction=0.5)) == 10
    assert len(npz.Source(file=file, limit=3)) == 3


def test_splits_of_the_file_come_first(tmp_path):
    split = np.array(["test"] * 5 + ["train"] * 15)
    file = write(tmp_path, split=split, label=None)
    test = npz.Source(split="test", file=file)
    np.testing.assert_array_equal(test.views["photo"], sound()["photo"][:5])
    assert test.spec.classes is None
    assert (test.labels == -1).all()


def test_absent_samples_may_hold_anything(tmp_path):
    values = sound()["sound"]
    values[4] = np.nan
    mask = np.ones(20, bool)
    mask[4] = False
    file = write(tmp_path, **{"sound": values, "present/sound": mask})
    source = npz.Source(split="all", file=file)
    assert list(source.spec.views) == ["photo", "sound"]
    assert not source[4]["present"]["sound"]
    assert (source[4]["views"]["sound"] == 0).all()
    assert source.gather([3, 4])["present"]["sound"].tolist() == [True, False]


def sequences(**changes):
    """A file with scores, lengths, identities and a validation split."""
    rng = np.random.default_rng(1)
    arrays = {
        "text": rng.normal(size=(20, 6, 3)),
        "sound": None,
        "photo": None,
        "target/score": rng.normal(size=20),
        "length/text": np.arange(20) % 7,
        "info/id": np.array([f"clip {i}" for i in range(20)]),
        "split": np.array(["train"] * 10 + ["valid"] * 4 + ["test"] * 6),
    }
    return sound(**(arrays | changes))


def test_scores_lengths_and_a_validation_split_are_taken(tmp_path):
    arrays = sequences()
    file = write(tmp_path, **({"photo": None, "sound": None} | arrays))
    assert npz.find_splits(file=file) == ("train", "valid", "test")
    source = npz.Source(split="valid", file=file)
    assert len(source) == 4 and list(source.spec.views) == ["text"]
    assert source.spec.lengths == ("text",)
    assert source[1]["lengths"]["text"] == arrays["length/text"][11]
    assert source[1]["targets"]["score"] == np.float32(arrays["target/score"][11])
    assert source.info["id"][1] == "clip 11"
    for split, count in (("train", 10), ("test", 6), ("all", 20)):
        opened = npz.Source(split=split, file=file)
        assert len(opened) == count
        for i in range(count):
            batch.validate_record(opened[i], opened.spec, file)


def test_without_such_samples_there_is_no_validation_split(tmp_path):
    file = write(tmp_path)
    assert npz.find_splits(file=file) == ("train", "test")
    with pytest.raises(errors.UserError, match="'valid' is empty"):
        npz.Source(split="valid", file=file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target/score": np.arange(20)}, ["'target/score'", "floats"]),
        ({"target/score": np.full(20, np.nan)}, ["'target/score'", "NaN at index 0"]),
        ({"target/score": np.full(20, 1e300)}, ["'target/score'", "beyond float32"]),
        ({"length/text": np.full(20, 7)}, ["'length/text'", "7 at index 0", "0..6"]),
        ({"length/text": np.ones(20)}, ["'length/text'", "integers"]),
        ({"length/smell": np.ones(20, int)}, ["'length/smell'", "no view"]),
        ({"info/id": np.arange(20)}, ["'info/id'", "text"]),
        ({"target/score": np.zeros(19)}, ["'target/score'", "19", "20"]),
    ],
)
def test_bad_scores_and_lengths_are_named(tmp_path, changes, words):
    file = write(tmp_path, **({"photo": None, "sound": None} | sequences(**changes)))
    with pytest.raises(errors.UserError) as caught:
        npz.Source(file=file)
    for word in ["mine.npz", *words]:
        assert word in str(caught.value)


def with_value(value, *, index=6):
    array = sound()["sound"]
    array[index:] = value
    return array


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sound": with_value(np.nan)}, ["'sound'", "NaN at index 6", "14 samples"]),
        ({"sound": with_value(np.inf)}, ["'sound'", "infinite value at index 6"]),
        ({"sound": sound()["sound"][:18]}, ["'sound'", "18", "20", "index is 18"]),
        ({"label": np.arange(19)}, ["'label'", "19"]),
        ({"label": np.arange(20) / 2}, ["'label'", "20 distinct", "whole numbers"]),
        ({"label": np.zeros((20, 1))}, ["'label'", "[20, 1] of float64"]),
        ({"label_names": np.array(["a", "b"])}, ["'label'", "2 at index"]),
        ({"label": None, "label_names": np.array(["a"])}, ["no array 'label'"]),
        ({"label_names": np.arange(3)}, ["'label_names'", "[K] of text"]),
        ({"label": np.full(20, -2)}, ["'label'", "-2 at index 0"]),
        ({"sound": np.array(["a"] * 20)}, ["'sound'", "numbers"]),
        ({"sound": np.array([{}] * 20)}, ["'sound'", "objects"]),
        ({"sound": np.float32(1)}, ["'sound'", "no sample axis"]),
        ({"sound": np.full((20, 1), 2**40)}, ["'sound'", "int32"]),
        ({"sound": np.full((20, 1), 1e300)}, ["'sound'", "1e+300", "beyond float32"]),
        ({"sound": np.zeros((20, 0))}, ["'sound'", "no values"]),
        ({"split": np.array(["train"] * 3 + ["rest"] * 17)}, ["'rest' is unknown"]),
        ({"split": np.array(["dev", "val"] * 10)}, ["'dev' and 'val' both stand"]),
        ({"split": np.array(["train", "tset"] * 10)}, ["'tset' is unknown"]),
        ({"split": np.array(["train", "all"] * 10)}, ["'all' is unknown"]),
        ({"split": np.array(["train", "../x"] * 10)}, ["'../x' is unknown"]),
        ({"present/smell": np.ones(20, bool)}, ["present/smell", "no view"]),
        ({"present/sound": np.ones(20)}, ["present/sound", "booleans"]),
        ({"photo": None, "sound": None}, ["no views"]),
    ],
)
def test_bad_arrays_are_named(tmp_path, changes, words):
    file = write(tmp_path, **changes)
    with pytest.raises(errors.UserError) as caught:
        npz.Source(file=file)
    for word in ["mine.npz", *words]:
        assert word in str(caught.value)


def test_all_problems_are_listed(tmp_path):
    file = write(tmp_path, sound=with_value(np.nan), label=np.zeros((20, 2)))
    assert len(npz.find_problems(file=file)) == 2
    with pytest.raises(errors.UserError, match="1 more: run `mvjax data check`"):
        npz.Source(file=file)


def test_files_that_are_none_are_refused(tmp_path):
    good = write(tmp_path)
    cut = tmp_path / "cut.npz"
    with open(good, "rb") as stream:
        cut.write_bytes(stream.read()[:-100])
    text = tmp_path / "text.npz"
    text.write_text("hello")
    np.save(tmp_path / "single.npy", np.zeros(3))
    for file in (cut, text, tmp_path / "single.npy", tmp_path / "absent.npz"):
        with pytest.raises(errors.UserError, match=file.name):
            npz.Source(file=str(file))
    with pytest.raises(errors.UserError, match="options.file"):
        npz.Source()


def test_a_damaged_array_is_named(tmp_path):
    good = write(tmp_path)
    with open(good, "rb") as stream:
        data = bytearray(stream.read())
    data[data.index(b"sound.npy") + 300] ^= 0xFF  # The checksum no longer fits.
    bad = tmp_path / "bad.npz"
    bad.write_bytes(data)
    with pytest.raises(errors.UserError, match=r"bad\.npz: array 'sound'"):
        npz.Source(file=str(bad))


def test_a_stated_range_is_kept(tmp_path):
    spec = npz.spec(file=write(tmp_path), value_range=(-9, 300))
    assert spec.views["sound"][2:4] == spec.views["photo"][2:4] == (-9, 300)


def test_classes_come_from_all_splits_and_keep_their_names(tmp_path):
    label = np.array([7, 3_000_000_000] * 8 + [2**40, -1] * 2)
    split = np.array(["train"] * 16 + ["test"] * 4)
    camera = np.array(["left", "", "right", "left", "left"] * 4)
    file = write(tmp_path, **{"label": label, "split": split, "factor/camera": camera})
    test = npz.Source(split="test", file=file)
    assert test.spec == npz.Source(file=file).spec == npz.spec(file=file)
    assert test.spec.classes == 3
    assert test.spec.names() == ("7", "3000000000", "1099511627776")
    assert test.labels.tolist() == [2, -1, 2, -1]
    assert test.spec.factors == {"camera": 2}
    assert test.spec.names("camera") == ("left", "right")
    assert test.factors["camera"].tolist() == [-1, 1, 0, 0]


def test_names_in_the_file_keep_classes_without_a_sample(tmp_path):
    names = np.array(["low", "mid", "high"])
    file = write(tmp_path, label=np.array([0, 2] * 10), label_names=names)
    source = npz.Source(split="all", file=file)
    assert source.spec.classes == 3 and source.spec.names() == tuple(names)
    assert source.labels[:2].tolist() == [0, 2]


def test_splits_may_have_names_of_their_own(tmp_path):
    split = np.array(["train"] * 10 + ["unlabelled"] * 6 + ["test"] * 3 + ["probe"])
    file = write(tmp_path, split=split)
    assert npz.find_splits(file=file) == ("train", "test", "probe", "unlabelled")
    source = npz.Source(split="unlabelled", file=file)
    assert len(source) == 6
    whole = npz.Source(split="all", file=file)
    np.testing.assert_array_equal(
        source[0]["views"]["sound"], whole[10]["views"]["sound"]
    )
    with pytest.raises(errors.UserError, match="unlabelled"):
        npz.Source(split="gallery", file=file)


def test_splits_of_other_names_are_read_and_told(tmp_path, capsys):
    split = np.array(["Train"] * 12 + ["dev"] * 5 + ["test"] * 3)
    file = write(tmp_path, split=split)
    assert npz.find_splits(file=file) == ("train", "valid", "test")
    assert capsys.readouterr().err == ""
    counts = {
        name: len(npz.Source(split=name, file=file)) for name in ("train", "test")
    }
    assert counts == {"train": 12, "test": 3}
    assert capsys.readouterr().err.count("'Train' is read as 'train'") == 1
    assert len(npz.Source(split="valid", file=file)) == 5
    assert "mine.npz: the split 'dev' is read as 'valid'" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2", np.longdouble, "?"])
def test_floats_of_all_kinds_reach_the_device_as_float32(tmp_path, dtype):
    photo = sound()["photo"] > 100
    file = write(tmp_path, photo=np.asfortranarray(photo.astype(dtype)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = npz.Source(split="all", file=file)
    assert source.spec.views["photo"] == batch.ViewSpec((4, 5, 3), "float32", 0.0, 1.0)
    np.testing.assert_array_equal(source.views["photo"], photo)


def test_the_memory_that_a_file_may_take_is_an_option(tmp_path):
    file = write(tmp_path, sound=np.zeros((20, 10_000)))
    with pytest.raises(errors.UserError, match="config.data.options.max_gib raises"):
        npz.Source(file=file, max_gib=0.001)
    assert npz.find_problems(file=file, max_gib=0.001)
    assert len(npz.Source(file=file, max_gib=1)) == 16


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "~nobody-of-this-name/x.npz"])
def test_impossible_names_are_refused(name):
    assert len(npz.find_problems(file=name)) == 1
    with pytest.raises(errors.UserError, match="Cannot read"):
        npz.Source(file=name)


@pytest.mark.parametrize("ends", [(0.0, 0.5), (1.0, 0.0)])
def test_values_beyond_a_stated_range_are_refused(tmp_path, ends):
    file = write(tmp_path, photo=np.linspace(0, 1, 20), sound=None)
    with pytest.raises(errors.UserError, match=r"value_range"):
        npz.Source(file=file, value_range=ends)
    far = write(
        tmp_path,
        photo=np.r_[np.ones(19), 7.0],
        sound=None,
        **{"present/photo": np.arange(20) < 19},
    )
    assert npz.Source(file=far, value_range=(0.0, 1.0)).spec.views["photo"].high == 1


def test_a_range_needs_both_ends(tmp_path):
    with pytest.raises(errors.UserError, match="value_range.*greatest"):
        npz.spec(file=write(tmp_path), value_range=(1.0,))


def test_tags_and_masks_are_taken(tmp_path):
    rng = np.random.default_rng(1)
    tags, mask = rng.random((20, 4)) > 0.5, rng.integers(0, 3, (20, 4, 5))
    mask[3, 0] = 255
    file = write(tmp_path, **{"target/tags": tags, "target/mask": mask})
    source = npz.Source(split="all", file=file, target_ignore=255)
    assert source.spec.targets == {
        "tags": batch.TargetSpec((4,), "uint8", 0, 1, ignore=255),
        "mask": batch.TargetSpec((4, 5), "int32", 0, 2, ignore=255),
    }
    np.testing.assert_array_equal(source.targets["tags"], tags)
    np.testing.assert_array_equal(source[3]["targets"]["mask"], mask[3])
    for i in range(20):
        batch.validate_record(source[i], source.spec, file)
    assert npz.spec(file=file).targets["mask"].high == 255
