"""Damaged records end a run or are left out, with a count."""

import types
import warnings

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import damaged
from mvjax.data import pipeline
from mvjax.train import feed

SIZE, BROKEN = 6, (2, 3)


@pytest.fixture
def folder(tmp_path):
    """Images `0.png` to `5.png` of one grey each; two of them are cut short."""
    for i in range(SIZE):
        file = tmp_path / "images" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 40, (16, 16, 3))
        Image.fromarray(np.uint8(40 * i + noise // 40)).save(file)
        if i in BROKEN:
            file.write_bytes(file.read_bytes()[:-40])
    return tmp_path / "images"


def open_folder(folder):
    data = dict(name="flat_folder", options=dict(folder=str(folder)))
    return pipeline.make_source(data, "train")


def test_the_next_readable_record_stands_in_and_each_is_told_once(folder):
    source = open_folder(folder)
    assert damaged.treat(source, "stop") is source
    treated = damaged.treat(source, "skip")
    assert (len(treated), treated.spec) == (SIZE, source.spec)
    assert treated.fingerprint() == source.fingerprint()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = [int(treated[i]["index"]) for i in range(SIZE)]
        assert found == [0, 1, 4, 4, 4, 5]
        assert int(treated[2]["index"]) == 4
    texts = [str(w.message) for w in told]
    assert len(texts) == 2
    for number, (text, broken) in enumerate(zip(texts, BROKEN), 1):
        assert f"{broken}.png" in text
        assert f"record {broken}, {number} so far" in text


def test_nothing_but_damaged_records_is_an_error(folder):
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:30])
    treated = damaged.treat(open_folder(folder), "skip")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(errors.UserError, match="the last of 6 records in a row"),
    ):
        treated[0]


def test_sources_in_memory_are_left_as_they_are():
    class Held:
        gather = None

    held = Held()
    assert damaged.treat(held, "skip") is held


@pytest.mark.parametrize("choice", ["skip", "stop"])
def test_the_stream_of_training_obeys_the_config(folder, choice):
    data = dict(shuffle=False, last_batch="carry", damaged=choice)
    run = types.SimpleNamespace(
        train_records=open_folder(folder),
        batch_size=SIZE,
        inputs=types.SimpleNamespace(train_policy=None, beside={}),
        config=types.SimpleNamespace(data=types.SimpleNamespace(**data)),
    )
    found = feed.streams(run, 0, 0, share=(0, 1), threads=1, workers=0)
    with warnings.catch_warnings(action="ignore"), found[feed.MAIN] as batches:
        if choice == "skip":
            np.testing.assert_array_equal(next(batches)["index"], [0, 1, 4, 4, 4, 5])
        else:
            with pytest.raises(errors.UserError, match=r"2\.png"):
                next(batches)
