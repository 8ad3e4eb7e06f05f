"""Policies come from configs, and evaluation sees what they leave."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import pipeline
from mvjax.data import policies

SPEC = batch.Spec({"a": batch.ViewSpec((8, 8, 3), "uint8", 0, 255, varies=True)}, 2)


class Photos:
    """Images, no two of one size."""

    spec = SPEC

    def __len__(self):
        return 11

    def __getitem__(self, index):
        image = np.full((8 + index, 9 + index, 3), index, np.uint8)
        return {"views": {"a": image}, "label": np.int32(0), "index": np.int32(index)}

    def fingerprint(self):
        return "photos"


def make(**settings):
    return policies.make(settings, "config.data.train_policy")


def test_policies_are_found_by_name_and_their_settings_are_checked():
    assert make() is None and make(name=None) is None
    assert make(name="crop", size=9).size == 9
    with pytest.raises(errors.UserError, match="Unknown data.augment 'crob'.*crop"):
        make(name="crob")
    with pytest.raises(errors.UserError, match="config.data.train_policy.size is 0"):
        make(name="crop", size=0)
    with pytest.raises(errors.UserError, match="train_policy 'sice'.*size"):
        make(name="crop", sice=9)


def test_prepared_records_are_those_of_the_policy():
    source = policies.Prepared(Photos(), make(name="crop", size=6))
    assert source.spec.views["a"].shape == (6, 6, 3) and len(source) == 11
    assert batch.record_problems(source[4], source.spec, "here") == []
    other = policies.Prepared(Photos(), make(name="crop", size=5))
    assert len({source.fingerprint(), other.fingerprint(), "photos"}) == 3


def test_what_varies_cannot_be_stacked_without_a_policy():
    with pytest.raises(errors.UserError, match="View 'a' differs.*eval_policy"):
        policies.check_fixed(SPEC, "config.data.eval_policy")
    policies.check_fixed(make(name="crop").spec(SPEC), "config.data.eval_policy")


@pytest.mark.parametrize(
    "options",
    [dict(threads=3), pytest.param(dict(threads=1, workers=2), marks=pytest.mark.slow)],
)
def test_evaluation_is_read_ahead_in_order(options):
    source = policies.Prepared(Photos(), make(name="crop", size=6))
    wanted = list(pipeline.eval_batches(source, batch_size=4))
    found = list(pipeline.eval_batches(source, batch_size=4, **options))
    assert [b["index"].tolist() for b in found][-1] == [8, 9, 10, -1]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one["views"]["a"], other["views"]["a"])
        np.testing.assert_array_equal(one["mask"], other["mask"])


def test_training_draws_for_each_record_and_epoch():
    policy = make(name="crop", size=6, draws=2)
    options = dict(seed=1, batch_size=4, augment=policy)
    with pipeline.train_batches(Photos(), step=0, threads=2, **options) as batches:
        whole = [next(batches) for _ in range(6)]
    with pipeline.train_batches(Photos(), step=4, threads=0, **options) as batches:
        rest = [next(batches) for _ in range(2)]
    assert whole[0]["views"]["a"].shape == (4, 2, 6, 6, 3)
    for one, other in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(one["views"]["a"], other["views"]["a"])
