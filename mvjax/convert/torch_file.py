"""PyTorch files (`.pth`, `.pt`, `.bin`, `.ckpt`) without PyTorch, running nothing.

Reads the zip format (PyTorch 1.6 and later) and the stream format before it:

    zip:    <folder>/data.pkl, <folder>/data/<key> for each storage, <folder>/byteorder
    stream: pickles of a magic number, a version, the system, the content and the list
            of storage keys; then for each storage a count (8 bytes) and its numbers

In both, a tensor is a view (offset, sizes, strides) of a storage that it names by key.
A file may lie: every view is checked against its storage, and a file cannot make the
reader allocate more than it holds itself. Writes the zip format, which
`torch.load(weights_only=True)` accepts.
"""

import collections
from collections.abc import Callable, Mapping
import io
import math
import os
import pathlib
import struct
from typing import Any, BinaryIO
import zipfile

import ml_dtypes
import numpy as np

from mvjax.convert import torch_module
from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import safe_pickle

_MAGIC = 0x1950A86A20F9469CFC6C  # The first pickle of the stream format holds it.
_VERSION = 1001  # The second pickle of the stream format holds it.
_ZIP_HEAD = b"PK\x03\x04"
_PICKLE_HEAD = b"\x80"
_CHUNK = 1 << 24  # So many bytes are read at a time.
_MOST_AXES = 64  # A NumPy array has no more axes.
_ALIGN = 64  # Storages begin at multiples of so many bytes, as PyTorch writes them.

_DTYPES: dict[str, tuple[str, np.dtype]] = {  # Storage class -> torch dtype, NumPy's.
    "DoubleStorage": ("float64", np.dtype("<f8")),
    "FloatStorage": ("float32", np.dtype("<f4")),
    "HalfStorage": ("float16", np.dtype("<f2")),
    "BFloat16Storage": ("bfloat16", np.dtype(ml_dtypes.bfloat16)),
    "LongStorage": ("int64", np.dtype("<i8")),
    "IntStorage": ("int32", np.dtype("<i4")),
    "ShortStorage": ("int16", np.dtype("<i2")),
    "CharStorage": ("int8", np.dtype("i1")),
    "ByteStorage": ("uint8", np.dtype("u1")),
    "BoolStorage": ("bool", np.dtype("?")),
}
_ADVICE = "Only tensors, plain containers and modules are read."
_STORAGE_OF = {dtype: storage for storage, (_, dtype) in _DTYPES.items()}
_VALUES = {
    f"torch.{name}": dtype
    for storage, (torch, dtype) in _DTYPES.items()
    for name in (storage, torch)
} | {"torch.storage.UntypedStorage": np.dtype("u1")}


def read(path: str | os.PathLike) -> Any:
    """Reads what `torch.save` wrote, as far as it is made of tensors and plain data.

    Args:
      path: A file in the zip or in the older stream format.

    Returns:
      The object in the file: dicts, lists, tuples, strings and numbers; tensors and
      parameters as arrays, shared and strided as in the file; `torch.Size` as a
      tuple, `torch.device` as a string, `torch.dtype` as a NumPy dtype; a whole module
      (`torch.save(model)`) as what its `state_dict()` would be. Objects of other
      classes, and what other functions would return, are `safe_pickle.Instance`.

    Raises:
      UserError: There is no such file, it is damaged, or of another kind.
    """
    path, head = pathlib.Path(path), b""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(len(_ZIP_HEAD))
            stream.seek(0)
            read = _read_zip if head == _ZIP_HEAD else _read_stream
            return torch_module.replace(read(stream, size))
    except safe_pickle.Refused as error:
        raise errors.UserError(f"{path} {error}") from None
    except OSError as error:
        reason = error.strerror or error
        raise errors.UserError(f"Cannot read {path}: {reason}.") from None
    except Exception as error:  # Garbage may raise anything; none of it was run.
        alike = head == _ZIP_HEAD or head[:1] == _PICKLE_HEAD
        what = "" if alike else file_kind.clause(path)
        raise errors.UserError(
            f"{path} is no complete PyTorch file{what or f' ({error!r:.200})'}."
        ) from error


def _load(stream: BinaryIO, storages: "_Storages") -> Any:
    """Reads one pickle with the names that `torch.save` uses."""
    functions: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": storages.view,
        "torch._utils._rebuild_tensor_v2": storages.view,
        "torch._tensor._rebuild_from_type": storages.view_of_type,
        "torch._tensor._rebuild_from_type_v2": storages.view_of_type,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch.Size": _size,
        "torch.device": _device,
        "__builtin__.set": _set,  # Protocols 2 and 3 write this name.
        "builtins.set": _set,
    }
    return safe_pickle.load(
        stream,
        functions=functions,
        values=_VALUES,
        persistent=storages.find,
        advice=_ADVICE,
        objects=True,
    )


def _parameter(data: Any, requires_grad: bool, hooks: Any, state: Any = None) -> Any:
    del requires_grad, hooks, state  # The state holds attributes that a user added.
    if not isinstance(data, np.ndarray | safe_pickle.Instance):
        raise safe_pickle.Refused("has a parameter that is no tensor.")
    return data


