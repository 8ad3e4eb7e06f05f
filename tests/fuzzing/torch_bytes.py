"""Bytes of PyTorch files, sound and not, written opcode by opcode without PyTorch."""

import io
import math
import pickle
import struct
from typing import Any, NamedTuple
import zipfile

import numpy as np

_KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C


class Name(NamedTuple):
    """A module's attribute: `Name("os.getcwd")`."""

    name: str


class Call(NamedTuple):
    """What a function returns, and the state that it is given afterwards."""

    name: str
    args: tuple = ()
    state: Any = None


class Made(NamedTuple):
    """An object of a class that is made without a call, and its attributes."""

    name: str
    state: Any


class Raw(NamedTuple):
    """Opcodes as they are."""

    content: bytes


class Items(NamedTuple):
    """A dict by its pairs, so that a key may be there twice or be anything."""

    pairs: tuple


class Place(NamedTuple):
    """A persistent id, in whatever form."""

    value: Any


class Tensor(NamedTuple):
    """A view of a storage; what is None is as it should be."""

    array: np.ndarray
    offset: Any = 0
    sizes: Any = None
    strides: Any = None
    kind: str | None = None  # Class of the storage.
    count: Any = None  # Numbers that the storage declares.
    key: Any = None
    more: tuple = ()  # Arguments behind the hooks.


class _Pickler:
    """Collects the storages of the tensors that it writes."""

    def __init__(self) -> None:
        self.storages: dict[str, np.ndarray] = {}

    def write(self, value: Any) -> bytes:
        """Opcodes that put a value on the stack."""
        match value:
            case Raw(content):
                return content
            case Name(name):
                module, _, attribute = name.rpartition(".")
                return f"c{module}\n{attribute}\n".encode()
            case Call(name, args, state):
                made = self.write(Name(name)) + self.write(tuple(args)) + b"R"
                return made if state is None else made + self.write(state) + b"b"
            case Made(name, state):
                return self.write(Name(name)) + b")\x81" + self.write(state) + b"b"
            case Place(value):
                return self.write(value) + b"Q"
            case Tensor():
                return self._tensor(value)
            case np.ndarray():
                return self._tensor(Tensor(value))
            case dict():
                return self.write(Items(tuple(value.items())))
            case Items(pairs):
                items = b"".join(self.write(k) + self.write(v) for k, v in pairs)
                return b"}(" + items + b"u"
            case list():
                return b"](" + b"".join(map(self.write, value)) + b"e"
            case tuple():
                return b"(" + b"".join(map(self.write, value)) + b"t"
        return pickle.dumps(value, 2)[2:-1]

    def _tensor(self, tensor: Tensor) -> bytes:
        array = tensor.array
        key = str(len(self.storages)) if tensor.key is None else tensor.key
        self.storages.setdefault(str(key), np.asarray(array, order="C"))
        kind = tensor.kind or f"torch.{_KINDS[str(array.dtype)]}"
        count = array.size if tensor.count is None else tensor.count
        place = Place(("storage", Name(kind), key, "cpu", count))
        sizes = array.shape if tensor.sizes is None else tensor.sizes
        strides = tensor.strides
        if strides is None:
            strides = tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))
        hooks = Call("collections.OrderedDict")
        args = (place, tensor.offset, sizes, strides, False, hooks, *tensor.more)
        return self.write(Call("torch._utils._rebuild_tensor_v2", args))


def pickled(value: Any) -> tuple[bytes, dict[str, np.ndarray]]:
    """A pickle of protocol 2, and the storages of its tensors by key."""
    pickler = _Pickler()
    return b"\x80\x02" + pickler.write(value) + b".", pickler.storages


def zipped(
    value: Any,
    *,
    storages: dict[str, bytes] | None = None,
    drop: tuple[str, ...] = (),
    more: tuple[tuple[str, bytes], ...] = (),
    packing: int = zipfile.ZIP_STORED,
    order: bytes = b"little",
) -> bytes:
    """The format of PyTorch 1.6 and later.

    Args:
      value: What is saved.
      storages: Bytes of storages by key, in place of what belongs there.
      drop: Entries that are left out.
      more: Entries by name that come last.
      packing: How the entries are packed.
      order: What the file says of the order of bytes.
    """
    content, arrays = pickled(value)
    entries = [("archive/data.pkl", content), ("archive/byteorder", order)]
    held = {key: array.tobytes() for key, array in arrays.items()} | (storages or {})
    entries += [(f"archive/data/{key}", raw) for key, raw in held.items()]
    entries += [("archive/version", b"3\n"), *more]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, raw in entries:
            if name not in drop:
                archive.writestr(name, raw)
    return stream.getvalue()


def legacy(
    value: Any,
    *,
    magic: int = MAGIC,
    version: int = 1001,
    little: bool = True,
    keys: Any = None,
    counts: int = 0,
) -> bytes:
    """The format before PyTorch 1.6.

    Args:
      value: What is saved.
      magic: The first pickle.
      version: The second.
      little: Whether it says that its numbers are little-endian.
      keys: The list of storages, in place of the true one.
      counts: What is added to the number of numbers of each storage.
    """
    content, arrays = pickled(value)
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {}}
    parts = [pickle.dumps(head, 2) for head in (magic, version, system)]
    parts += [content, pickle.dumps(list(arrays) if keys is None else keys, 2)]
    for array in arrays.values():
        parts += [struct.pack("<q", array.size + counts), array.tobytes()]
    return b"".join(parts)
