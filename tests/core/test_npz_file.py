"""Archives are read within what they declare and what may be, or refused by name."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from mvjax.core import memory
from mvjax.core import npz_file

SOUND = {
    "a/b": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(5, dtype=">i4"),
    "text": np.array(["a", "bcd", "ä"]),
    "flags": np.array([True, False]),
    "one": np.array(3.5),
    "empty": np.zeros((0, 7)),
    "large": np.arange(3_000_000),
}


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def header(shape, kind="<f4", content=b""):
    stream = io.BytesIO()
    fields = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, fields)
    return stream.getvalue() + content


def pack(path, *members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_native_and_in_order(tmp_path, save):
    save(tmp_path / "a.npz", **SOUND)
    found, problems = npz_file.read(tmp_path / "a.npz")
    assert not problems and list(found) == list(SOUND)
    for name, wanted in SOUND.items():
        np.testing.assert_array_equal(found[name], wanted)
        assert found[name].shape == wanted.shape
        assert found[name].dtype == wanted.dtype.newbyteorder("=")
        assert found[name].flags.c_contiguous
    some, problems = npz_file.read(tmp_path / "a.npz", only=("big", "none"))
    assert list(some) == ["big"] and not problems


def test_folders_of_an_archive_are_no_members(tmp_path):
    file = pack(
        tmp_path / "a.npz", ("present/", b""), ("present/x.npy", npy(np.ones(2)))
    )
    assert list(npz_file.read(file)[0]) == ["present/x"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header((10**12,), content=b"abc"), "4000000000000 bytes, but holds 3"),
        (npy(np.ones(3)) + b"xx", "24 bytes, but holds 26"),
        (npy(np.ones(3))[:-1], "24 bytes, but holds 23"),
        (header((-1, 4)), "impossible shape"),
        (header((True,), content=b"abcd"), "impossible shape"),
        (header((1,) * 40, content=b"abcd"), "impossible shape"),
        (header((2,), "|O", b"x" * 16), "objects"),
        (header((2,), [("a", "|O")], b"x" * 16), "objects"),
        (header((10**12,), "<U0"), "without a size"),
        (header((1,), "<U1", b"\xff\xff\xff\x7f"), "text that is none"),
        (header((2,), "|b1", b"\x02\x00"), "booleans that are none"),
        (b"\x93NUMPY\x01\x00\xff\x1f" + b"(" * 0x1FFF, "no .npy header"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 50_000, "no .npy header"),
        (b"\x93NUMPY\x09\x00", "no .npy header"),
        (b"hello", "no .npy header"),
        (b"", "no .npy header"),
    ],
)
def test_what_does_not_fit_its_declaration_is_named(tmp_path, content, words):
    file = pack(tmp_path / "a.npz", ("x.npy", content), ("y.npy", npy(np.ones(2))))
    found, problems = npz_file.read(file)
    assert list(found) == ["y"]
    assert len(problems) == 1 and "a.npz: array 'x'" in problems[0]
    assert words in problems[0] and "\n" not in problems[0]


def test_members_of_other_kinds_are_named(tmp_path):
    x = ("x.npy", npy(np.ones(2)))
    file = pack(tmp_path / "a.npz", x, ("readme.txt", b"hello"))
    assert "'readme.txt' is no .npy member" in npz_file.read(file)[1][0]
    with pytest.warns(UserWarning, match="Duplicate"):
        pack(file, x, x)
    assert "'x' is there twice" in npz_file.read(file)[1][0]
    pack(file, x, compression=zipfile.ZIP_LZMA)
    assert "'x' is compressed in a way (number 14" in npz_file.read(file)[1][0]
    data = bytearray(pack(file, x).read_bytes())
    data[6] |= 1  # The flag in front of the member, and that in the directory.
    data[data.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(data)
    assert "'x' is encrypted" in npz_file.read(file)[1][0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (npy(np.ones(3)), "a single NumPy array"),
        (b"\x80\x02}q\x00.", "a pickle"),
        (b"PK\x03\x04" + b"\xfe" * 100, "truncated one"),
        (b"hello", "no .npz file"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, content, words):
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    found, problems = npz_file.read(file)
    assert not found and len(problems) == 1
    assert "a.npz" in problems[0] and words in problems[0]


def test_other_archives_folders_and_nothing_are_named(tmp_path):
    file = pack(tmp_path / "a.npz", ("archive/data.pkl", b""), ("archive/data/0", b""))
    assert "it is a PyTorch file: give it the ending .pth" in npz_file.read(file)[1][0]
    pack(file, ("a.txt", b""))
    assert "only 'a.txt'" in npz_file.read(file)[1][0]
    pack(file)
    assert "only nothing" in npz_file.read(file)[1][0]
    assert "it is a folder" in npz_file.read(tmp_path)[1][0]
    assert "No such file" in npz_file.read(tmp_path / "none.npz")[1][0]


def test_nothing_is_unpacked_beyond_the_bound(tmp_path):
    file = tmp_path / "bomb.npz"
    arrays = {"a": np.zeros(20_000_000, np.uint8), "b": np.zeros(30_000_000, np.uint8)}
    np.savez_compressed(file, **arrays)
    assert file.stat().st_size < 100_000
    found, problems = npz_file.read(file, max_gib=0.04, hint="; the option raises that")
    # The bound is one for all of them together.
    assert list(found) == ["a"] and "array 'b' declares [30000000]" in problems[0]
    assert "may still be taken; the option raises that" in problems[0]
    tracemalloc.start()
    assert len(npz_file.read(file, max_gib=0.001)[1]) == 2
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_the_bound_is_half_of_what_is_free_unless_the_user_says_more():
    free = memory.available()
    assert 0 < free and abs(memory.bound() - free / 2) < 0.2 * free
    assert memory.bound(2) == 2 << 30
