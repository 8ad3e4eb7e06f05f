"""IDX files are read whole or refused by name."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import idx


def idx_bytes(array):
    code = {"uint8": 8, "int16": 11, "int32": 12, "float32": 13}[str(array.dtype)]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_round_trip(tmp_path, dtype, suffix):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data = idx_bytes(array)
    path = tmp_path / f"some-ubyte{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    found = idx.read(path, ndim=3)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert idx.find(tmp_path, "some-ubyte") == path
    assert idx.find(tmp_path, "other") is None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_wrong_sizes_are_named(tmp_path, suffix):
    data = idx_bytes(np.zeros((10, 3), np.uint8))
    pack = gzip.compress if suffix else bytes
    path = tmp_path / f"x{suffix}"
    for content, state, found in (
        (data[:-4], "truncated", 38),
        (data + b"1", "long", 43),
    ):
        path.write_bytes(pack(content))
        with pytest.raises(errors.UserError, match=f"{state}.* 42 .*{found}") as caught:
            idx.read(path)
        assert str(path) in str(caught.value)


def test_gzip_files_of_several_members_are_read(tmp_path):
    array = np.arange(5000).reshape(50, 100).astype(np.int32)
    data = idx_bytes(array)
    path = tmp_path / "x.gz"
    parts = (data[:3], data[3:10], data[10:7000], b"", data[7000:])
    path.write_bytes(b"".join(map(gzip.compress, parts)))
    np.testing.assert_array_equal(idx.read(path), array)
    path.write_bytes(path.read_bytes() + gzip.compress(b"more"))
    with pytest.raises(errors.UserError, match="too long: expected 20012.*20013 or"):
        idx.read(path)


def test_nothing_is_unpacked_beyond_the_header_and_the_bound(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(10, np.uint8)) + bytes(10**8)))
    tracemalloc.start()
    with pytest.raises(errors.UserError, match="too long: expected 18"):
        idx.read(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()
    path.write_bytes(gzip.compress(b"\0\0\x08\x01" + b"\xff" * 4))
    with pytest.raises(errors.UserError, match="4 GiB.*max_gib raises that"):
        idx.read(path, max_gib=2)
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((10, 10**5), np.uint8))))
    assert idx.read(path, max_gib=0.001).shape == (10, 10**5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"", "an empty file"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_of_other_kinds_are_named(tmp_path, content, words, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match=words if content or not suffix else "x"):
        idx.read(path)


def test_impossible_shapes_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"a")
    with pytest.raises(errors.UserError, match="impossible shape"):
        idx.read(path)
    path.write_bytes(b"\0\0\x08\x02" + bytes(4) + b"\0\0\0\x07")
    assert idx.read(path).shape == (0, 7)


def test_a_cut_gzip_stream_is_truncated(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 50)).astype(np.uint8)
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(noise))[:2000])
    with pytest.raises(errors.UserError, match=r"x\.gz is truncated: expected 5012"):
        idx.read(path)
    path.write_bytes(gzip.compress(idx_bytes(noise))[:11])
    with pytest.raises(errors.UserError, match="truncated"):
        idx.read(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"<html>not found</html>", b"\0\0\x08\0", b"\0\0\x07\x01\0\0\0\0"],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(errors.UserError, match="no IDX file"):
        idx.read(path)


def test_garbled_headers_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12 + b"data")
    with pytest.raises(errors.UserError, match="truncated"):
        idx.read(path)
    path.write_bytes(b"\0\0\x08\x03\0\0\0")
    with pytest.raises(errors.UserError, match="at least 16 bytes, found 7"):
        idx.read(path)
    path.write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with pytest.raises(errors.UserError, match="1 axes, expected 3"):
        idx.read(path, ndim=3)
    with pytest.raises(errors.UserError, match="Cannot read"):
        idx.read(tmp_path / "absent")
    (tmp_path / "y.gz").write_bytes(b"no gzip at all")
    with pytest.raises(errors.UserError, match="damaged gzip"):
        idx.read(tmp_path / "y.gz")


def test_several_gzip_members_are_one_file(tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(np.uint8)
    data, path = idx_bytes(array), tmp_path / "x.gz"
    path.write_bytes(b"".join(map(gzip.compress, (data[:3], data[3:20], data[20:]))))
    np.testing.assert_array_equal(idx.read(path), array)


def test_no_more_is_unpacked_than_the_header_declares_and_is_allowed(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(4, np.uint8)) + bytes(1 << 24)))
    with pytest.raises(errors.UserError, match="too long: expected 12 bytes"):
        idx.read(path)
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((1 << 21,), np.uint8))))
    with pytest.raises(errors.UserError, match="max_gib raises that"):
        idx.read(path, max_gib=0.001)
    assert len(idx.read(path, max_gib=0.01)) == 1 << 21


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_pointers_and_pages_are_called_what_they_are(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    for content, words in (
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "Git LFS pointer",
        ),
        (b"<html>Sign in</html>", "web page"),
    ):
        path.write_bytes(content)
        with pytest.raises(errors.UserError, match=words):
            idx.read(path)
