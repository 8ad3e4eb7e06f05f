"""Files of numbered records, each a pickled tuple: LMDB, or ArrayRecord by its ending.

ArrayRecord (`.array_record`) is what grain and TPU machines read best, also from object
stores; LMDB is what the released builders write. Records are the same in both.
"""

from collections.abc import Callable, Iterable
import functools
import hashlib
import os
import pathlib
import pickle
from typing import Any

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.data import lmdb_file
from mvjax.data import paths

ENDING = ".array_record"
_LOOKS = 100  # Records that go into the fingerprint.


class ArrayRecords:
    """The records of an ArrayRecord file by their number, see `lmdb_file.Records`."""

    def __init__(self, path: str | os.PathLike):
        """Opens nothing yet but looks whether there is a file."""
        self.path = paths.find(path)
        if not paths.is_file(self.path):
            raise errors.UserError(f"There is no ArrayRecord file {self.path}.")

    def __len__(self) -> int:
        return _reader(str(self.path), os.getpid()).num_records()

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The tuple under a number."""
        return lmdb_file.unpickle(self._value(index), f"{self.path}, record {index}")

    def _value(self, index: int) -> bytes:
        try:
            return _reader(str(self.path), os.getpid()).read([index])[0]
        except (IndexError, ValueError, RuntimeError) as error:
            raise errors.UserError(
                f"{self.path}, record {index} cannot be read ({errors.one_line(error)})."
            ) from None

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of the number of records and of some of them."""
        digest = hashlib.sha256(f"{len(self)}".encode())
        for index in range(0, len(self), max(1, len(self) // _LOOKS)):
            digest.update(self._value(index))
        return digest.hexdigest()[:16]


Records = lmdb_file.Records | ArrayRecords


@functools.cache
def _reader(file: str, process: int) -> Any:
    from array_record.python import array_record_module

    del process  # A process that was forked opens its own.
    found = array_record_module.ArrayRecordReader(file)
    if not found.ok() or not found.num_records():  # Damaged files have none, silently.
        hint = file_kind.clause(pathlib.Path(file))
        raise errors.UserError(
            f"{file} is no sound ArrayRecord file, or cut off{hint}."
        )
    return found


def find(path: str | os.PathLike) -> Records:
    """The file of a name.

    Raises:
      UserError: There is none, or a library is missing.
    """
    kind = ArrayRecords if str(path).endswith(ENDING) else lmdb_file.Records
    return kind(path)


def write(
    path: str | os.PathLike, records: Callable[[int], Iterable[tuple[Any, ...]]]
) -> int:
    """Writes numbered records; an LMDB file that was begun goes on.

    Args:
      path: The file. One of ArrayRecord is written as a whole; one that is there is kept.
      records: See `lmdb_file.write`.

    Returns:
      How many the file holds then.

    Raises:
      UserError: It cannot be written.
    """
    if not str(path).endswith(ENDING):
        return lmdb_file.write(path, records)
    from array_record.python import array_record_module

    target = paths.find(path)
    if paths.is_file(target):
        there = ArrayRecords(target)
        lmdb_file.check_same(there[0], next(iter(records(0)), None), target)
        return len(there)
    part, count = target.with_name(f"{target.name}.part"), 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # One record a group: so one is read without its neighbours.
        writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
        for record in records(0):
            writer.write(pickle.dumps(record, protocol=4))
            count += 1
        writer.close()
        os.replace(part, target)
    except (OSError, RuntimeError) as error:
        raise errors.UserError(
            f"Cannot write {target}: {errors.one_line(error)}."
        ) from None
    return count


def is_file(path: str | os.PathLike) -> bool:
    """Whether a path is a file of records, or a folder that LMDB made of one."""
    place = paths.find(path)
    return paths.is_file(place) or paths.is_file(place / lmdb_file.DATA)
