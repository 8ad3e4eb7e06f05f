"""Reader of IDX files, the format of MNIST: plain or gzipped."""

import pathlib
import zlib

import numpy as np

from mvjax.core import errors

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def find(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns `folder/name` or `folder/name.gz`, whichever exists first, else None."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def read(path: pathlib.Path, *, ndim: int | None = None) -> np.ndarray:
    """Reads one IDX file.

    Args:
      path: The file; gzipped if its name ends in `.gz`.
      ndim: Number of axes that the file must have; None: any.

    Returns:
      The array, in the machine's byte order.

    Raises:
      UserError: The file is missing, no IDX file, damaged, shorter or longer than its
        header says; the message names the file, the bytes expected and those found.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    if path.suffix == ".gz":
        data = _unzip(data, path)
    known = len(data) >= 4 and data[:2] == b"\0\0" and data[2] in _DTYPES and data[3]
    if not known:
        raise errors.UserError(
            f"{path} is no IDX file: expected 0000, a type code and a number of axes, "
            f"found {data[:4].hex() or 'nothing'}."
        )
    dtype, axes = np.dtype(_DTYPES[data[2]]), data[3]
    if ndim is not None and axes != ndim:
        raise errors.UserError(f"{path} has {axes} axes, expected {ndim}.")
    header = 4 + 4 * axes
    if len(data) < header:
        raise errors.UserError(
            f"{path} is truncated: expected at least {header} bytes, found {len(data)}."
        )
    shape = [int(n) for n in np.frombuffer(data, ">u4", count=axes, offset=4)]
    size = dtype.itemsize
    for n in shape:  # Python integers: a garbled header cannot overflow.
        size *= n
    expected = header + size
    if len(data) != expected:
        state = "truncated" if len(data) < expected else "too long"
        raise errors.UserError(
            f"{path} is {state}: expected {expected} bytes for shape "
            f"{tuple(shape)}, found {len(data)}."
        )
    array = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _unzip(data: bytes, path: pathlib.Path) -> bytes:
    """Unzips as much as there is, so that the caller can say how much is missing."""
    stream = zlib.decompressobj(wbits=31)
    try:
        out = stream.decompress(data)
    except zlib.error as error:
        raise errors.UserError(f"{path} is a damaged gzip file: {error}.") from None
    if not stream.eof and len(out) < 4:
        raise errors.UserError(
            f"{path} is truncated: {len(data)} bytes of gzip data hold no IDX header."
        )
    return out
