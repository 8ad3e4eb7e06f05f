"""The bundled digits."""

import pickle

import numpy as np
import pytest
from sklearn import datasets

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data.sources import digits


def test_splits_are_disjoint_complete_and_stratified():
    train, test, both = (digits.Source(split=s) for s in ("train", "test", "all"))
    assert (len(train), len(test), len(both)) == (1438, 359, 1797)
    bytes_of = [{x.tobytes() for x in s.views["image"]} for s in (train, test, both)]
    assert bytes_of[0] | bytes_of[1] == bytes_of[2]
    share = np.bincount(train.labels) / np.bincount(both.labels)
    assert np.abs(share - 0.8).max() < 0.005
    assert digits.Source().fingerprint() == train.fingerprint()
    assert train.fingerprint() != test.fingerprint()


def test_pixels_of_ink_are_of_the_digits_class():
    source = digits.Source(mask=True, limit=40)
    ink = source.views["image"][..., 0]
    for i in range(40):
        record = source[i]
        batch.validate_record(record, source.spec, "digits")
        mask = record["targets"]["mask"]
        assert set(np.unique(mask)) == {0, 1 + record["label"], 255}
        assert ink[i][mask == 0].max() < ink[i][mask == 255].min()
        assert ink[i][mask == 255].max() < ink[i][mask == 1 + record["label"]].min()


def test_records_fit_the_spec():
    source = digits.Source(size=24, limit=50)
    assert source.spec == digits.spec(size=24)
    assert len(source) == 50
    for i in range(50):
        batch.validate_record(source[i], source.spec, "digits")
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint()


def test_grey_levels_span_the_bytes():
    raw = datasets.load_digits().images
    image = digits.Source(split="all", size=8).views["image"][..., 0]
    assert np.abs(image / 255 - raw / 16).max() <= 0.5 / 255
    assert image.max() == 255


def test_unknown_splits_are_refused():
    with pytest.raises(errors.UserError, match="all, test, train"):
        digits.Source(split="validation")
