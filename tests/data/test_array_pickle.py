"""Arrays come out of pickles as they went in; whatever else is in them is refused."""

import collections
import mmap
import os
import pickle
import struct

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import array_pickle

PROTOCOLS = range(6)
SOUND = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "gaps": np.arange(10)[::2],
    "big_endian": np.arange(5, dtype=">f4"),
    "half": np.ones((3, 1), np.float16),
    "booleans": np.array([True, False]),
    "text": np.array(["a", "bcd", "ä"]),
    "bytes": np.array([b"a", b"bc"]),
    "empty": np.zeros((0, 7)),
    "one": np.array(3.5),
    "large": np.arange(40_000, dtype=np.int64),
}
PLAIN = {
    "list": [1, 2.5, None, True, "text", b"bytes", (1, (2, ()))],
    "long": 2**80,
    "nothing": b"",
    "ordered": collections.OrderedDict(b=1, a=2),
    3: {"deep": {"deeper": []}},
}


def write(tmp_path, content, protocol=4):
    path = tmp_path / "file.pkl"
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
    path.write_bytes(data)
    return path


def assert_same(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_back_in_every_protocol(tmp_path, protocol):
    found = array_pickle.read(write(tmp_path, SOUND, protocol))
    assert list(found) == list(SOUND)
    for name, wanted in SOUND.items():
        assert_same(found[name], wanted)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_containers_and_scalars_come_back(tmp_path, protocol):
    numbers = [np.float32(2.5), np.int64(-3), np.bool_(True), np.str_("ab")]
    found = array_pickle.read(write(tmp_path, [PLAIN, numbers], protocol))
    assert found == [PLAIN, numbers]
    assert [type(value) for value in found[1]] == [type(value) for value in numbers]


@pytest.mark.parametrize("protocol", (2, 3, 4, 5))
def test_module_names_of_numpy_1_are_known(tmp_path, protocol):
    data = pickle.dumps({"x": SOUND["float32"], "y": np.float32(1)}, protocol)
    assert b"numpy._core" in data
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        # Length-prefixed names of protocol 4 and later, and the frame around them.
        data = data.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
        data = data.replace(b"c" + new + b"\n", b"c" + old + b"\n")
    assert b"numpy._core" not in data
    found = array_pickle.read(write(tmp_path, data))
    assert_same(found["x"], SOUND["float32"])
    assert found["y"] == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_plain_objects_become_lists(tmp_path, protocol):
    words = np.array(["short", "a longer one", b"raw", 3, None], object)
    table = np.array([["a", "b", "c"], ["d", "e", "f"]], object)
    content = {"words": words, "table": table, "again": words}
    found = array_pickle.read(write(tmp_path, content, protocol))
    assert found["words"] == found["again"] == list(words)
    assert found["table"] == table.tolist()
    turned = array_pickle.read(write(tmp_path, np.asfortranarray(table), protocol))
    assert turned == table.tolist()


@pytest.mark.parametrize("inside", [np.ones(2), {"a": 1}, [1], (1,)])
def test_arrays_of_other_objects_are_refused_unless_asked_for(tmp_path, inside):
    array = np.empty(2, object)
    array[:] = [inside, "text"]
    path = write(tmp_path, {"x": array})
    with pytest.raises(errors.UserError, match="array of objects that holds a"):
        array_pickle.read(path)
    found = array_pickle.read(path, nested=True)["x"]
    np.testing.assert_array_equal(found[0], inside)


def test_npy_files_of_objects_are_read_behind_their_header(tmp_path):
    ragged = {"x": [np.ones((2, 3)), np.zeros((4, 3))], "names": ["a", "b"]}
    np.save(tmp_path / "a.npy", ragged, allow_pickle=True)
    found = array_pickle.read(tmp_path / "a.npy", offset=128, nested=True)
    assert found["names"] == ["a", "b"]
    np.testing.assert_array_equal(found["x"][1], ragged["x"][1])


class Payload:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {mark}", "system"),
        (eval, "open({mark!r}, 'w')", "eval"),
        (np.fromfile, "{mark}", "fromfile"),
        (np.load, "{mark}", "load"),
        (open, "{mark}", "open"),
        (bytes, "{mark}", "called"),
    ],
)
def test_payloads_are_refused_and_not_run(tmp_path, protocol, function, argument, name):
    mark = tmp_path / "mark"
    content = {"x": np.ones(3), "y": Payload(function, argument.format(mark=mark))}
    with pytest.raises(errors.UserError) as caught:
        array_pickle.read(write(tmp_path, content, protocol))
    assert "file.pkl" in str(caught.value)
    if name != "called":  # `bytes` is known, but not with arguments.
        assert name in str(caught.value) and "refused" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


class Sub(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.ones(2).view(Sub), "Sub"),
        (np.ones(2, [("a", "f4"), ("b", "i4")]), "type 'V8'"),
        (np.ones(2, np.complex64), "type 'c8'"),
        (np.array(["2020"], "datetime64[D]"), "type 'M8'"),
        ({"a": {1, 2}}, "refused"),
        (np.dtype("f4"), "where data belongs"),
        (np.ndarray, "where data belongs"),
        (collections.Counter("ab"), "wants to run 'collections.Counter'"),
    ],
)
@pytest.mark.parametrize("protocol", (2, 4))
def test_other_types_are_refused_by_name(tmp_path, content, words, protocol):
    with pytest.raises(errors.UserError, match="file.pkl") as caught:
        array_pickle.read(write(tmp_path, content, protocol))
    assert words in str(caught.value)


