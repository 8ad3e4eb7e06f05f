"""State dicts come out of every kind of file the same, or not at all."""

import io
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


@pytest.mark.parametrize("name", ["state_dict", "model", "module", "net"])
def test_wrapper_is_taken_off(monkeypatch, tmp_path, name):
    w = np.ones(2)
    optimizer = {"state": {0: {"step": 1, "m": w}}, "param_groups": []}
    content = {name: {"w": w}, "epoch": 3, "optimizer": optimizer}
    assert files.read(serve(monkeypatch, tmp_path, content)) == {"w": w}


def test_prefix_is_taken_off_only_from_all_keys(monkeypatch, tmp_path):
    w = np.ones(2)
    content = {"state_dict": {"module.a": w, "module.b.module.c": w}}
    got = files.read(serve(monkeypatch, tmp_path, content))
    assert list(got) == ["a", "b.module.c"]
    content = {"module.a": w, "b": w}
    assert files.read(serve(monkeypatch, tmp_path, content)) == content


def test_choice_among_state_dicts_is_left_to_the_user(monkeypatch, tmp_path):
    content = {"model": {"w": np.ones(1)}, "ema": {"w": np.zeros(1)}}
    path = serve(monkeypatch, tmp_path, content)
    with pytest.raises(errors.UserError, match="under model, ema; .* wrapper=NAME"):
        files.read(path)
    assert files.read(path, wrapper="ema")["w"] == 0
    with pytest.raises(errors.UserError, match="mean 'model'.*ema, model"):
        files.read(path, wrapper="modle")


def test_unknown_wrapper_is_not_guessed(monkeypatch, tmp_path):
    path = serve(monkeypatch, tmp_path, {"backbone": {"w": np.ones(1)}})
    with pytest.raises(errors.UserError, match="under backbone; say which"):
        files.read(path)
    assert files.read(path, wrapper="backbone")["w"] == 1


@pytest.mark.parametrize(
    "content, match",
    [
        ({"w": np.ones(1), "epoch": 3}, "1 entries that are no arrays.*: epoch"),
        ({"state_dict": {"w": np.ones(1), "_extra": {}}}, "no arrays.*: _extra"),
        ({"w": np.ones(1), "model": {"w": np.ones(1)}}, "model.*wrapper=NAME"),
        ({"epoch": 3, "lr": 0.1}, "holds no state dict, only: epoch, lr"),
        ({0: np.ones(1)}, "holds no state dict, only: 0"),
        ({}, "holds no state dict"),
        ([np.ones(1)], "holds no state dict but one list"),
        (np.ones(1), "holds no state dict but one ndarray"),
    ],
)
def test_what_is_no_state_dict_is_refused(monkeypatch, tmp_path, content, match):
    with pytest.raises(errors.UserError, match=match):
        files.read(serve(monkeypatch, tmp_path, content))
