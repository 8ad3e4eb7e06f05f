"""Reads `.npz` files within bounds, and says what is wrong with each array.

`np.load` allocates whatever a member declares, unpacks what is longer than that, gives
bytes for members that are no arrays and leaves out one of two that have one name. Here a
member is compared with its declared shape before anything is allocated, and all of them
together with the memory that is free.
"""

from collections.abc import Collection
import io
import math
import os
import pathlib
from typing import NamedTuple
import warnings
import zipfile

import numpy as np

from mvjax.core import array_bytes
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import memory

_SUFFIX = ".npy"
_CHUNK = 1 << 22  # Bytes that are unpacked at a time.
_MOST_HEADER = 12 + 10_000  # Bytes; NumPy refuses longer ones.
_MOST_AXES = 32
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    # Only the text encoding of the names of fields differs; those are refused.
    (3, 0): np.lib.format.read_array_header_2_0,
}
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # What NumPy writes.
_SHOWN = 3  # Members that a message names.


class Header(NamedTuple):
    """What an array declares."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int  # Where its numbers begin.

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


class _Bad(Exception):
    """What is wrong with an array; continues "array <name> "."""


def read(
    path: str | os.PathLike,
    *,
    only: Collection[str] | None = None,
    max_gib: float | None = None,
    hint: str = "",
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the arrays of a file.

    Args:
      path: The file.
      only: Names of the arrays to read; None: all. Others are not looked at.
      max_gib: What all of them may take in memory; None: half of what is free.
      hint: Ends the message about what does not fit, see `memory.hint`.

    Returns:
      Arrays by name in the order of the file, in the machine's byte order and C's order
      of axes; and one line for each problem, the arrays with one being left out.
    """
    path = pathlib.Path(path)
    try:
        if path.exists() and not path.is_file():
            return {}, [f"{path} is no file{file_kind.clause(path)}."]
        archive = zipfile.ZipFile(path)
    except OSError as error:
        return {}, [f"Cannot read {path}: {error.strerror or error}."]
    except Exception:  # Garbage makes `zipfile` raise anything.
        kind = file_kind.clause(path)
        return {}, [f"{path} is no .npz file, or a truncated one{kind}."]
    with archive:
        members = [m for m in archive.infolist() if not m.is_dir()]
        if only is not None:
            members = [m for m in members if _name(m) in only]
        elif not any(m.filename.endswith(_SUFFIX) for m in members):
            return {}, [f"{path} holds no NumPy arrays{_instead(members)}."]
        left, found, problems = memory.bound(max_gib), {}, []
        for member in members:
            name = _name(member)
            try:
                if name in found:
                    raise _Bad("is there twice.")
                found[name] = _read_member(archive, member, left, hint)
                left -= found[name].nbytes
            except _Bad as problem:
                problems.append(f"{path}: array {name!r} {problem}")
            except MemoryError:
                problems.append(f"{path}: array {name!r} does not fit into memory.")
    return found, problems


def read_header(head: bytes) -> Header:
    """Parses the first bytes of a `.npy` file or member.

    Raises:
      UserError: They are none; the message is a reason.
    """
    stream = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of old headers, and of odd literals.
            version = np.lib.format.read_magic(stream)
            shape, fortran, dtype = _READERS[version](stream)
    except Exception as error:  # NumPy evaluates a literal; garbage raises anything.
        raise errors.UserError(f"no .npy header: {error!r:.80}") from None
    if len(shape) > _MOST_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise errors.UserError("an impossible shape")
    return Header(shape, dtype, fortran, stream.tell())


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(_SUFFIX)


def _instead(members: list[zipfile.ZipInfo]) -> str:
    """What an archive without arrays holds, in words."""
    names = [m.filename for m in members]
    if any(name.endswith("data.pkl") for name in names):
        return "; it is a PyTorch file: give it the ending .pth"
    more = " ..." if len(names) > _SHOWN else ""
    return f" (.npy), only {', '.join(map(repr, names[:_SHOWN])) or 'nothing'}{more}"


def _read_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int, hint: str
) -> np.ndarray:
    """Reads one array of at most so many bytes."""
    if not member.filename.endswith(_SUFFIX):
        raise _Bad("is no .npy member; only arrays belong into the file.")
    if member.flag_bits & 1:
        raise _Bad("is encrypted.")
    if member.compress_type not in _PACKINGS:
        raise _Bad(
            f"is compressed in a way (number {member.compress_type} of the zip format) "
            "that np.savez and np.savez_compressed do not use."
        )
    try:
        with archive.open(member) as stream:
            head = stream.read(_MOST_HEADER)
            header = read_header(head)
            _check(header, member, most, hint)
            flat = np.empty(math.prod(header.shape), header.dtype)
            _fill(flat, head[header.offset :], stream)
    except (_Bad, MemoryError):
        raise
    except errors.UserError as error:
        raise _Bad(f"holds damage ({error}).") from None
    except Exception as error:  # A damaged archive makes `zipfile` raise anything.
        raise _Bad(f"holds damage ({errors.one_line(error)}).") from None
    problem = array_bytes.problem(flat)
    if problem:
        raise _Bad(f"{problem}.")
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return np.asarray(array, order="C")


def _check(header: Header, member: zipfile.ZipInfo, most: int, hint: str) -> None:
    """Compares what an array declares with what there is and what may be."""
    if header.dtype.hasobject:
        raise _Bad(
            "holds objects, which are not read; save numbers, or text with .astype(str)."
        )
    if not header.dtype.itemsize:
        raise _Bad("has elements without a size.")
    what = f"declares {list(header.shape)} of {header.dtype}"
    held = member.file_size - header.offset
    if header.size != held:
        raise _Bad(f"{what}, {header.size} bytes, but holds {held}.")
    if header.size > most:
        raise _Bad(
            f"{what}, {memory.say(header.size)}; {memory.say(most)} may still be "
            f"taken{hint}."
        )


def _fill(flat: np.ndarray, first: bytes, stream: io.BufferedIOBase) -> None:
    """Copies the bytes of a stream into an array, `first` before them."""
    target, place = memoryview(flat.view(np.uint8)), len(first)
    target[:place] = first
    while place < len(target):
        count = stream.readinto(target[place : place + _CHUNK])
        if not count:
            raise EOFError(f"cut off after {place} of {len(target)} bytes")
        place += count
