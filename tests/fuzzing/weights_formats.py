"""Files of weights that are of another kind, and damaged safetensors and NumPy archives."""

from collections.abc import Iterator
import gzip
import io
import json
import os
import pickle
import struct
from typing import Any
import zipfile

import numpy as np

from fuzzing import case
from fuzzing import torch_bytes as pt
from fuzzing import torch_toy as toy

PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n"
# Name: (content, what is said of it).
OTHERS = {
    "empty": (b"", "an empty file"),
    "one-byte": (b"\x80", "FILE"),
    "web-page": (PAGE, "a web page"),
    "lfs-pointer": (POINTER, "a Git LFS pointer"),
    "text": (b"weights go here\n", "FILE"),
    "json": (b'{"left.weight": [1, 2]}', "FILE"),
    "xml": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "a web page"),
    "gzip": (gzip.compress(b"abc", mtime=0), "a gzip file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "FILE"),
    "pdf": (b"%PDF-1.7\n" + bytes(99), "a PDF"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(999), "an HDF5 file"),
    "gguf": (b"GGUF\3\0\0\0" + bytes(99), "FILE"),
    "zeros": (bytes(4096), "FILE"),
    "plain-pickle": (pickle.dumps({"a": [1.0, 2.0]}, 4), "FILE"),
    "python": (b"import os\nos.mkdir('ran')\n", "FILE"),
}


def safetensors(
    header: Any,
    numbers: bytes = bytes(64),
    *,
    length: int | None = None,
) -> bytes:
    """A file with this header: an object, or bytes as they are."""
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    size = len(header) if length is None else length
    return struct.pack("<Q", size) + header + numbers


def entry(shape: Any = (4,), dtype: Any = "F32", offsets: Any = (0, 16)) -> dict:
    """What a header says of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


_WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}


def whole(dtype: str = "F32", **extra: Any) -> bytes:
    """The toy's weights as safetensors, floats of this type."""
    header, numbers = dict(extra), b""
    for key, array in toy.state().items():
        kind = dtype if array.dtype.kind == "f" else "I64"
        size = _WIDTHS[kind]
        raw = bytes(array.size * size)
        end = len(numbers) + len(raw)
        header[key] = entry(array.shape, kind, (len(numbers), end))
        numbers += raw
    return safetensors(header, numbers)


# Name: (content, what is said beside the file).
SAFETENSORS = {
    "only-length": (struct.pack("<Q", 8), ""),
    "length-of-petabytes": (safetensors({}, length=1 << 50), ""),
    "length-negative": (safetensors({}, length=(1 << 64) - 1), ""),
    "length-beyond": (safetensors({"a": entry()}, b"", length=9999), ""),
    "length-short": (safetensors({"a": entry()}, length=20), ""),
    "header-no-json": (safetensors(b"{left: 3}"), ""),
    "header-list": (safetensors([1, 2]), ""),
    "header-binary": (safetensors(b"{\xff\xfe\0}"), ""),
    "header-empty": (safetensors({}, b""), "holds no state dict"),
    "header-deep": (safetensors(b'{"a":' + b"[" * 5000), ""),
    "header-twice": (
        safetensors(
            b'{"a":'
            + json.dumps(entry()).encode()
            + b',"a":'
            # The same name with other numbers.
            + json.dumps(entry(offsets=(16, 32))).encode()
            + b"}",
            bytes(32),
        ),
        "a",
    ),
    "no-dtype": (safetensors({"a": {"shape": [4], "data_offsets": [0, 16]}}), ""),
    "no-shape": (safetensors({"a": {"dtype": "F32", "data_offsets": [0, 16]}}), ""),
    "no-offsets": (safetensors({"a": {"dtype": "F32", "shape": [4]}}), ""),
    "unknown-dtype": (safetensors({"a": entry(dtype="F33")}), ""),
    "dtype-number": (safetensors({"a": entry(dtype=32)}), ""),
    "shape-negative": (safetensors({"a": entry((-4,))}), ""),
    "shape-text": (safetensors({"a": entry("4")}), ""),
    "shape-floats": (safetensors({"a": entry((4.0,))}), ""),
    "shape-too-large": (safetensors({"a": entry((1 << 40, 1 << 40))}), ""),
    "shape-other": (safetensors({"a": entry((5,))}), ""),
    "offsets-beyond": (safetensors({"a": entry(offsets=(100, 116))}), ""),
    "offsets-backwards": (safetensors({"a": entry(offsets=(16, 0))}), ""),
    "offsets-negative": (safetensors({"a": entry(offsets=(-16, 0))}), ""),
    "offsets-three": (safetensors({"a": entry(offsets=(0, 8, 16))}), ""),
    "offsets-overlap": (
        safetensors({"a": entry(), "b": entry(offsets=(8, 24))}, bytes(24)),
        "",
    ),
    "offsets-gap": (
        safetensors({"a": entry(), "b": entry(offsets=(32, 48))}, bytes(48)),
        "",
    ),
    "trailing": (safetensors({"a": entry()}, bytes(17)), ""),
    "metadata-of-numbers": (
        safetensors({"__metadata__": {"step": 3}, "a": entry()}, bytes(16)),
        "",
    ),
    "metadata-list": (
        safetensors({"__metadata__": [], "a": entry()}, bytes(16)),
        "",
    ),
    "entry-is-text": (safetensors({"a": "text"}), ""),
    "float8": (whole("F8_E4M3"), "8|E4M3"),
    "integers": (whole("I32"), r"without floats: left.weight \(int32\)"),
    "other-network": (
        safetensors({"conv.weight": entry()}, bytes(16)),
        "missing keys: left.weight.*left-over keys: conv.weight",
    ),
    "key-with-newline": (
        safetensors({"a\nb": entry()}, bytes(16)),
        r"left-over keys: 'a\\nb'",
    ),
}


