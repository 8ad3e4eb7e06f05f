"""LMDB files of numbered records: whoever wrote them, in a file or a folder."""

import multiprocessing
import pickle

import lmdb
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import lmdb_file
from mvjax.data import numbered_records

SHAPE = (2, 3, 4)
CONTENT = np.arange(24, dtype=np.float32).tobytes()


def _put(path, values, *, subdir):
    with lmdb.open(str(path), subdir=subdir, map_size=2**20) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in values.items():
                transaction.put(key.encode(), value)


@pytest.mark.parametrize("subdir", [False, True])
def test_records_of_other_writers_are_read(tmp_path, subdir):
    path = tmp_path / "train.lmdb"
    values = {
        str(i): pickle.dumps((CONTENT, SHAPE), protocol=protocol)
        for i, protocol in enumerate((3, 4, 5))
    }
    _put(path, values, subdir=subdir)
    for lock in (*tmp_path.glob("*lock*"), *tmp_path.glob("*/lock.mdb")):
        lock.unlink()
    records = pickle.loads(pickle.dumps(lmdb_file.Records(path)))
    assert len(records) == 3
    for i in range(3):
        found = lmdb_file.array(*records[i], {4: "float32"}, "here")
        np.testing.assert_array_equal(found.ravel(), np.arange(24))
    with pytest.raises(errors.UserError, match="record 3 is missing.*'0' to '2'"):
        records[3]


def _read(records):
    return len(records), records[1][1]


def test_another_process_opens_a_file_of_its_own(tmp_path):
    lmdb_file.write(tmp_path / "a", lambda done: [(CONTENT, SHAPE)] * 2)
    records = lmdb_file.Records(tmp_path / "a")
    assert len(records) == 2  # It is open here.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read, (records,)) == (2, SHAPE)


def test_writing_goes_on_behind_what_is_there(tmp_path):
    path = tmp_path / "deep" / "a"
    made = [(b"x", 0), (b"y", 1), (b"y", 2)]
    assert lmdb_file.write(path, lambda done: made[done:1]) == 1
    assert lmdb_file.write(path, lambda done: made[done:]) == 3
    for other in ([(b"z", 0), (b"z", 1), (b"z", 2)], made[:2]):
        with pytest.raises(errors.UserError, match="deep/a is there and holds other"):
            lmdb_file.write(path, lambda done, other=other: other[done:])
    records = lmdb_file.Records(path)
    assert [records[i] for i in range(3)] == made
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(errors.UserError, match="cut is truncated: it has"):
        lmdb_file.write(cut, lambda done: made[done:])
    with pytest.raises(errors.UserError, match="Cannot write"):
        lmdb_file.write("/proc/nowhere/a", lambda done: [])


def test_what_is_no_array_is_named():
    for content, shape, message in (
        ("text", SHAPE, "expected bytes and a shape, found a str"),
        (CONTENT, (2, "3"), "expected bytes and a shape"),
        (CONTENT, (0, 4), "expected bytes and a shape"),
        (CONTENT, (2, 3), "96 bytes are no array of shape .2, 3. with 4 bytes a value"),
        (CONTENT, (2**40, 2**40), "96 bytes are no array"),
    ):
        with pytest.raises(errors.UserError, match=message):
            lmdb_file.array(content, shape, {4: "float32"}, "here")


def test_array_records_hold_the_same(tmp_path):
    path = tmp_path / "deep" / "a.array_record"
    made = [(CONTENT, SHAPE), (b"x", 3)]
    assert numbered_records.write(path, lambda done: made) == 2
    assert numbered_records.write(path, lambda done: made[:1]) == 2  # It is kept.
    with pytest.raises(errors.UserError, match="a.array_record is there and holds"):
        numbered_records.write(path, lambda done: made[1:])
    lmdb_file.write(tmp_path / "b", lambda done: made)
    for file in (path, tmp_path / "b"):
        records = pickle.loads(pickle.dumps(numbered_records.find(file)))
        assert len(records) == 2 and [records[i] for i in range(2)] == made
    with pytest.raises(
        errors.UserError, match="a.array_record, record 5 cannot be read"
    ):
        numbered_records.find(path)[5]
    content = path.read_bytes()
    (tmp_path / "cut.array_record").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        errors.UserError, match="cut.array_record is no sound ArrayRecord"
    ):
        len(numbered_records.find(tmp_path / "cut.array_record"))
    with pytest.raises(errors.UserError, match="There is no ArrayRecord file"):
        numbered_records.find(tmp_path / "none.array_record")
    assert numbered_records.find(path).fingerprint() != "" and not list(
        tmp_path.glob("**/*.part")
    )
