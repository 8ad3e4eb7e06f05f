"""Reads pickles of NumPy arrays in plain containers; runs nothing that a file names.

Admitted are dicts, lists, tuples, text, bytes, numbers, None, and arrays and scalars of
numbers, booleans, bytes and text, in all pickle protocols and under the module names of
NumPy 1 and 2. An array of objects becomes a list, nested as its shape says, if all its
elements are text, bytes, numbers or None. Whatever else a file asks for ends the reading.

The file is mapped into memory: arrays written with protocol 3 or later are views of it
and cost memory only where they are looked at. Nothing is allocated by a size that a file
declares; it is compared with the bytes that are there first. Lists that hold one list
many times count with all that is reached, as NumPy would make it an array.
"""

from collections.abc import Callable
import contextlib
import math
import mmap
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import array_bytes
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import memory
from mvjax.core import safe_pickle
from mvjax.data import paths

_ADVICE = "Only NumPy arrays in plain containers are read."
_LARGE = 1 << 16  # Bytes from which on a read hands out a view instead of a copy.
_MOST_AXES = 32
_MOST_LEVELS = 64  # Of containers in containers.
_STEP = 80  # Bytes that Python takes for an empty container, of one byte in the file.
_MOST_ELEMENTS = 1 << 24  # Reached in a file of fewer bytes; in others one a byte.
_DTYPES = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|[SU][1-9]\d{0,8}|O\d?")
_ATOMS = (str, bytes, int, float, type(None), np.generic)
_LEAVES = (*_ATOMS, np.ndarray, bytearray)
_CONTAINERS = (dict, list, tuple)
_ARRAY_CLASS = object()  # Stands for the class `numpy.ndarray` inside a pickle.


def read(
    path: str | os.PathLike,
    *,
    offset: int = 0,
    nested: bool = False,
    python2: bool = False,
    max_gib: float | None = None,
    option: str = memory.OPTION,
) -> Any:
    """Reads a pickle.

    Args:
      path: The file.
      offset: Where in it the pickle begins.
      nested: Whether arrays of objects may also hold arrays and containers, as those
        in `.npy` files do.
      python2: Whether the numbers of arrays may also be text, byte by byte, as Python 2
        wrote them; they are copied.
      max_gib: What the objects of the file may take in memory, in GiB; None: half of
        what is free. Arrays that stay on disk do not count.
      option: The setting that is `max_gib`, for the message.

    Returns:
      The pickled object; arrays may be read-only.

    Raises:
      UserError: There is no such file, it is damaged or cut off, or it asks for
        anything else than arrays in plain containers; nothing of it was run.
    """
    path = paths.find(path)
    try:
        file_kind.refuse_special(path)
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size <= offset:
                raise errors.UserError(f"{path} is empty.")
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        builder = _Builder(len(content), nested=nested, python2=python2)
        found = safe_pickle.load(
            _Window(
                content,
                offset,
                memory.bound(max_gib),
                memory.hint(option),
                copy=python2,
            ),
            functions=builder.functions(),
            values={"numpy.ndarray": _ARRAY_CLASS},
            persistent=_refuse_persistent,
            advice=_ADVICE,
        )
        _check_tree(found, max(_MOST_ELEMENTS, len(content)))
        return found
    except safe_pickle.Refused as error:
        raise errors.UserError(f"{path} {error}{_kind(path)}") from None
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        raise errors.UserError(
            f"{path} is no complete pickle, or not one that Python 3 wrote "
            f"({errors.one_line(error)})."
            f"{_kind(path)}"
        ) from None


class _Window:
    """A mapped file as a stream; a read beyond its end fails before it allocates.

    So does the reading of more steps than there is memory for what they make.
    """

    def __init__(
        self, content: mmap.mmap, place: int, most: int, hint: str, *, copy: bool
    ) -> None:
        """Takes what the objects may take in bytes, and how a user raises that.

        With `copy` nothing is a view: the text of Python 2 can only be made of bytes.
        """
        self._copy = copy
        self._content, self._view, self._place = content, memoryview(content), place
        self._left = most // _STEP
        self._full = f"holds more objects than fit into {memory.say(most)}{hint}."

    def read(self, count: int) -> bytes | memoryview:
        """Returns exactly `count` bytes."""
        self._left -= 1
        if self._left < 0:
            raise safe_pickle.Refused(self._full)
        return self._take(self._place + count, copy=self._copy)

    def readline(self) -> bytes | memoryview:
        """Returns the bytes up to and including the next line feed."""
        end = self._content.find(b"\n", self._place)
        return self._take(len(self._view) + 1 if end < 0 else end + 1, copy=True)

    def _take(self, end: int, *, copy: bool = False) -> bytes | memoryview:
        if not self._place <= end <= len(self._view):
            raise safe_pickle.Refused(
                "is no pickle, cut off, or declares more than it holds."
            )
        part = self._view[self._place : end]
        self._place = end
        return bytes(part) if copy or len(part) < _LARGE else part


