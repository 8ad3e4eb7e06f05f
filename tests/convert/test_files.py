"""State dicts come out of every kind of file the same, or not at all."""

import io
import json
import os

import ml_dtypes
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import torch_file
from mvjax.core import errors

RNG = np.random.default_rng(0)
SUFFIXES = [".pth", ".pt", ".bin", ".ckpt", ".PTH", ".safetensors", ".npz"]


def tensors():
    return {
        "file": RNG.normal(size=(2, 3)).astype(np.float32),
        "a.weight": RNG.normal(size=(4, 3)).T,
        "a.count": np.array(3, np.int64),
        "half": np.ones(2, np.float16),
        "empty": np.zeros((0, 2), np.float32),
        "flag": np.array([True, False]),
    }


def serve(monkeypatch, tmp_path, content):
    """Makes `files.read` find `content` in a `.pth` file."""
    monkeypatch.setattr(torch_file, "read", lambda path: content)
    path = tmp_path / "a.pth"
    path.touch()
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    files.write(path, tensors())
    files.write(path, saved := tensors())  # A second time, over the first.
    got = files.read(path)
    assert set(got) == set(saved)
    for name, array in saved.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].tobytes() == array.tobytes()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bfloat16_round_trip(tmp_path, suffix):
    saved = RNG.normal(size=(3, 2)).astype(ml_dtypes.bfloat16)
    files.write(tmp_path / f"a{suffix}", {"w": saved})
    got = files.read(tmp_path / f"a{suffix}")["w"]
    assert got.dtype == saved.dtype and got.tobytes() == saved.tobytes()