def _size(sizes: Any) -> tuple[int, ...]:
    if not _are_lengths(sizes):
        raise safe_pickle.Refused("has a torch.Size that is no tuple of integers.")
    return sizes


def _device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise safe_pickle.Refused("has a torch.device without a name.")
    return kind if index is None else f"{kind}:{index}"


def _set(items: Any = ()) -> tuple[Any, ...]:
    """The items of a set; nothing is hashed."""
    if type(items) not in (list, tuple):
        raise safe_pickle.Refused("has a set that was not made of a list.")
    return tuple(items)


def _are_lengths(values: Any) -> bool:
    """Whether this is a tuple of whole numbers, none below zero."""
    return type(values) is tuple and all(type(n) is int and n >= 0 for n in values)


class _Storages:
    """The storages of one file by key, each in memory once, and views of them."""

    def __init__(
        self, size: int, fill: Callable[[str, np.ndarray], None] | None = None
    ) -> None:
        """Takes the file size in bytes and what reads a storage (None: done later)."""
        self.arrays: dict[str, np.ndarray] = {}
        self._size = size
        self._left = size  # The file can still hold so many bytes.
        self._fill = fill

    def find(self, persistent_id: Any) -> Any:
        """Returns the storage, `[N]`, or the class that a persistent id names.

        A storage of a type that NumPy lacks is an object that was not made.
        """
        match persistent_id:
            case ("storage", np.dtype() as dtype, str(key), _, int(count)):
                pass
            case ("storage", np.dtype() as dtype, str(key), _, int(count), None):
                pass
            case ("module", safe_pickle.Stranger() as kind, _, _):
                return kind  # This is a module's class, in the stream format.
            case ("storage", safe_pickle.Stranger() as kind, *_):
                if self._fill is None:  # Its storage was not found.
                    raise safe_pickle.Refused(f"holds numbers of {kind.name!r}.")
                return safe_pickle.Instance(kind.name)
            case _:
                raise safe_pickle.Refused(f"has an unknown persistent id. {_ADVICE}")
        if key not in self.arrays:
            self._left -= count * dtype.itemsize
            if count < 0 or self._left < 0:
                raise safe_pickle.Refused("declares more numbers than it has room for.")
            raw = np.empty(count * dtype.itemsize, np.uint8)
            if self._fill is not None:
                self._fill(key, raw)
            self.arrays[key] = raw.view(dtype)
        array = self.arrays[key]
        if (array.size, array.dtype) != (count, dtype):
            raise safe_pickle.Refused(f"declares storage {key!r} in two ways.")
        return array

    def view(
        self,
        storage: Any,
        offset: Any,
        sizes: Any,
        strides: Any,
        requires_grad: bool = False,
        hooks: Any = None,
        flags: Any = None,
    ) -> np.ndarray | safe_pickle.Instance:
        """Returns a tensor of a storage; offset and strides count numbers, not bytes."""
        del requires_grad, hooks
        if isinstance(storage, safe_pickle.Instance):
            return storage
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or flags:
            raise safe_pickle.Refused("has a tensor of an unknown kind.")
        good = _are_lengths(sizes) and _are_lengths(strides) and _are_lengths((offset,))
        if not good or not len(sizes) == len(strides) <= _MOST_AXES:
            raise safe_pickle.Refused("has a tensor without proper sizes or strides.")
        count = math.prod(sizes)
        if count == 0:
            return np.empty(sizes, storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides))
        if last >= storage.size or count > self._size:
            raise safe_pickle.Refused(
                f"has a tensor of sizes {sizes}, strides {strides} and offset {offset} "
                f"that reaches outside its storage of {storage.size}."
            )
        width = storage.itemsize
        return np.ndarray(
            sizes,
            storage.dtype,
            buffer=storage.view(np.uint8),
            offset=offset * width,
            strides=tuple(step * width for step in strides),
        )

    def view_of_type(self, function: Any, kind: Any, args: Any, state: Any) -> Any:
        """Returns a tensor of a class of its own, or with attributes, without them."""
        del state
        known = safe_pickle.stands_for(function, self.view)
        if not known or type(args) is not tuple:
            return safe_pickle.Instance(safe_pickle.kind_of(kind))
        return self.view(*args)


def _fill(stream: BinaryIO, raw: np.ndarray) -> None:
    """Reads exactly as many bytes as `raw`, `[N]` uint8, has."""
    view = memoryview(raw)
    while view:
        count = stream.readinto(view[:_CHUNK])
        if not count:
            raise EOFError("the numbers of a tensor are cut off")
        view = view[count:]


def _read_stream(stream: BinaryIO, size: int) -> Any:
    """Reads the format before PyTorch 1.6."""
    storages = _Storages(size)
    if _load(stream, storages) != _MAGIC or _load(stream, storages) != _VERSION:
        raise safe_pickle.Refused("was not written by torch.save.")
    if not _load(stream, storages).get("little_endian", True):
        raise safe_pickle.Refused("has big-endian numbers, which are not supported.")
    content = _load(stream, storages)
    keys = _load(stream, storages)
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise safe_pickle.Refused("has no list of its storages.")
    for key in keys:
        array = storages.arrays[key]
        count = int.from_bytes(stream.read(8), "little")
        if count != array.size:
            raise safe_pickle.Refused(f"declares storage {key!r} in two ways.")
        _fill(stream, array.view(np.uint8))
    if set(keys) != set(storages.arrays):
        raise safe_pickle.Refused("lacks the numbers of some tensors.")
    return content


