"""Windows of the wrist watch: people are split, windows are cut as said."""

import os

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch
from mvjax.data.sources import watch

CACHE = storage.default_cache(os.environ)


def write(tmp_path, *, steps=(130, 100, 90), **changes):
    """Writes recordings of ten people; the first channel counts steps."""
    rng = np.random.default_rng(0)
    recordings, subject = [], []
    for person in range(1, 11):
        for count in steps:
            array = rng.normal(size=(count, 6))
            array[:, 0] = np.arange(count)
            array[:, 5] = person
            recordings.append(array)
            subject.append(person)
    content = {
        "X": recordings,
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y": np.arange(len(subject)) % 7,
        "y_labels": list("abcdefg"),
        "subject": np.array(subject),
        "side": np.zeros(len(subject)),
    } | changes
    (tmp_path / "watch").mkdir(exist_ok=True)
    np.save(tmp_path / "watch" / "watch_dataset.npy", content, allow_pickle=True)
    return str(tmp_path)


def test_windows_are_cut_and_named(tmp_path):
    source = watch.Source(split="all", cache=write(tmp_path), window=50, stride=30)
    assert source.spec == watch.spec(window=50)
    assert len(source) == 10 * (3 + 2 + 2)
    starts = source.views["accelerometer"][:7, 0, 0]
    assert starts.tolist() == [0, 30, 60, 0, 30, 0, 30]
    np.testing.assert_array_equal(source.factors["subject"], np.arange(70) // 7)
    assert source.labels[:7].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert (source.views["gyroscope"][7:14, :, 2] == 2).all()
    for i in range(len(source)):
        batch.validate_record(source[i], source.spec, "watch")


def test_people_are_split(tmp_path):
    cache = write(tmp_path)
    tested = []
    for fold in range(watch.FOLDS):
        people = [
            set(watch.Source(split=s, cache=cache, fold=fold).factors["subject"])
            for s in watch.SPLITS
        ]
        assert [len(found) for found in people] == [7, 1, 2]
        assert len(set.union(*people)) == 10
        tested += people[2]
    assert sorted(tested) == list(range(10))


def test_unusable_files_and_options_are_named(tmp_path):
    with pytest.raises(errors.UserError, match="mvjax data fetch watch"):
        watch.Source(cache=str(tmp_path))
    cache = write(tmp_path)
    with pytest.raises(errors.UserError, match="fold must be 0..4, got 5"):
        watch.Source(cache=cache, fold=5)
    with pytest.raises(errors.UserError, match="window of 500"):
        watch.Source(cache=cache, window=500)
    with pytest.raises(errors.UserError, match="stride"):
        watch.Source(cache=cache, stride=0)
    write(tmp_path, X=os.system)
    with pytest.raises(errors.UserError, match="system'; refused"):
        watch.Source(cache=cache)
    np.save(tmp_path / "watch/watch_dataset.npy", {"X": 1}, allow_pickle=True)
    with pytest.raises(errors.UserError, match="no dict with X"):
        watch.Source(cache=cache)
    (tmp_path / "watch/watch_dataset.npy").write_bytes(b"hello, this is no array")
    with pytest.raises(errors.UserError, match="no .npy file"):
        watch.Source(cache=cache)
    (tmp_path / "watch/watch_dataset.npy").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(errors.UserError, match="it is a web page"):
        watch.Source(cache=cache)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(X=3), "X is no list"),
        (dict(X_labels=["ax", "ay"]), "X_labels must name ax, ay, az, wx"),
        (dict(y=np.arange(30) + 2**40), "y goes from 1099511627776"),
        (dict(y=np.arange(29)), "y must be 30 numbers"),
        (dict(y=np.arange(30) / 7), "y holds values that are no whole numbers"),
        (dict(subject=["a"] * 30), "subject must be 30 numbers"),
        (dict(subject=np.arange(30) % 11), "subject names 11 people, expected at most"),
        (dict(subject=np.ones(30)), "subject names 1 people, which leaves none for"),
        (dict(X=[np.zeros((130, 5))] * 30), "recording 0 is no array"),
        (dict(X=[np.full((130, 6), 1e300)] * 30), "recording 0 holds NaN or inf"),
    ],
)
def test_recordings_of_another_form_are_named(tmp_path, changes, words):
    cache = write(tmp_path, **changes)
    with pytest.raises(errors.UserError, match=f"watch_dataset.npy: {words}"):
        watch.Source(cache=cache)


@pytest.mark.realdata
@pytest.mark.skipif(
    not (CACHE / "watch").is_dir(), reason="needs `mvjax data fetch watch`"
)
def test_the_real_recordings_have_the_known_sizes():
    source = watch.Source(split="all", cache=str(CACHE))
    assert len(source) == 4677
    assert sorted(set(source.labels)) == list(range(7))
    for i in range(0, 4677, 500):
        batch.validate_record(source[i], source.spec, "watch")
