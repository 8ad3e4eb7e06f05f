"""Where a run may start from: workdirs, folders and files, told apart by content."""

import json

import jax
import ml_collections
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.train import checkpoint
from mvjax.train import warm_start
from tests.train import test_loop


@pytest.fixture(scope="module")
def run():
    return test_loop.make_run()


@pytest.fixture(scope="module")
def fresh(run):
    return run.fresh_variables()


@pytest.fixture(scope="module")
def weights(run, fresh):
    """A state dict of other weights than the fresh ones."""
    table = run.method.torch_tables()["toy"]
    tensors = torch_map.to_torch(table, fresh)
    return {
        key: x + np.float32(1) if x.dtype == np.float32 else x + 3
        for key, x in tensors.items()
    }


def start(run, fresh, source, **entry):
    entry = ml_collections.ConfigDict(dict(source=str(source), **entry))
    return warm_start.apply({"a": entry}, run.method, fresh)


def assert_moved(fresh, found):
    old, new = (x["params"]["left"]["kernel"] for x in (fresh, found))
    np.testing.assert_array_equal(new, np.asarray(old) + np.float32(1))


def test_a_workdir_gives_its_components(tmp_path, run, fresh, monkeypatch):
    state = test_loop.train(tmp_path, "epochs=1", "evals.knn.every_epochs=0")
    found = start(run, fresh, tmp_path, take=dict(left="left"), table="toy")
    test_loop.assert_same_bits(found["params"]["left"], state.params["left"])
    with monkeypatch.context() as patch:
        nan = jax.tree.map(lambda x: x * np.nan, jax.device_get(state.params))
        patch.setattr(
            checkpoint.Checkpoints, "variables", lambda *_, **__: ({"params": nan}, 1)
        )
        with pytest.raises(errors.UserError, match="start.a: params/left/.* has NaN"):
            start(run, fresh, tmp_path, take=dict(left="left"))
    with pytest.raises(errors.UserError, match="start.a: .* is a workdir, so `take`"):
        start(run, fresh, tmp_path, table="toy")
    with pytest.raises(errors.UserError, match="start.a: .*'lift'.*mean 'left'"):
        start(run, fresh, tmp_path, take=dict(left="lift"))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_hugging_face_gives_its_weights(
    tmp_path, run, fresh, weights, name
):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "toy"}))
    with pytest.raises(errors.UserError, match="start.a: .* has no model.safetensors"):
        start(run, fresh, tmp_path)
    files.write(tmp_path / name, {f"model.{key}": x for key, x in weights.items()})
    assert_moved(fresh, start(run, fresh, tmp_path))
    assert_moved(fresh, start(run, fresh, tmp_path / name))


def test_a_file_gives_one_of_its_parts(tmp_path, run, fresh, weights):
    both = {f"teacher.{k}": x * 0 for k, x in weights.items()}
    both |= {f"student.{k}": x for k, x in weights.items()}
    files.write(tmp_path / "a.pth", both)
    with pytest.raises(errors.UserError, match="start.a: .* is no 'left' file here"):
        start(run, fresh, tmp_path / "a.pth")
    assert_moved(fresh, start(run, fresh, tmp_path / "a.pth", part="student"))


def test_the_config_beside_weights_is_asked(tmp_path, run, fresh, weights, monkeypatch):
    def check(self, table, config):
        raise errors.UserError(f"{table} of {config['model_type']}")

    monkeypatch.setattr(type(run.method), "check_published", check)
    files.write(tmp_path / "model.safetensors", weights)
    assert_moved(fresh, start(run, fresh, tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "other"}))
    for source in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(errors.UserError, match="config.json: toy of other"):
            start(run, fresh, source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is neither a workdir of mvjax .* nor a folder of Hugging Face"),
        ({"notes.txt": "a"}, "is neither a workdir of mvjax"),
        ({"config.json": '{"method": {}}'}, "holds no checkpoints yet"),
        ({"config.json": "{"}, "holds no checkpoints yet"),
    ],
)
def test_a_folder_of_nobody_is_told(tmp_path, run, fresh, content, message):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(errors.UserError, match=rf"config.warm_start.a: .*{message}"):
        start(run, fresh, tmp_path, take=dict(left="left"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (dict(source="x", tabel="toy"), "key of config.warm_start.a 'tabel'. Did you"),
        (dict(table="toy"), "config.warm_start.a.source is .*; it must not be empty"),
        (dict(source=""), "config.warm_start.a.source is .*; it must not be empty"),
        ("runs/c", "config.warm_start.a is 'runs/c'; it must hold settings of its own"),
        (dict(source="previous"), "is the stage before"),
        (dict(source="none.pth"), "config.warm_start.a: There is no file none.pth"),
        (
            dict(source="a" * 300 + ".pth"),
            "start.a: .*the path, or a name in it, is too long",
        ),
        (
            dict(source="none.pth", table="tot"),
            "Unknown table 'tot'. Did you mean 'toy'",
        ),
    ],
)
def test_entries_that_say_nothing_useful_are_refused(run, fresh, entry, message):
    with pytest.raises(errors.UserError, match=message):
        warm_start.apply({"a": entry}, run.method, fresh)