def test_declared_sizes_are_checked_before_anything_is_allocated(tmp_path):
    array = np.zeros((7, 11), np.float32)
    for protocol in (2, 4, 5):
        data = pickle.dumps(array, protocol)
        assert data.count(b"K\x07K\x0b") == 1
        huge = data.replace(
            b"K\x07K\x0b", b"J" + struct.pack("<i", 2**31 - 1) + b"K\x0b"
        )
        with pytest.raises(errors.UserError, match="declares an array of"):
            array_pickle.read(write(tmp_path, huge))
    for head in (b"\x8e", b"\x8d", b"\x96"):  # Bytes, text and bytearray of 2**60.
        lie = b"\x80\x05" + head + struct.pack("<Q", 2**60) + b"abc."
        with pytest.raises(errors.UserError, match="more than it holds"):
            array_pickle.read(write(tmp_path, lie))
    wide = pickle.dumps(np.array(["abcd"]), 4).replace(b"U4", b"U9")
    with pytest.raises(errors.UserError, match="declares an array of"):
        array_pickle.read(write(tmp_path, wide))


def test_files_cut_anywhere_are_refused(tmp_path):
    data = pickle.dumps({"x": np.arange(6.0), "y": ["a", "b"]}, 4)
    for size in range(1, len(data)):
        with pytest.raises(errors.UserError, match="file.pkl"):
            array_pickle.read(write(tmp_path, data[:size]))


def test_garbled_files_raise_nothing_else_and_take_no_memory(tmp_path):
    rng = np.random.default_rng(0)
    for protocol in PROTOCOLS:
        content = {"x": np.arange(6.0), "y": np.array(["a", "bc"]), "z": [1, "b", 2.5]}
        data = pickle.dumps(content, protocol)
        for _ in range(300):
            bad = bytearray(data)
            for place in rng.integers(0, len(bad), 3):
                bad[place] = rng.integers(0, 256)
            try:
                array_pickle.read(write(tmp_path, bytes(bad)))
            except errors.UserError:
                pass  # A flipped bit of a number is no damage that can be seen.


@pytest.mark.parametrize("start", [b"", b"hello", b"\x80\x09.", b"PK\x03\x04", b"\x80"])
def test_files_that_are_no_pickle_are_refused(tmp_path, start):
    with pytest.raises(errors.UserError, match="file.pkl"):
        array_pickle.read(write(tmp_path, start))
    with pytest.raises(errors.UserError, match="none.pkl"):
        array_pickle.read(tmp_path / "none.pkl")
    with pytest.raises(errors.UserError, match="Cannot read"):
        array_pickle.read(tmp_path)


def test_bombs_are_refused(tmp_path):
    deep = b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b"."
    with pytest.raises(errors.UserError, match="deep"):
        array_pickle.read(write(tmp_path, deep))
    # One list that holds itself: no array can be made of it.
    with pytest.raises(errors.UserError, match="inside itself"):
        array_pickle.read(write(tmp_path, b"\x80\x04]q\x00h\x00a."))
    # A list of ten times the same list of ten times ...: 10**50 elements, 50 lists.
    laughs = b"\x80\x04]" + b"".join(
        b"q" + bytes([i]) + b"](" + (b"h" + bytes([i])) * 10 + b"e" for i in range(50)
    )
    with pytest.raises(errors.UserError, match="unpack to more than 16777216"):
        array_pickle.read(write(tmp_path, laughs + b"."))
    # Small files may hold one list often: padding, made by multiplication.
    padded = [[[0.5] * 20] * 30] * 40
    assert array_pickle.read(write(tmp_path, padded)) == padded
    # One long text, encoded again and again.
    text = b"X" + struct.pack("<I", 10**5) + b"a" * 10**5
    again = b"\x80\x02(c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\x00\x00\x00latin1"
    again += b"\x86R" + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 50 + b"l."
    with pytest.raises(errors.UserError, match="more than it holds"):
        array_pickle.read(write(tmp_path, again))


def test_half_built_arrays_are_refused(tmp_path):
    begin = (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    )
    for end in (b".", b"q\x00h\x00\x86.", b"Nb.", b"(K\x01K\x02NNNtb."):
        with pytest.raises(errors.UserError, match="refused|without"):
            array_pickle.read(write(tmp_path, b"\x80\x04" + begin + end))


def test_impossible_text_and_booleans_are_refused(tmp_path):
    for wanted, value in (
        (np.array(["a"]), b"\xff\xff\xff\x7f"),
        (SOUND["booleans"], b"\x02\x00"),
    ):
        data = pickle.dumps(wanted, 4)
        assert data.count(wanted.tobytes()) == 1
        with pytest.raises(errors.UserError, match="none; refused"):
            array_pickle.read(write(tmp_path, data.replace(wanted.tobytes(), value)))


@pytest.mark.parametrize("protocol", (3, 4))
def test_large_arrays_stay_on_disk(tmp_path, protocol):
    found = array_pickle.read(write(tmp_path, SOUND, protocol))["large"]
    assert not found.flags.owndata and not found.flags.writeable
    base = found
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, memoryview)  # Of the mapped file; bytes would be a copy.
    assert isinstance(base.obj, mmap.mmap)
