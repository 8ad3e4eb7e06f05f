"""Made-up records look like the real ones and can be learned from."""

import numpy as np
import pytest

from mvjax.data import batch
from mvjax.data import pipeline
from mvjax.data import synthetic

SPEC = batch.Spec(
    {
        "image": batch.ViewSpec((9, 8, 3), "uint8", 0, 255),
        "series": batch.ViewSpec((20, 6), "float32", -2, 3),
        "vector": batch.ViewSpec((5,), "float32", 0, 1),
        "words": batch.ViewSpec((12,), "int32", 3, 90),
        "scalar": batch.ViewSpec((), "float32", 0, 1),
    },
    4,
)


def test_every_record_fits_the_spec():
    source = synthetic.Synthetic(SPEC, 30, seed=1)
    for index in range(len(source)):
        batch.validate_record(source[index], SPEC, "synthetic")
        assert source[index]["index"] == index


def test_the_same_position_gives_the_same_record():
    one, two = (synthetic.Synthetic(SPEC, 30, seed=1) for _ in range(2))
    other = synthetic.Synthetic(SPEC, 30, seed=2)
    shifted = synthetic.Synthetic(SPEC, 10, seed=1, offset=5)
    for name in SPEC.views:
        record = one[7]["views"][name]
        np.testing.assert_array_equal(record, two[7]["views"][name])
        np.testing.assert_array_equal(record, shifted[2]["views"][name])
    assert (one[7]["views"]["image"] != other[7]["views"]["image"]).any()
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()


def test_a_record_is_nearest_to_its_own_class():
    source = synthetic.Synthetic(SPEC, 80, seed=0)
    label = np.array([source[i]["label"] for i in range(80)])
    for name in ("image", "series", "vector"):
        x = np.stack([source[i]["views"][name].ravel() for i in range(80)])
        x = x.astype(np.float32)
        means = np.stack([x[:40][label[:40] == k].mean(0) for k in range(4)])
        distance = ((x[40:, None] - means) ** 2).sum(-1)
        assert (distance.argmin(1) == label[40:]).mean() > 0.9


def test_unlabelled_data_stays_unlabelled():
    source = synthetic.Synthetic(SPEC._replace(classes=None), 3)
    assert source[0]["label"] == -1
    with pytest.raises(IndexError):
        source[3]


def test_fingerprints_are_those_that_older_runs_have_written():
    for name, wanted in (("digits", "452d408528e2839e"), ("mmsa", "676e1529b4c230e1")):
        config = dict(name=name, synthetic=True, limit=8)
        assert pipeline.make_source(config, "train").fingerprint() == wanted
    view = batch.ViewSpec((8, 8, 3), "uint8", 0, 255)
    specs = [
        batch.Spec({"a": view}, 2),
        batch.Spec({"a": view._replace(varies=True)}, 2),
        batch.Spec({"a": view}, 2, targets={"tags": batch.TargetSpec((3,))}),
    ]
    found = {synthetic.Synthetic(spec, 8).fingerprint() for spec in specs}
    assert len(found) == 3
