"""Golden check of RERD's data: from the arrays of a pickle to what the model is fed."""

import pathlib
import pickle
import re
import tempfile

import numpy as np

from mvjax.data import batch
from mvjax.data.sources import mmsa
from tests import golden_data

SPLIT = "valid"


def check_dataset(case: golden_data.Case) -> None:
    """Writes the recorded inputs as a pickle, opens it and compares every output."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "recorded.pkl"
        file.write_bytes(pickle.dumps({SPLIT: case.inputs}))
        opened = mmsa.Source(split=SPLIT, file=str(file), tokens=True)
        averaged = mmsa.Source(split=SPLIT, file=str(file), tokens=True, average=True)
    assert len(opened) == case.config["n"]
    for name in case.inputs:
        if name.endswith("_lengths"):
            found = opened.lengths[name.removesuffix("_lengths")]
            np.testing.assert_array_equal(found, case.inputs[name])
    for length, name in zip(case.config["seq_len"], ("text", "audio", "vision")):
        assert opened.spec.views[name].shape[1 if name == "text" else 0] == length
    for index in range(len(opened)):
        batch.validate_record(opened[index], opened.spec, "recorded")
    assert case.outputs, "nothing was recorded"
    for name, expected in case.outputs.items():
        found = _find(name, case, opened, averaged)
        assert found.dtype in (np.float32, np.int32)
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=case.meta["tolerance"]["atol"], err_msg=name
        )


def _find(
    name: str, case: golden_data.Case, opened: mmsa.Source, averaged: mmsa.Source
) -> np.ndarray:
    """Returns ours of a recorded array: `item<i>_<what>`, `<view>_all`, ..."""
    item = re.fullmatch(r"item(\d+)_(\w+)", name)
    if item:
        record = opened[int(item[1])]
        if item[2] == "label":
            return record["targets"]["score"].reshape(case.config["label_item_shape"])
        return record["views"][item[2]]
    view, _, what = name.partition("_")
    if what == "need_norm":
        return averaged.views[view]
    assert what == "all", f"no rule for the recorded array {name!r}"
    return opened.views[view]