def _read_zip(stream: BinaryIO, size: int) -> Any:
    """Reads the format of PyTorch 1.6 and later."""
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        roots = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(roots) != 1:
            arrays = any(name.endswith(".npy") for name in names)
            hint = " Is it an .npz file? Then its name must say so." if arrays else ""
            raise safe_pickle.Refused(
                f"is a zip file that torch.save did not write.{hint}"
            )
        folder = roots[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in names:
            raise safe_pickle.Refused(
                "is a TorchScript archive, which is a program; save the state dict of "
                "its module instead: torch.save(torch.jit.load(FILE).state_dict(), ...)."
            )
        if len(set(names)) < len(names):
            twice = [name for name, n in collections.Counter(names).items() if n > 1]
            raise safe_pickle.Refused(f"holds {errors.listed(twice)} twice.")

        def fill(key: str, raw: np.ndarray) -> None:
            info = _stored(archive, f"{folder}data/{key}")
            if info.file_size != raw.nbytes:
                raise safe_pickle.Refused(f"declares storage {key!r} in two ways.")
            with archive.open(info) as entry:
                _fill(entry, raw)

        order = f"{folder}byteorder"
        if order in names and archive.read(_stored(archive, order)) != b"little":
            raise safe_pickle.Refused(
                "has big-endian numbers, which are not supported."
            )
        content = archive.read(_stored(archive, roots[0]))
        return _load(io.BytesIO(content), _Storages(size, fill))


def _stored(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Finds an entry and refuses one that could grow when it is unpacked."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > info.compress_size:
        raise safe_pickle.Refused("is compressed; torch.save does not do that.")
    return info


def write(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict that `torch.load(weights_only=True)` reads.

    Equal tensors give equal bytes. The file replaces `path` once it is complete.
    Several names of one array object share a storage, as tied weights do.

    Args:
      path: The file.
      tensors: Arrays by key: float16, bfloat16, float32, float64, int8 to int64,
        uint8 or bool, of any shape.

    Raises:
      UserError: PyTorch has no such type, or the file cannot be written there.
    """
    tensors = dict(tensors)  # This keeps the arrays, so that identities stay unique.
    storages: dict[int, tuple[str, np.ndarray]] = {}  # (key, array) by identity.
    items = []
    for name, tensor in tensors.items():
        fresh = (str(len(storages)), _native(name, tensor))
        key, array = storages.setdefault(id(tensor), fresh)
        items.append(_text(name) + _tensor_ops(key, array))
    entries = {"data.pkl": _pickle(items), "byteorder": b"little"}
    entries |= {
        f"data/{key}": memoryview(array.reshape(-1).view(np.uint8))
        for key, array in storages.values()
    }
    entries["version"] = b"3\n"
    with atomic.replace(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(f"archive/{name}")  # Such an entry has a fixed date.
            padding = -(stream.tell() + 30 + len(info.filename) + 4) % _ALIGN
            info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            archive.writestr(info, content)


def _native(name: str, tensor: np.ndarray) -> np.ndarray:
    """A contiguous little-endian array with the values of `tensor`."""
    array = np.asarray(tensor, order="C")
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    if array.dtype not in _STORAGE_OF:
        choices = [torch for torch, _ in _DTYPES.values()]
        raise errors.unknown(f"PyTorch type of {name!r}:", str(array.dtype), choices)
    return array


def _pickle(items: list[bytes]) -> bytes:
    """An `OrderedDict` of items, pickle protocol 2."""
    return b"\x80\x02" + _ORDERED_DICT + b"(" + b"".join(items) + b"u."


_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # GLOBAL, EMPTY_TUPLE, REDUCE.


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded  # BINUNICODE


def _integer(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)  # BININT
    return b"\x8a\x08" + struct.pack("<q", value)  # LONG1


def _integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"  # MARK, TUPLE


def _tensor_ops(key: str, array: np.ndarray) -> bytes:
    """Calls `torch._utils._rebuild_tensor_v2` for the whole of one storage."""
    storage = f"ctorch\n{_STORAGE_OF[array.dtype]}\n".encode()  # GLOBAL
    place = _text("storage") + storage + _text(key) + _text("cpu")
    sizes = [max(n, 1) for n in array.shape]
    strides = tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))
    return b"".join(
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n(",  # GLOBAL, MARK
            b"(" + place + _integer(array.size) + b"tQ",  # TUPLE, BINPERSID
            _integer(0),  # The offset is zero.
            _integers(array.shape),
            _integers(strides),
            b"\x89" + _ORDERED_DICT,  # requires_grad=False, no hooks.
            b"tR",  # TUPLE, REDUCE
        ]
    )
