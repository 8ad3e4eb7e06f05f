"""Reader of IDX files, the format of MNIST: plain or gzipped.

A gzipped file may consist of several members. Nothing is unpacked beyond the size that
the header declares.
"""

import gzip
import math
import os
import pathlib
from typing import BinaryIO
import zlib

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import memory
from mvjax.data import paths

_CHUNK = 1 << 22  # Bytes that are read at a time.
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def find(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns `folder/name` or `folder/name.gz`, whichever exists first, else None."""
    for path in (folder / name, folder / f"{name}.gz"):
        if paths.is_file(path):
            return path
    return None


def read(
    path: pathlib.Path, *, ndim: int | None = None, max_gib: float | None = None
) -> np.ndarray:
    """Reads one IDX file.

    Args:
      path: The file; gzipped if its name ends in `.gz`.
      ndim: Number of axes that the file must have; None: any.
      max_gib: What the array may take in memory; None: half of what is free.

    Returns:
      The array, in the machine's byte order.

    Raises:
      UserError: The file is missing, no IDX file, damaged, too large, shorter or longer
        than its header says; the message names the file, the bytes expected and those
        found.
    """
    try:
        with open(path, "rb") as file:
            if path.suffix != ".gz":
                held = os.fstat(file.fileno()).st_size
                return _read(file, path, ndim=ndim, max_gib=max_gib, held=held)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, ndim=ndim, max_gib=max_gib, held=None)
    except (gzip.BadGzipFile, zlib.error) as error:
        kind = file_kind.clause(path)
        raise errors.UserError(
            f"{path} is a damaged gzip file ({error}){kind}."
        ) from None
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None


def _read(
    stream: BinaryIO,
    path: pathlib.Path,
    *,
    ndim: int | None,
    max_gib: float | None,
    held: int | None,
) -> np.ndarray:
    """Reads from a stream, of which `held` bytes are there (None: nobody knows)."""
    start = _take(stream, 4)
    if not start and held is None:
        raise errors.UserError(
            f"{path} is truncated: its gzip data hold no IDX header."
        )
    known = len(start) == 4 and start[:2] == b"\0\0" and start[2] in _DTYPES
    if not known or not start[3]:
        raise errors.UserError(
            f"{path} is no IDX file: expected 0000, a type code and a number of axes, "
            f"found {start.hex() or 'nothing'}{file_kind.clause(path)}."
        )
    dtype, axes = np.dtype(_DTYPES[start[2]]), start[3]
    if ndim is not None and axes != ndim:
        raise errors.UserError(f"{path} has {axes} axes, expected {ndim}.")
    sizes = _take(stream, 4 * axes)
    header = 4 + 4 * axes
    if len(sizes) < 4 * axes:
        raise errors.UserError(
            f"{path} is truncated: expected at least {header} bytes, found "
            f"{4 + len(sizes)}."
        )
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    size = math.prod(shape) * dtype.itemsize  # Python integers cannot overflow.
    expected = f"expected {header + size} bytes for shape {shape}, found"
    if held is not None and held != header + size:
        state = "truncated" if held < header + size else "too long"
        raise errors.UserError(f"{path} is {state}: {expected} {held}.")
    most = memory.bound(max_gib)
    if size > most:
        raise errors.UserError(
            f"{path} declares {shape} of {dtype}, {memory.say(size)}; {memory.say(most)} "
            f"may be taken{memory.hint(memory.OPTION)}."
        )
    data = _take(stream, size)
    if len(data) < size:
        raise errors.UserError(f"{path} is truncated: {expected} {header + len(data)}.")
    if _take(stream, 1):
        more = header + size + 1
        raise errors.UserError(f"{path} is too long: {expected} {more} or more.")
    flat = np.frombuffer(data, dtype) if size else np.empty(0, dtype)
    try:
        return flat.reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    except ValueError:  # Of too many axes, or of an empty array's impossible ones.
        raise errors.UserError(f"{path} has an impossible shape, {shape}.") from None


def _take(stream: BinaryIO, count: int) -> bytearray:
    """Reads so many bytes, or what there is of them, also before an early end."""
    parts = bytearray()
    try:
        while len(parts) < count:
            part = stream.read(min(_CHUNK, count - len(parts)))
            if not part:
                break
            parts += part
    except EOFError:  # A cut gzip stream.
        pass
    return parts