def archive(
    arrays: dict[str, Any],
    *more: tuple[str, bytes],
    packing: int = zipfile.ZIP_STORED,
) -> bytes:
    """An `.npz` of arrays and other members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as target:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=True)
            target.writestr(f"{name}.npy", member.getvalue())
        for name, content in more:
            target.writestr(name, content)
    return stream.getvalue()


def member(shape: str, kind: str = "<f4", held: int = 96) -> bytes:
    """A `.npy` that declares a shape and a type and holds so many bytes."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    start = b"\x93NUMPY\1\0" + struct.pack("<H", len(header))
    return start + header.encode() + bytes(held)


def other_weight(array: Any) -> bytes:
    return archive(toy.state(left_weight=array))


class Code:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


def with_member(content: bytes) -> bytes:
    return archive(toy.state(left_weight=None), ("left.weight.npy", content))


# Name: (content, what is said).
NPZ = {
    "objects": (other_weight(np.array([1, None], object)), "'left.weight' .*objects"),
    "code": (other_weight(np.array([Code()], object)), "'left.weight' .*objects"),
    "text": (other_weight(np.array(["a", "b"])), "no numbers in 'left.weight'"),
    "dates": (other_weight(np.array(["2020"], "M8[Y]")), "'left.weight'"),
    "records": (other_weight(np.zeros(3, "i4,f4")), "'left.weight'"),
    "complex": (other_weight(toy.WEIGHT * 1j), "without floats: left.weight"),
    "integers": (other_weight(toy.WEIGHT.astype(int)), "without floats: left.weight"),
    "long-double-nan": (
        other_weight(toy.WEIGHT.astype(np.longdouble) * np.nan),
        "left.weight",
    ),
    "nan": (other_weight(toy.WEIGHT * np.nan), "NaN .*left.weight"),
    "transposed": (other_weight(toy.WEIGHT.T), r"left.weight: file has \(6, 4\)"),
    "declares-more": (with_member(member("(8, 6)")), "'left.weight' declares"),
    "declares-terabytes": (
        with_member(member("(1000000, 1000000)")),
        "'left.weight' declares",
    ),
    "declares-negative": (with_member(member("(-4, 6)")), "'left.weight'"),
    "declares-floats": (with_member(member("(4.0, 6)")), "'left.weight'"),
    "declares-code": (with_member(member("(open('ran', 'w'),)")), "'left.weight'"),
    "no-type": (with_member(member("(4, 6)", "<q9")), "'left.weight'"),
    "no-array": (with_member(b"text"), "'left.weight'"),
    "member-empty": (with_member(b""), "'left.weight'"),
    "member-of-text": (
        archive(toy.state(), ("readme.txt", b"mine")),
        "'readme.txt' is no .npy member",
    ),
    "member-elsewhere": (
        archive(toy.state(), ("../../left.npy", member("(4, 6)"))),
        "left-over keys: ../../left",
    ),
    "no-members": (archive({}), "no NumPy arrays"),
    "images": (
        archive({"image": np.zeros((4, 8, 8, 1), np.float32)}),
        "missing keys: left.weight.*left-over keys: image",
    ),
    "missing": (archive(toy.state(bn_weight=None)), "missing keys: bn.weight"),
    "pytorch-inside": (pt.zipped(toy.state()), "a PyTorch file: give it the ending"),
    "bzip2": (
        archive(toy.state(), packing=zipfile.ZIP_BZIP2),
        "'left.weight' is compressed in a way",
    ),
}
SOUND = {
    "safetensors": (whole, "a.safetensors"),
    "safetensors-half": (lambda: whole("F16"), "a.safetensors"),
    "safetensors-bfloat16": (lambda: whole("BF16"), "a.safetensors"),
    "safetensors-double": (lambda: whole("F64"), "a.safetensors"),
    "safetensors-with-metadata": (
        lambda: whole(__metadata__={"format": "pt"}),
        "a.safetensors",
    ),
    "safetensors-as-bin": (whole, "a.bin"),
    "safetensors-as-pth": (whole, "a.pth"),
    "npz": (lambda: archive(toy.state()), "a.npz"),
    "npz-packed": (
        lambda: archive(toy.state(), packing=zipfile.ZIP_DEFLATED),
        "a.npz",
    ),
    "npz-big-endian": (lambda: other_weight(toy.WEIGHT.astype(">f4")), "a.npz"),
    "npz-fortran": (lambda: other_weight(np.asfortranarray(toy.WEIGHT)), "a.npz"),
    "npz-prefixed": (lambda: archive(toy.wrapped("module.")), "a.npz"),
    "upper-case": (lambda: pt.zipped(toy.state()), "A.PTH"),
    "checkpoint": (lambda: pt.zipped({"state_dict": toy.state()}), "last.ckpt"),
    "name-with-spaces": (lambda: pt.zipped(toy.state()), "my weights=1,2:3.pth"),
    "name-of-umlauts": (lambda: pt.zipped(toy.state()), "größe.pt"),
}
ENDINGS = ("a.h5", "a", "a.pth.tar", "a.pkl", "a.onnx", "a.npy", "a.pth.gz", "a.json")


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    for name, (content, says) in OTHERS.items():
        for ending in (".pth", ".safetensors", ".npz"):
            file = f"a{ending}"
            says_here = f"{file}.*{says.replace('FILE', '')}"
            yield toy.convert(f"{name}{ending}", content, says_here, file=file)
    for name, (content, says) in SAFETENSORS.items():
        args = (f"safetensors-{name}", content, f"a.safetensors.*{says}")
        yield toy.convert(*args, file="a.safetensors")
    content = whole()
    for cut in (7, 8, 60, len(content) // 2, len(content) - 1):
        args = (f"safetensors-cut-{cut}", content[:cut], "a.safetensors is no complete")
        yield toy.convert(*args, file="a.safetensors")
    for name, (content, says) in NPZ.items():
        yield toy.convert(f"npz-{name}", content, f"a.npz.*{says}", file="a.npz")
    content = archive(toy.state())
    for cut in (40, len(content) // 2, len(content) - 1):
        yield toy.convert(f"npz-cut-{cut}", content[:cut], "a.npz", file="a.npz")
    flipped = bytearray(content)
    flipped[content.index(toy.state()["left.weight"].tobytes()) + 5] ^= 16
    yield toy.convert("npz-flipped", bytes(flipped), "a.npz.*left.weight", file="a.npz")
    for name, (made, file) in SOUND.items():
        yield toy.convert(f"sound-{name}", made, "", 0, file=file)
    for file in ENDINGS:
        says = f"suffix of .*{file}.*Choices: .*.safetensors"
        yield toy.convert(f"ending-{file}", b"abc", says, file=file)
