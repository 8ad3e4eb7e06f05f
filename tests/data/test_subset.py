"""Subsets are of each class alike, the same for the same seed, and of training alone."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import schema
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import pipeline
from mvjax.data import subset

LABELS = np.repeat([0, 1, 2, -1], [100, 40, 10, 30])


def test_each_class_keeps_its_share():
    chosen = subset.choose(LABELS, schema.Subset(share=0.3))
    counts = np.unique(LABELS[chosen], return_counts=True)[1]
    np.testing.assert_array_equal(counts, [9, 30, 12, 3])
    assert (np.diff(chosen) > 0).all()
    few = subset.choose(LABELS, schema.Subset(share=0.01))
    np.testing.assert_array_equal(np.unique(LABELS[few]), [0, 1, 2])
    other = subset.choose(LABELS, schema.Subset(share=0.3, seed=1))
    assert not np.array_equal(chosen, other)
    twice = subset.choose(LABELS, schema.Subset(share=1.0, replace=True))
    assert len(twice) == len(LABELS) > len(np.unique(twice))


def test_a_share_of_all_may_be_drawn_whatever_the_classes():
    spec = batch.Spec({"a": batch.ViewSpec((1,), "float32", 0, 200)}, 3)
    source = arrays.ArraySource(spec, {"a": np.zeros((180, 1), np.float32)}, LABELS)
    settings = dict(share=0.1, replace=True, stratified=False)
    part = subset.make(source, settings)
    assert len(part) == 18 and len(subset.make(source, dict(share=0.1))) == 18
    counts = np.unique(LABELS[part.chosen], return_counts=True)[1]
    assert tuple(counts) != (3, 10, 4, 1)  # Those of a stratified one.
    again = subset.make(source, settings)
    np.testing.assert_array_equal(part.chosen, again.chosen)
    # What is left of a record is cut: 29.7.
    assert len(subset.make(source, settings | dict(share=0.165))) == 29


def test_records_are_numbered_anew_with_and_without_gather():
    spec = batch.Spec({"a": batch.ViewSpec((1,), "float32", 0, 200)}, 3)
    x = np.arange(180, dtype=np.float32)[:, None]
    source = arrays.ArraySource(spec, {"a": x}, LABELS)
    part = subset.make(source, dict(share=0.1))
    found = pipeline.gather(part, np.array([3, 0]))
    np.testing.assert_array_equal(found["views"]["a"][:, 0], part.chosen[[3, 0]])
    np.testing.assert_array_equal(found["index"], [3, 0])
    np.testing.assert_array_equal(part[3]["views"]["a"], part.chosen[[3]])
    assert part[3]["index"] == 3 and part.fingerprint() != source.fingerprint()
    assert subset.make(source, {}) is source
    del found


def test_the_training_split_alone_is_cut():
    config = {"name": "digits", "synthetic": True, "subset": {"share": 0.25}}
    assert len(pipeline.make_source(config, "train")) == 130  # Of 51 or 52 each, 13.
    assert len(pipeline.make_source(config, "test")) == 512
    part = pipeline.make_source(config, "train")
    assert not hasattr(part, "gather") and part[5]["index"] == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(share=0.0), "config.data.subset.share is 0.0; it must be above 0"),
        (dict(share=1.5), "config.data.subset.share is 1.5"),
        (dict(part=0.5), "config.data.subset 'part'.*share"),
        (dict(seed=-1), "config.data.subset.seed is -1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    source = arrays.ArraySource(
        batch.Spec({"a": batch.ViewSpec((1,), "float32", 0, 1)}, None),
        {"a": np.zeros((5, 1), np.float32)},
    )
    with pytest.raises(errors.UserError, match=message):
        subset.make(source, settings)
