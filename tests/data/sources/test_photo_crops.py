"""Crops of photographs: training and testing share no pixel."""

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch
from mvjax.data import fetch
from mvjax.data.sources import photo_crops


@pytest.fixture
def folder(tmp_path):
    """Files of the right names whose pixels say where they are."""
    y, x = np.mgrid[:40, :80].astype(np.uint8)
    for number, name in enumerate(photo_crops._SUMS):
        image = np.stack([y, x, np.full_like(y, number)], axis=-1)
        Image.fromarray(image).save(tmp_path / name, "PNG")
    return tmp_path


def test_splits_share_no_pixel(folder):
    options = dict(folder=str(folder), size=16, stride=8)
    train, test = (photo_crops.Source(split=s, **options) for s in ("train", "test"))
    # Rows 0, 8, 16, 24; columns 0..40 of 60 and 60..64 of 80.
    assert len(train) == 14 * 4 * 6 and len(test) == 14 * 4 * 1
    assert len(photo_crops.Source(split="all", **options)) == 14 * 28
    columns = [
        {int(c) for i in range(len(s)) for c in s[i]["views"]["image"][0, :, 1]}
        for s in (train, test)
    ]
    assert max(columns[0]) < 60 <= min(columns[1])
    for i in range(0, len(train), 37):
        record = train[i]
        batch.validate_record(record, train.spec, "here")
        assert (record["views"]["image"][..., 2] == record["label"]).all()
    found = train.gather([5, 300])
    np.testing.assert_array_equal(
        found["views"]["image"][1], train[300]["views"]["image"]
    )
    assert train.spec == photo_crops.spec(**options)
    assert train.fingerprint() != test.fingerprint()


def test_faults_are_named(folder):
    with pytest.raises(errors.UserError, match="no crops of 96.*options.size"):
        photo_crops.Source(folder=str(folder))
    (folder / "moon.png").unlink()
    with pytest.raises(
        errors.UserError, match="lacks moon.png.*data fetch photo_crops"
    ):
        photo_crops.Source(folder=str(folder))
    assert list(fetch.find("photo_crops")) == ["photographs"]


@pytest.mark.realdata
def test_the_real_photographs():
    if not (storage.default_cache({}) / "photographs").is_dir():
        pytest.skip("run `mvjax data fetch photo_crops`")
    source = photo_crops.Source()
    assert source[0]["views"]["image"].shape == (96, 96, 3)
    assert set(source.labels) == set(range(14))
