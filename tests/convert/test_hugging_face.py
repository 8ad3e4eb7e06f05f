"""Folders of Hugging Face are read in each of their forms, and told when they are not."""

import json

import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import hugging_face
from mvjax.core import errors

TENSORS = {f"layer.{i}": np.full((2, i + 1), i, np.float32) for i in range(4)}
SHARDS = {"model.safetensors": "safetensors", "pytorch_model.bin": "bin"}


def write_shards(folder, name, *, count=2):
    """Writes `TENSORS` in several files and their index; returns the index."""
    places = {}
    for i in range(count):
        shard = f"{name.split('.')[0]}-{i + 1:05}-of-{count:05}.{SHARDS[name]}"
        part = {k: x for k, x in TENSORS.items() if int(k[-1]) % count == i}
        files.write(folder / shard, part)
        places |= dict.fromkeys(part, shard)
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def change(index, edit):
    content = json.loads(index.read_text())
    edit(content["weight_map"])
    index.write_text(json.dumps(content))


def assert_whole(folder):
    found = hugging_face.load(folder).tensors
    assert found.keys() == TENSORS.keys()
    for key, x in TENSORS.items():
        np.testing.assert_array_equal(found[key], x)


@pytest.mark.parametrize("name", SHARDS)
def test_one_file_or_several_give_the_same(tmp_path, name):
    files.write(tmp_path / name, TENSORS)
    assert_whole(tmp_path)
    (tmp_path / name).unlink()
    write_shards(tmp_path, name, count=3)
    assert_whole(tmp_path)
    assert hugging_face.is_folder(tmp_path)


def test_safetensors_come_first_and_a_single_file_is_read_as_it_is(tmp_path):
    files.write(tmp_path / "pytorch_model.bin", {"old": np.ones(1)})
    write_shards(tmp_path, "model.safetensors")
    assert_whole(tmp_path)
    files.write(tmp_path / "x.npz", {"w": np.ones(1)})
    assert list(hugging_face.load(tmp_path / "x.npz").tensors) == ["w"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update({"layer.0": "../x.bin"}), r"layer.0 the place '../x.bin'"),
        (lambda m: m.update({"layer.0": "/etc/x.bin"}), "no name of a file beside it"),
        (lambda m: m.update({"layer.0": ".."}), "no name of a file beside it"),
        (lambda m: m.update({"layer.0": "a\\x.bin"}), "no name of a file beside it"),
        (lambda m: m.update({"layer.0": 3}), "layer.0 the place 3"),
        (lambda m: m.update({"layer.0": "none.bin"}), "names none.bin, which is not"),
        (lambda m: m.update({"more": m["layer.0"]}), "00001-of-00002.bin lacks more"),
        (lambda m: m.pop("layer.0"), "00001-of-00002.bin has, unlike the .* layer.0"),
        (lambda m: m.update({"layer.0": m["layer.1"]}), "bin has, unlike|bin lacks"),
        (lambda m: m.clear(), "has no 'weight_map'"),
    ],
)
def test_an_index_that_lies_is_told_by_key(tmp_path, edit, message):
    change(write_shards(tmp_path, "pytorch_model.bin"), edit)
    with pytest.raises(errors.UserError, match=message) as caught:
        hugging_face.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "model.safetensors.index.json is no JSON file: "),
        ("[1]", "holds no JSON object"),
        ('{"weight_map": ["a"]}', "has no 'weight_map'"),
        ("<html>", "is no JSON file; it is a web page"),
        ("version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer"),
        ("", "is no JSON file; it is an empty file"),
        ("[" * 100_000, "is no JSON file"),
    ],
)
def test_an_index_that_is_none_is_told(tmp_path, text, message):
    write_shards(tmp_path, "model.safetensors").write_text(text)
    with pytest.raises(errors.UserError, match=message):
        hugging_face.load(tmp_path)


def test_a_cut_or_missing_shard_is_told_by_name(tmp_path):
    write_shards(tmp_path, "model.safetensors")
    shard = tmp_path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(errors.UserError, match="00002.safetensors is no complete"):
        hugging_face.load(tmp_path)
    shard.unlink()
    with pytest.raises(
        errors.UserError, match="names model-00002-of-00002.safetensors"
    ):
        hugging_face.load(tmp_path)


def test_a_folder_without_weights_names_what_it_lacks(tmp_path):
    message = "no model.safetensors and no model.safetensors.index.json and no pytorch_"
    with pytest.raises(errors.UserError, match=message):
        hugging_face.load(tmp_path)
    assert not hugging_face.is_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"method": {"name": "rerd"}}')
    assert not hugging_face.is_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    assert hugging_face.is_folder(tmp_path)


def test_the_config_lies_beside_the_weights_of_a_folder(tmp_path):
    for name in ("model.safetensors", "mine.safetensors"):
        files.write(tmp_path / name, TENSORS)
    beside = hugging_face.config_beside
    assert beside(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    assert beside(tmp_path) == beside(tmp_path / "model.safetensors")
    assert beside(tmp_path) == {"model_type": "clip"}
    assert beside(tmp_path / "mine.safetensors") is None
    (tmp_path / "config.json").write_text('{"method": {}}')  # Of a workdir.
    assert beside(tmp_path / "model.safetensors") is None


@pytest.mark.parametrize("text", ["{", "[]", "", "<html>", "\x80"])
def test_a_config_that_is_none_is_told(tmp_path, text):
    with pytest.raises(errors.UserError, match="Cannot read .*config.json: No such"):
        hugging_face.read_config(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        errors.UserError, match="config.json (is no JSON|holds no JSON)"
    ):
        hugging_face.read_config(tmp_path)