class _Builder:
    """The functions that a pickle may call, and how much they may still copy."""

    def __init__(self, size: int, *, nested: bool, python2: bool) -> None:
        """Takes the file size in bytes; no honest file copies more than it holds."""
        self._left = size
        self._nested, self._python2 = nested, python2

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Returns them by their full names in NumPy 1 and 2, Python 2 and 3."""
        found: dict[str, Callable[..., Any]] = {
            "numpy.dtype": _Dtype,
            "_codecs.encode": self._encode,
            "builtins.bytes": _empty_bytes,
            "__builtin__.bytes": _empty_bytes,
            "collections.OrderedDict": _empty_dict,
        }
        for core in ("numpy.core", "numpy._core"):
            found[f"{core}.multiarray._reconstruct"] = self._reconstruct
            found[f"{core}.multiarray.scalar"] = _scalar
            found[f"{core}.numeric._frombuffer"] = _from_buffer
        return found

    def spend(self, amount: int) -> None:
        """Counts what is copied: a file may name one text a million times."""
        self._left -= amount
        if self._left < 0:
            raise safe_pickle.Refused("asks for more than it holds; refused.")

    def _reconstruct(self, kind: Any, shape: Any, code: Any) -> "_Array":
        del shape, code  # Those of an empty array; the true ones follow.
        if kind is not _ARRAY_CLASS:
            raise safe_pickle.Refused("holds an array of a special class; refused.")
        return _Array(self.make)

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """Bytes as protocols 0 to 2 spell them."""
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise safe_pickle.Refused("encodes text in an unusual way; refused.")
        self.spend(len(text))
        return text.encode("latin-1")

    def make(self, shape: Any, dtype: Any, fortran: Any, data: Any) -> Any:
        """Returns an array, or a list where the elements are objects."""
        if not isinstance(dtype, np.dtype):
            raise safe_pickle.Refused("has an array without a type of numbers.")
        if dtype.kind != "O":
            if self._python2 and type(data) is str:
                self.spend(len(data))
                data = data.encode("latin-1")
            return _array(data, dtype, shape, "F" if fortran else "C")
        _check_shape(shape)
        if type(data) is not list or len(data) != math.prod(shape):
            raise safe_pickle.Refused("has an array of objects without its elements.")
        self.spend(len(data))
        allowed = (*_ATOMS, np.ndarray, dict, list, tuple) if self._nested else _ATOMS
        for value in data:
            if not isinstance(value, allowed):
                raise safe_pickle.Refused(
                    "has an array of objects that holds a "
                    f"{type(value).__name__.strip('_')}; refused. Only text, bytes and "
                    "numbers are read from such arrays."
                )
        return _nest(data, shape)


class _Dtype(safe_pickle.Pending):
    """A type of numbers, before its byte order is known."""

    def __init__(self, name: Any, align: Any = False, copy: Any = False) -> None:
        super().__init__()
        del align, copy
        if type(name) is not str or not _DTYPES.fullmatch(name):
            raise safe_pickle.Refused(f"has an array of type {name!r:.40}; refused.")
        self._dtype = np.dtype(name[:1] if name[0] == "O" else name)

    def build(self, state: Any) -> np.dtype:
        """Sets the byte order; fields, shapes and metadata are refused."""
        match state:
            case (3, "<" | ">" | "|" as order, None, None, None, int(), int(), int()):
                return self._dtype.newbyteorder(order)
        raise safe_pickle.Refused("has an array of a compound type; refused.")


class _Array(safe_pickle.Pending):
    """An array before its content is known."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self._make = make

    def build(self, state: Any) -> Any:
        """Makes the array."""
        match state:
            case (1, shape, dtype, fortran, data):
                return self._make(shape, dtype, fortran, data)
        raise safe_pickle.Refused("has an array without shape and content; refused.")