def test_npz_cannot_hold_bfloat16_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.npz"
    files.write(path, {"w": np.ones(2)})
    with pytest.raises(errors.UserError, match="'w', which is bfloat16"):
        files.write(path, {"w": np.ones(2, ml_dtypes.bfloat16)})
    assert files.read(path)["w"].tolist() == [1.0, 1.0]
    np.savez(path, w=np.ones(2, ml_dtypes.bfloat16))
    with pytest.raises(errors.UserError, match="no numbers in 'w'"):
        files.read(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_type_that_a_format_lacks_is_a_user_error(tmp_path, suffix):
    with pytest.raises(errors.UserError):
        files.write(tmp_path / f"a{suffix}", {"w": np.array(["text"])})
    assert os.listdir(tmp_path) == []


def test_safetensors_under_a_pytorch_suffix(tmp_path):
    files.write(tmp_path / "a.safetensors", {"w": np.ones(2)})
    os.rename(tmp_path / "a.safetensors", tmp_path / "a.bin")
    assert files.read(tmp_path / "a.bin")["w"].tolist() == [1.0, 1.0]


def test_pickled_arrays_in_npz_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([{}], object))
    with pytest.raises(errors.UserError, match=r"a\.npz"):
        files.read(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_broken_files_only_raise_user_errors(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    files.write(path, tensors())
    whole = path.read_bytes()
    for end in [*range(0, len(whole), 199), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(errors.UserError, match="a\\."):
            files.read(path)
    np.save(buffer := io.BytesIO(), np.ones(3))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(errors.UserError):
        files.read(path)


def test_missing_file_and_unknown_suffix(tmp_path):
    with pytest.raises(errors.UserError, match="no file .*none.pth"):
        files.read(tmp_path / "none.pth")
    for act in (files.read, lambda path: files.write(path, {})):
        with pytest.raises(errors.UserError, match=r"'\.pht'.*mean '\.pt'.*\.npz"):
            act(tmp_path / "a.pht")


@pytest.mark.parametrize(
    "name", ["state_dict", "model_state_dict", "model", "module", "net"]
)
def test_the_usual_name_of_the_weights_is_known(monkeypatch, tmp_path, name):
    w = np.ones(2)
    optimizer = {"state": {0: {"step": 1, "m": w}}, "param_groups": []}
    content = {name: {"w": w}, "epoch": 3, "optimizer": optimizer}
    found = files.load(serve(monkeypatch, tmp_path, content))
    assert found == ({"w": w}, ["epoch (int)", "optimizer (dict)"])


def test_tensors_that_are_no_weights_do_not_confuse(monkeypatch, tmp_path):
    w, one = np.ones(2), np.array(0.5)
    content = {
        "epoch": 3,
        "model_state_dict": {"w": w, "odd": []},
        "optimizer_state_dict": {"state": {0: {"m": w}}, "param_groups": [{"lr": 1}]},
        "loss": one,
        "losses": np.ones(9),
        "scheduler": {"best": one, "factor": 0.1},
        "rng": {"torch": np.zeros(99, np.uint8)},
    }
    found = files.load(serve(monkeypatch, tmp_path, content))
    assert found.tensors == {"w": w}
    assert found.unread == [
        "odd (list)",
        "epoch (int)",
        "optimizer_state_dict (dict)",
        "loss (tensor)",
        "losses (tensor)",
        "scheduler (dict)",
        "rng (dict)",
    ]


def test_bookkeeping_among_the_weights_is_left_unread(monkeypatch, tmp_path):
    w = np.ones(1)
    content = {"w": w, "epoch": 3, "metrics": {"loss": np.array(0.5)}, 7: w}
    found = files.load(serve(monkeypatch, tmp_path, content))
    assert found.tensors == {"w": w}
    assert found.unread == ["epoch (int)", "metrics (dict)"]


def test_prefixes_stay_for_the_tables_to_judge(monkeypatch, tmp_path):
    content = {"state_dict": {"module.a": np.ones(2), "module.b.module.c": np.ones(2)}}
    got = files.read(serve(monkeypatch, tmp_path, content))
    assert list(got) == ["module.a", "module.b.module.c"]


def test_choice_among_state_dicts_is_left_to_the_user(monkeypatch, tmp_path):
    content = {"model": {"w": np.ones(1)}, "ema": {"w": np.zeros(1)}}
    path = serve(monkeypatch, tmp_path, content)
    with pytest.raises(errors.UserError, match="under model, ema; .* --part=NAME"):
        files.read(path)
    assert files.load(path, part="ema") == ({"w": 0}, ["model (dict)"])
    with pytest.raises(errors.UserError, match="mean 'model'.*ema, model"):
        files.read(path, part="modle")


def test_unknown_names_of_weights_are_not_guessed(monkeypatch, tmp_path):
    path = serve(monkeypatch, tmp_path, {"backbone": {"w": np.ones(1)}})
    with pytest.raises(errors.UserError, match="under backbone; say which"):
        files.read(path)
    assert files.read(path, part="backbone")["w"] == 1


def test_a_part_may_lie_deeper_or_be_what_keys_begin_with(monkeypatch, tmp_path):
    inner = {"encoder.w": np.ones(1), "encoder.b": np.ones(2), "online.w": np.zeros(1)}
    path = serve(monkeypatch, tmp_path, {"model": {"state_dict": inner}, "epoch": 1})
    assert files.load(path) == (inner, ["epoch (int)"])
    assert files.read(path, part="model/state_dict") == inner
    found = files.load(path, part="encoder")
    assert list(found.tensors) == ["w", "b"]
    assert found.unread == ["online.w (tensor)", "epoch (int)"]
    with pytest.raises(errors.UserError, match="encoder, model/state_dict, online"):
        files.read(path, part="decoder")


def test_a_list_is_a_checkpoint_whose_names_are_numbers(monkeypatch, tmp_path):
    path = serve(monkeypatch, tmp_path, [{"w": np.ones(1)}, {"state": {}}])
    with pytest.raises(errors.UserError, match="under 0; say which with --part=NAME"):
        files.read(path)
    assert files.load(path, part="0") == ({"w": 1}, ["1 (dict)"])


@pytest.mark.parametrize(
    "content, match",
    [
        ({"epoch": 3, "lr": 0.1}, r"no state dict, only: epoch \(int\), lr \(float\)"),
        ({"metrics": {"loss": np.array(1.0)}}, r"only: metrics \(dict\)"),
        ({}, "holds no state dict, only: nothing"),
        ([1, {}], r"only: 0 \(int\), 1 \(dict\)"),
        (np.ones(1), "holds no state dict but one ndarray"),
        ({0: np.ones(2), 1: np.ones(2)}, r"only: 0 \(tensor\), 1 \(tensor\)"),
        ({"a\nb": 3}, r"only: 'a\\nb \(int\)'"),
        ({"a" * 1000: 3}, r"only: a{200}\.\.\.\."),
    ],
)
def test_what_is_no_state_dict_is_refused(monkeypatch, tmp_path, content, match):
    with pytest.raises(errors.UserError, match=match) as caught:
        files.read(serve(monkeypatch, tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.pth").mkdir()
    with pytest.raises(errors.UserError, match="a.pth is a folder, not a file"):
        files.read(tmp_path / "a.pth")
    with pytest.raises(errors.UserError, match="Cannot read .*: File name too long"):
        files.read(tmp_path / f"{'a' * 300}.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.npz", "a.safetensors"])
def test_a_pipe_is_refused_unopened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(errors.UserError, match=f"{name} is no file but a pipe"):
        files.read(tmp_path / name)


def test_an_archive_of_numpy_under_another_name_is_told(tmp_path):
    files.write(tmp_path / "a.npz", {"w": np.ones(2)})
    os.rename(tmp_path / "a.npz", tmp_path / "a.pth")
    with pytest.raises(errors.UserError, match="Is it an .npz file"):
        files.read(tmp_path / "a.pth")
    files.write(tmp_path / "b.pth", {"w": np.ones(2)})
    os.rename(tmp_path / "b.pth", tmp_path / "b.safetensors")
    with pytest.raises(errors.UserError, match="; it is a zip archive, as .npz and Py"):
        files.read(tmp_path / "b.safetensors")


def test_numbers_that_numpy_lacks_are_named(tmp_path):
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    header = json.dumps({"w": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(errors.UserError, match="a.safetensors holds float8.* numbers"):
        files.read(path)
