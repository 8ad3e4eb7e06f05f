"""What frozen components make of the records, kept beside them and on the disk."""

import dataclasses
import pathlib
import pickle

import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import method as method_lib
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.data import synthetic
from mvjax.train import constants
from mvjax.train import run as run_lib
from mvjax.train import seeds

ROOT = pathlib.Path(__file__).resolve().parents[2]

VIEW = batch_lib.ViewSpec((3,), "float32", -1.0, 1.0)
SOURCE = synthetic.Synthetic(batch_lib.Spec({"a": VIEW}, None), 10)


@dataclasses.dataclass(frozen=True)
class Method(method_lib.Method):
    power: int = 1
    dtype: str = "float32"
    trained: float = 0.0  # The constants do not hang on it.
    two: bool = False

    def constants(self, variables, batch, *, frozen):
        if "part" not in frozen:
            return {}
        scale = variables["params"]["part"]["scale"]
        found = (batch["views"]["a"] * scale**self.power).astype(self.dtype)
        return {"a": found, "a/second": found + 1} if self.two else {"a": found}


def attach(frozen=("part",), *, scale=2.0, source=SOURCE, cache=None, **fields):
    parts = {"part": {"scale": np.float32(scale)}, "rest": {"x": np.float32(np.nan)}}
    return constants.attach(
        Method(**fields),
        {"params": parts},
        source,
        frozen=frozen,
        batch_size=4,
        cache=cache,
    )


def values(source):
    return pipeline.gather(source, np.arange(len(source)))["constant"]["a"]


def files(cache):
    return sorted((cache / constants.FOLDER).glob("*.npy"))


def test_every_record_gets_its_own_constants_in_any_order():
    source = attach()
    assert len(source) == 10 and source.spec == SOURCE.spec
    for batch in (pipeline.gather(source, np.array([7, 0, 9])), source[3]):
        expected = 2 * batch["views"]["a"]
        np.testing.assert_array_equal(batch["constant"]["a"], expected)
    last = list(pipeline.eval_batches(source, batch_size=4))[-1]
    np.testing.assert_array_equal(last["constant"]["a"], 2 * last["views"]["a"])
    assert "constant" not in constants.detach(last)


def test_without_constants_the_source_stays_what_it_is(tmp_path):
    assert attach((), cache=tmp_path) is SOURCE
    assert not files(tmp_path)


def test_they_are_computed_once_for_all_runs(tmp_path, monkeypatch):
    first = values(attach(cache=tmp_path))
    assert len(files(tmp_path)) == 1

    def fail(*arguments, **keywords):
        raise AssertionError("computed again")

    monkeypatch.setattr(constants, "_compute", fail)
    # Neither a field that they do not hang on nor what is trained matters.
    np.testing.assert_array_equal(values(attach(cache=tmp_path, trained=3.0)), first)
    with pytest.raises(AssertionError, match="again"):
        attach(cache=None)


@pytest.mark.parametrize(
    "other",
    [
        dict(scale=3.0),
        dict(power=2),
        dict(source=synthetic.Synthetic(SOURCE.spec, 10, seed=1)),
        dict(source=synthetic.Synthetic(SOURCE.spec, 9)),
    ],
    ids=["weights", "computation", "records", "number of records"],
)
def test_other_weights_computations_or_records_get_their_own(tmp_path, other):
    attach(cache=tmp_path)
    found = values(attach(cache=tmp_path, **other))
    np.testing.assert_array_equal(found, values(attach(**other)))
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other"])
def test_a_file_that_cannot_be_used_is_made_again(tmp_path, damage):
    expected = values(attach(cache=tmp_path))
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        at = whole.index(expected.tobytes())
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        np.save(file, expected[:-1])
    np.testing.assert_array_equal(values(attach(cache=tmp_path)), expected)
    assert files(tmp_path) == [file] and file.read_bytes() == whole


def test_a_list_that_is_missing_or_of_others_is_made_again(tmp_path):
    expected = values(attach(cache=tmp_path))
    (listed,) = (tmp_path / constants.FOLDER).glob("*.json")
    for content in (None, b"", b"[]", b'{"b": 1}', b'{"a": "x"}'):
        listed.unlink() if content is None else listed.write_bytes(content)
        np.testing.assert_array_equal(values(attach(cache=tmp_path)), expected)
        assert b'"a"' in listed.read_bytes()


def test_several_arrays_are_kept_apart(tmp_path):
    for _ in range(2):  # Written, then read.
        held = attach(cache=tmp_path, two=True)[3]["constant"]
        np.testing.assert_array_equal(held["a/second"], held["a"] + 1)
    assert len(files(tmp_path)) == 2


def test_helpers_map_the_file_themselves(tmp_path):
    source = attach(cache=tmp_path)
    sent = pickle.dumps(source)
    content = np.asarray(source.gather(np.arange(10))["constant"]["a"])
    assert content.tobytes() not in sent
    np.testing.assert_array_equal(values(pickle.loads(sent)), content)
    kept = attach()  # In memory.
    np.testing.assert_array_equal(values(pickle.loads(pickle.dumps(kept))), content)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "bool", "float8_e4m3fn"])
def test_types_that_numpy_does_not_know_are_kept_as_well(tmp_path, dtype):
    kept = values(attach(dtype=dtype))
    assert kept.dtype == dtype
    for _ in range(2):
        source = attach(cache=tmp_path, dtype=dtype)
        for found in (source, pickle.loads(pickle.dumps(source))):
            assert values(found).dtype == dtype
            np.testing.assert_array_equal(values(found), kept)
    assert len(files(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / constants.FOLDER).write_text("a file")
    with pytest.warns(UserWarning, match="is not kept"):
        source = attach(cache=tmp_path)
    np.testing.assert_array_equal(values(source), values(attach()))


@pytest.mark.slow
def test_seeds_share_what_is_frozen_alike_and_nothing_else():
    def make(*overrides):
        spec = f"{ROOT}/configs/rerd/rerd.py:dataset=sentences,debug"
        return run_lib.Run(config_lib.load(spec, overrides))

    run, alone = make("seeds=2"), make()
    one, other = (run.fresh_variables(seed) for seed in (0, 1))
    run.keep_constants(seeds.stack([one, other]))
    assert run.training_source("train") is run.source("train")
    bert = {**other["params"], "bert": one["params"]["bert"]}
    run.keep_constants(seeds.stack([one, {**other, "params": bert}]))
    alone.keep_constants(one)
    found, expected = (r.training_source("train")[3]["constant"] for r in (run, alone))
    np.testing.assert_array_equal(found["text"], expected["text"])