def _array(data: Any, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    """Returns a view of `data` as an array, after its declared size was checked."""
    _check_shape(shape)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise safe_pickle.Refused(
            "has an array whose numbers are no bytes (a file of Python 2?)."
        )
    if math.prod(shape) * dtype.itemsize != len(data):
        raise safe_pickle.Refused(
            f"declares an array of {list(shape)} {dtype} but holds {len(data)} bytes "
            "for it; refused."
        )
    flat = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    problem = array_bytes.problem(flat)
    if problem:
        raise safe_pickle.Refused(f"has an array that {problem}; refused.")
    return flat.reshape(shape, order=order)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """An array as protocol 5 spells it."""
    if not isinstance(dtype, np.dtype) or dtype.kind == "O" or order not in ("C", "F"):
        raise safe_pickle.Refused("has an array without a type of numbers.")
    return _array(data, dtype, shape, order)


def _scalar(dtype: Any, data: Any) -> np.generic:
    """One number or text."""
    if not isinstance(dtype, np.dtype) or dtype.kind == "O":
        raise safe_pickle.Refused("has a number without a type of numbers.")
    return _array(data, dtype, (), "C")[()]


def _check_shape(shape: Any) -> None:
    if type(shape) is not tuple or len(shape) > _MOST_AXES:
        raise safe_pickle.Refused("has an array without a proper shape.")
    if any(type(n) is not int or not 0 <= n < 2**62 for n in shape):
        raise safe_pickle.Refused("has an array without a proper shape.")


def _nest(items: list[Any], shape: tuple[int, ...]) -> Any:
    """Turns a flat list into nested ones; no axes: its only element."""
    if not shape:
        return items[0]
    if len(shape) == 1 or not items:
        return items
    step = len(items) // shape[0]
    parts = (items[i : i + step] for i in range(0, len(items), step))
    return [_nest(part, shape[1:]) for part in parts]


def _empty_bytes() -> bytes:
    return b""


def _empty_dict() -> dict[Any, Any]:
    """What `OrderedDict()` becomes; its items follow."""
    return {}


def _refuse_persistent(identity: Any) -> Any:
    del identity
    raise safe_pickle.Refused(f"refers to something outside of it; refused. {_ADVICE}")


def _kind(path: pathlib.Path) -> str:
    """A sentence on what a file is by its first bytes, if that is no pickle."""
    with contextlib.suppress(OSError):
        kind = file_kind.describe(path)
        if kind and "pickle" not in kind and ".npy" not in kind:
            return f" The file is {kind}."
    return ""


class _Measure(NamedTuple):
    """What is reached from a value."""

    elements: int
    levels: int


def _check_tree(root: Any, most: int) -> None:
    """Refuses leftovers of the reading, and containers that hold too much or themselves.

    Args:
      root: What was read.
      most: Elements that may be reached, each counted as often as it is.
    """
    done: dict[int, _Measure | None] = {}  # By id; None: containers that are open.

    def measure(value: Any, level: int) -> _Measure:
        if level == _MOST_LEVELS:
            raise _too_deep()
        done[id(value)] = None
        parts = value.values() if isinstance(value, dict) else value
        elements, levels = len(parts), 0
        for part in parts:
            if isinstance(part, _CONTAINERS):
                inside = look_up(part, level + 1)
                elements += inside.elements
                levels = max(levels, inside.levels)
            elif not isinstance(part, _LEAVES):
                raise _misplaced(part)
        if elements > most:
            raise safe_pickle.Refused(
                f"holds nested lists that unpack to more than {most} elements; refused."
            )
        found = done[id(value)] = _Measure(elements, levels + 1)
        return found

    def look_up(value: Any, level: int) -> _Measure:
        if id(value) not in done:
            return measure(value, level)
        found = done[id(value)]
        if found is None:
            raise safe_pickle.Refused("holds a list inside itself; refused.")
        if level + found.levels > _MOST_LEVELS:
            raise _too_deep()
        return found

    if isinstance(root, _CONTAINERS):
        measure(root, 0)
    elif not isinstance(root, _LEAVES):
        raise _misplaced(root)


def _misplaced(value: Any) -> safe_pickle.Refused:
    return safe_pickle.Refused(
        f"holds a {type(value).__name__.strip('_')} where data belongs; refused. "
        f"{_ADVICE}"
    )


def _too_deep() -> safe_pickle.Refused:
    return safe_pickle.Refused(
        f"nests containers more than {_MOST_LEVELS} deep; refused."
    )
