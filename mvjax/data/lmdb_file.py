"""LMDB files of numbered records, each a pickled tuple of bytes and shapes.

Nothing in a pickle is run. A file is opened when its first record is asked for, once in each
process, and needs no lock file: nobody writes to it.
"""

from collections.abc import Callable, Iterable
import functools
import hashlib
import importlib.util
import io
import os
import pathlib
import pickle
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import safe_pickle
from mvjax.data import paths

DATA = "data.mdb"  # In a folder.
_COMMIT = 1000  # Records.
_LOOKS = 100  # Records that go into the fingerprint.
_MAP = 2**40  # Bytes that a file may grow to; its size is that of what is written.


class Records:
    """The records of a file by their number."""

    def __init__(self, path: str | os.PathLike):
        """Opens nothing yet but looks whether there is a file.

        Raises:
          UserError: lmdb is missing, there is no file, or it is none of LMDB.
        """
        check_installed()
        self.path = paths.find(path)
        self._file = self.path / DATA if self.path.is_dir() else self.path
        if not paths.is_file(self._file):
            raise errors.UserError(f"There is no LMDB file {self._file}.")
        self._length: int | None = None

    def __len__(self) -> int:
        if self._length is None:
            self._length = _environment(str(self._file), os.getpid()).stat()["entries"]
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The tuple under a number.

        Raises:
          UserError: There is none, or it is no tuple of bytes, texts and numbers.
        """
        where = f"{self.path}, record {index}"
        with _environment(str(self._file), os.getpid()).begin() as transaction:
            value = transaction.get(str(index).encode())
        if value is None:
            raise errors.UserError(
                f"{where} is missing; a file of {len(self)} records has the keys "
                f"'0' to '{len(self) - 1}'."
            )
        return unpickle(value, where)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of the number of records and of some of them."""
        digest = hashlib.sha256(f"{len(self)}".encode())
        with _environment(str(self._file), os.getpid()).begin(buffers=True) as found:
            for index in range(0, len(self), max(1, len(self) // _LOOKS)):
                digest.update(found.get(str(index).encode()) or b"")
        return digest.hexdigest()[:16]


def check_installed() -> None:
    """Raises `UserError` where the library is missing."""
    if importlib.util.find_spec("lmdb") is None:
        raise errors.UserError('Reading LMDB needs lmdb: pip install "mvjax[geo]"')


@functools.cache
def _environment(file: str, process: int) -> Any:
    """The open file; lmdb allows a process to open each once only."""
    import lmdb

    del process  # A process that was forked opens its own.
    try:
        found = lmdb.open(
            file,
            subdir=False,
            readonly=True,
            lock=False,
            readahead=False,
            meminit=False,
            max_readers=1,
        )
    except lmdb.Error as error:
        hint = file_kind.clause(pathlib.Path(file))
        raise errors.UserError(
            f"{file} is no sound LMDB file ({errors.one_line(error)}){hint}."
        ) from None
    try:
        _check_whole(found, file)
    except errors.UserError:
        found.close()
        raise
    return found


def _check_whole(environment: Any, file: str) -> None:
    """Raises `UserError` where an open file lacks its end.

    Reading what is not there would end the process.
    """
    size = os.path.getsize(file)
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if needed > size:
        raise errors.UserError(
            f"{file} is truncated: it has {size:,} of {needed:,} bytes."
        )


def unpickle(value: bytes, where: str) -> tuple[Any, ...]:
    """The tuple that a record holds.

    Args:
      value: The record.
      where: It is, for messages.

    Raises:
      UserError: It is no tuple of bytes, texts and numbers.
    """

    def refuse(name: Any) -> Any:
        raise safe_pickle.Refused(f"names the object {name!r} outside of it; refused.")

    try:
        found = safe_pickle.load(
            io.BytesIO(value),
            functions={},
            values={},
            persistent=refuse,
            advice="Records hold bytes and shapes alone.",
        )
    except safe_pickle.Refused as error:
        raise errors.UserError(f"{where} {error}") from None
    except Exception as error:  # Damaged bytes make the reader raise many things.
        raise errors.UserError(
            f"{where} is no sound pickle ({errors.one_line(error)})."
        ) from None
    if not isinstance(found, tuple):
        raise errors.UserError(
            f"{where} is a {safe_pickle.kind_of(found)}, expected a tuple."
        )
    return found


def write(
    path: str | os.PathLike, records: Callable[[int], Iterable[tuple[Any, ...]]]
) -> int:
    """Writes numbered records behind those that are there.

    Args:
      path: The file, which need not be there.
      records: Gets a number and gives the records from that on: tuples of bytes, shapes
        and the like, to be pickled. It gets that of the last one that is there.

    Returns:
      How many the file holds then.

    Raises:
      UserError: It cannot be written, or what it holds is no beginning of this.
    """
    check_installed()
    import lmdb

    target = paths.find(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lmdb.open(str(target), subdir=False, map_size=_MAP, lock=False) as found:
            _check_whole(found, str(target))
            count = found.stat()["entries"]
            last = max(0, count - 1)
            new = iter(records(last))
            if count:
                with found.begin() as transaction:
                    value = transaction.get(str(last).encode()) or b""
                there = unpickle(value, f"{target}, record {last}")
                check_same(there, next(new, None), target)
            waiting: list[tuple[Any, ...]] = []
            for record in new:
                waiting.append(record)
                if len(waiting) == _COMMIT:
                    count = _commit(found, count, waiting)
                    waiting = []
            return _commit(found, count, waiting)
    except (lmdb.Error, OSError) as error:
        raise errors.UserError(
            f"Cannot write {target}: {errors.one_line(error)}."
        ) from None


def check_same(there: Any, wanted: Any, target: pathlib.Path) -> None:
    """Raises `UserError` where a file holds another record than is to be written."""
    if there != wanted:
        raise errors.UserError(
            f"{target} is there and holds other records than these; choose another name, "
            "or remove it to build it anew."
        )


def _commit(environment: Any, count: int, records: list[tuple[Any, ...]]) -> int:
    """Writes some records in one transaction; returns how many there are then."""
    with environment.begin(write=True) as transaction:
        for i, record in enumerate(records):
            transaction.put(str(count + i).encode(), pickle.dumps(record, protocol=4))
    return count + len(records)


def array(content: Any, shape: Any, types: dict[int, str], where: str) -> np.ndarray:
    """An array of its bytes and its shape, which shares their memory.

    Args:
      content: Bytes.
      shape: What should be a tuple of whole numbers.
      types: NumPy names by bytes a value.
      where: The record, for messages.

    Raises:
      UserError: They are none, or do not go together.
    """
    sizes = isinstance(shape, tuple | list) and all(
        type(n) is int and n > 0 for n in shape
    )
    if not isinstance(content, bytes) or not sizes:
        raise errors.UserError(
            f"{where}: expected bytes and a shape, found a {type(content).__name__} and "
            f"{errors.quote(shape)}."
        )
    values = int(np.prod(shape, dtype=object))
    fitting = [kind for size, kind in types.items() if size * values == len(content)]
    if not fitting:
        raise errors.UserError(
            f"{where}: {len(content):,} bytes are no array of shape {tuple(shape)} with "
            f"{' or '.join(map(str, types))} bytes a value."
        )
    return np.frombuffer(content, fitting[0]).reshape(shape)
