"""`.npz` files are compared with what they declare before anything is allocated."""

import io
import pathlib
import re
import zipfile

import numpy as np
import pytest

from mvjax.core import npz_file


def member(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def declare(shape: tuple[int, ...], dtype: str = "<f4", body: bytes = b"") -> bytes:
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + body


def archive(path: pathlib.Path, *members: tuple[str, bytes], packing=0):
    with zipfile.ZipFile(path, "w", packing) as stream:
        for name, content in members:
            stream.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(tmp_path, save):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=(3, 4)),
        "b/c": rng.integers(0, 9, (2, 3, 4)).astype(">i4"),
        "fortran": np.asfortranarray(rng.normal(size=(5, 3))),
        "text": np.array(["one", "three"]),
        "scalar": np.float32(3),
        "empty": np.zeros((0, 3)),
    }
    save(tmp_path / "x.npz", **arrays)
    found, problems = npz_file.read(tmp_path / "x.npz")
    assert not problems and list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype.isnative and found[name].flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", declare((10**15,)), "declares .* bytes, but holds 0"),
        ("a.npy", declare((4,), body=bytes(8)), "16 bytes, but holds 8"),
        ("a.npy", declare((1,), body=bytes(4096)), "4 bytes, but holds 4096"),
        ("a.npy", declare((-1,)), "an impossible shape"),
        ("a.npy", b"\x93NUMPY\x09\x00", "no .npy header"),
        ("a.npy", b"", "no .npy header"),
        ("a.npy", declare((2,), "|O", bytes(16)), "holds objects"),
        ("a.npy", declare((2,), "|b1", b"\x01\x07"), "booleans that are none"),
        ("a.txt", b"text", "is no .npy member"),
    ],
)
def test_a_member_that_is_not_what_it_declares_is_named(
    tmp_path, name, content, message
):
    good = ("good.npy", member(np.arange(3)))
    path = archive(tmp_path / "x.npz", good, (name, content))
    found, problems = npz_file.read(path)
    assert list(found) == ["good"]
    assert len(problems) == 1 and str(path) in problems[0]
    assert re.search(message, problems[0]), problems[0]


def test_what_unpacks_to_more_than_is_allowed_is_refused(tmp_path):
    zeros = member(np.zeros((1 << 20,), np.float32))
    path = archive(tmp_path / "x.npz", ("a.npy", zeros), packing=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    found, problems = npz_file.read(path, max_gib=0.001, option="config.x.max_gib")
    assert not found and "config.x.max_gib raises that" in problems[0]
    assert npz_file.read(path, max_gib=0.01)[1] == []


def test_arrays_count_together(tmp_path):
    one = member(np.zeros(1 << 17))  # 1 MiB
    path = archive(tmp_path / "x.npz", ("a.npy", one), ("b.npy", one))
    found, problems = npz_file.read(path, max_gib=1.5 / 1024)
    assert list(found) == ["a"] and "array 'b'" in problems[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "empty file"),
        (b"\x93NUMPY\x01\x00", "single NumPy array"),
        (b"PK\x03\x04 cut off", "truncated"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, content, words):
    (tmp_path / "x.npz").write_bytes(content)
    found, problems = npz_file.read(tmp_path / "x.npz")
    assert not found and len(problems) == 1 and words in problems[0]


def test_other_archives_folders_and_missing_files_are_told(tmp_path):
    torch = archive(tmp_path / "t.npz", ("archive/data.pkl", b"."))
    assert "give it the ending .pth" in npz_file.read(torch)[1][0]
    assert "a folder" in npz_file.read(tmp_path)[1][0]
    assert "No such file" in npz_file.read(tmp_path / "none.npz")[1][0]


def test_two_members_of_one_name_are_told(tmp_path):
    one = member(np.arange(3))
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(tmp_path / "x.npz", ("a.npy", one), ("a.npy", one))
    assert "is there twice" in npz_file.read(path)[1][0]
