"""Shifts move views and masks together and lose nothing but the margin."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data.augment import pad_crop

VIEW = batch.ViewSpec((9, 7, 2), "float32", 0, 200)
SPEC = batch.Spec(
    {"a": VIEW, "b": VIEW}, None, targets={"mask": batch.TargetSpec((9, 7), "int32")}
)


def record():
    a = np.arange(1, 127, dtype=np.float32).reshape(9, 7, 2)
    views = {"a": a, "b": a + 10}
    targets = {"mask": a[..., 0].astype(np.int32)}
    return {"views": views, "label": 0, "index": 0, "targets": targets}


def test_windows_are_shifts_that_all_parts_share():
    policy = pad_crop.Policy(padding=2, mask_margin=-1)
    seen = set()
    for seed in range(60):
        found = policy(record(), np.random.default_rng(seed))
        a, b, mask = *found["views"].values(), found["targets"]["mask"]
        there = a[..., 0] > 0
        np.testing.assert_array_equal(b[there] - a[there], 10)
        np.testing.assert_array_equal(mask, np.where(there, a[..., 0], -1))
        rows, columns = np.nonzero(there)
        down = 2 - rows.min() if rows.min() else 2 + 8 - rows.max()
        seen.add((int(down), int(np.ptp(columns))))
    assert {down for down, _ in seen} == {0, 1, 2, 3, 4}
    assert {width for _, width in seen} == {4, 5, 6}


def test_evaluation_changes_nothing():
    found = pad_crop.Policy()(record(), None)
    np.testing.assert_array_equal(found["views"]["a"], record()["views"]["a"])
    np.testing.assert_array_equal(found["targets"]["mask"], record()["targets"]["mask"])


def test_draws_are_an_axis_and_margins_reflect():
    policy = pad_crop.Policy(padding=3, margin="reflect", draws=4, flip=0.0)
    promised = policy.spec(SPEC)
    assert promised.views["a"].shape == (4, 9, 7, 2)
    found = policy(record(), np.random.default_rng(0))
    assert found["views"]["a"].shape == (4, 9, 7, 2)
    assert found["targets"]["mask"].shape == (4, 9, 7)
    assert found["views"]["a"].min() >= 1  # No zeros.
    assert not np.array_equal(found["views"]["a"][0], found["views"]["a"][1])


def test_images_of_several_sizes_are_refused():
    views = SPEC.views | {"b": VIEW._replace(shape=(5, 5, 2))}
    with pytest.raises(errors.UserError, match=r"\(5, 5\), \(9, 7\)"):
        pad_crop.Policy().spec(SPEC._replace(views=views))
    with pytest.raises(errors.UserError, match="cannot reflect 7 pixels"):
        pad_crop.Policy(padding=7, margin="reflect").spec(SPEC)
    loose = SPEC._replace(views={"a": VIEW._replace(varies=True)})
    with pytest.raises(errors.UserError, match="and vary"):
        pad_crop.Policy().spec(loose)
