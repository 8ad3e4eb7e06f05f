"""Names of splits: usual ones are understood, unknown ones refused, none is lost."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import splits
from mvjax.data.sources import npz


def test_usual_names_stand_for_ours():
    names = ["TRAIN", "dev", "Testing"]
    assert splits.find(names, "file") == dict(zip(names, splits.NAMES, strict=True))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "holdout"], "file: the split 'holdout' is unknown. Rename it"),
        (
            ["train", "dev", "valid"],
            "'dev' and 'valid' both stand for the split 'valid'",
        ),
    ],
)
def test_unknown_and_doubled_names_are_refused(names, message):
    with pytest.raises(errors.UserError, match=message):
        splits.find(names, "file")


def test_a_file_of_ones_own_may_say_dev(tmp_path, caplog):
    file = str(tmp_path / "x.npz")
    views = np.zeros((6, 4), np.float32)
    np.savez(file, a=views, split=["train"] * 3 + ["dev"] * 2 + ["test"])
    assert npz.find_splits(file=file) == ("train", "valid", "test")
    sizes = {s: len(npz.Source(file=file, split=s)) for s in splits.NAMES}
    assert sizes == {"train": 3, "valid": 2, "test": 1}
    assert "'dev' is read as 'valid'" in caplog.text
