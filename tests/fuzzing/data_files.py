"""Files of data, sound and damaged, and the commands that read them."""

from collections.abc import Callable, Iterable, Mapping
import gzip
import io
import pathlib
import pickle
from typing import Any
import zipfile

import numpy as np

from fuzzing import case
from fuzzing import world

FILE = "pairs.npz"
# What a table says of a file: the file itself, or changes of a sound one, or its maker.
Making = bytes | str | Mapping[str, Any] | Callable[[case.Room], object]
PAGE = "<!DOCTYPE html><html><title>Sign in</title></html>\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"
# What files of other kinds begin with, and what they are called.
OTHERS: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "empty"),
    "text": ("left,right\n1,2\n", ""),
    "web-page": (PAGE, "web page"),
    "lfs-pointer": (POINTER, "Git LFS pointer"),
    "mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(512, b"\0"), ""),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(500), "HDF5"),
    "gzip": (gzip.compress(b"content"), "gzip"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(200), ""),
    "pdf": (b"%PDF-1.7\n" + bytes(100), "PDF"),
    "parquet": (b"PAR1" + bytes(100) + b"PAR1", ""),
    "zeros": (bytes(4096), ""),
    "old-pth": (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(90),
        "PyTorch file",
    ),
}


def own(file: str = FILE, config: pathlib.Path = world.MRDD, rest: str = "") -> str:
    """A config and its arguments for a file of one's own."""
    return f"{config}:debug,dataset=npz,file={file}{rest}"


REAL = "--config.data.synthetic=False"
TRAINING = ["--workdir=run", "--no-progress"]


def call(command: str, room: case.Room, file: str = FILE) -> list[str]:
    """A command line of MRDD that reads a file."""
    config = [f"--config={own(file)}", REAL]
    if command == "evaluate":
        options = ["--config.data.name=npz", f"--config.data.options.file={file}"]
        workdir = f"--workdir={room.copy('mrdd')}"
        return ["evaluate", workdir, *options, REAL, "--only=knn"]
    if command == "embed":
        workdir = f"--workdir={room.world.get('mrdd')}"
        return ["embed", workdir, f"--input={file}", "--output=codes.npz"]
    return {
        "check": ["data", "check", *config],
        "train": ["train", *config, *TRAINING],
        "bench": ["bench", *config, "--steps=1"],
        "show": ["show", *config, "--no-compile"],
        "chain": [
            "chain", own(file), own(file, world.MRDD_2), REAL, *TRAINING
        ],
    }[command]  # fmt: skip


ALL = ("check", "train", "embed", "bench", "evaluate", "chain", "show")


def spread(
    prefix: str,
    table: Mapping[str, tuple[Making, str]],
    commands: Iterable[str] = ALL,
    *,
    sound: bool = False,
) -> list[case.Case]:
    """A case for each line of a table, the commands taking turns."""
    found, commands = [], tuple(commands)
    for i, (name, (making, says)) in enumerate(table.items()):
        command = commands[i % len(commands)]

        def make(room, command=command, making=making):
            arguments = call(command, room)
            write(room, making)
            return arguments

        code = 0 if sound else 1 if command == "check" else 2
        found.append(case.Case(f"data/{prefix}-{name}-{command}", make, says, code))
    return found


def write(room: case.Room, making: Making, name: str = FILE) -> None:
    """Writes a file of a table."""
    if callable(making):
        making(room)
    elif isinstance(making, Mapping):
        save(room, world.pairs() | making, name)
    else:
        room.file(name, making)


def save(room: case.Room, arrays: Mapping[str, Any], name: str = FILE) -> None:
    """Writes arrays as `np.savez` does, whatever their names are; None: leave it out."""
    members = [(f"{k}.npy", npy(v)) for k, v in arrays.items() if v is not None]
    pack(room, members, name)


def pack(
    room: case.Room,
    members: Iterable[tuple[str, bytes]],
    name: str = FILE,
    packing: int = zipfile.ZIP_STORED,
) -> None:
    """Writes a zip archive of members by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for member, content in members:
            archive.writestr(member, content)
    room.file(name, stream.getvalue())


def npy(array: Any) -> bytes:
    """An array, or anything, as a `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def header(text: str, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """A `.npy` file with a header of one's own."""
    text = text.ljust(117) + "\n"
    return (
        b"\x93NUMPY"
        + version
        + len(text).to_bytes(2, "little")
        + text.encode()
        + content
    )


def members(**changes: bytes) -> list[tuple[str, bytes]]:
    """Members of a sound archive, some with other content."""
    contents = {k: npy(v) for k, v in world.pairs().items()} | changes
    return [(f"{name}.npy", content) for name, content in contents.items()]


class Runs:
    """What a pickle would call; harmless, and never called."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self._made = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._made


def pickled(room: case.Room, name: str, content: Any, protocol: int = 4) -> None:
    """Writes a pickle."""
    room.file(name, pickle.dumps(content, protocol=protocol))


def utterances(count: int = 8, **changes: Any) -> dict[str, Any]:
    """A split of a pickle of MMSA; None takes an array out."""
    rng = np.random.default_rng(count)
    tokens = rng.integers(1000, 2000, (count, 3, 12))
    tokens[:, 1], tokens[:, 2] = 1, 0
    score = rng.uniform(-3, 3, count).astype(np.float32)
    found = {
        "id": [f"clip$_${i}" for i in range(count)],
        "raw_text": ["some words"] * count,
        "text": rng.normal(size=(count, 12, 16)).astype(np.float32),
        "text_bert": tokens.astype(np.float32),
        "audio": rng.normal(size=(count, 30, 5)).astype(np.float32),
        "vision": rng.normal(size=(count, 22, 7)).astype(np.float32),
        "audio_lengths": [30] * count,
        "vision_lengths": [22] * count,
        "regression_labels": score,
        "classification_labels": np.sign(score) + 1,
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def mmsa(**changes: Any) -> dict[str, Any]:
    """The splits of a pickle of MMSA; the changes hold for the training split."""
    train = utterances(8, **changes)
    return {"train": train, "valid": utterances(4), "test": utterances(5)}


def mult(**changes: Any) -> dict[str, Any]:
    """The splits of a pickle of MulT; the changes hold for the training split."""

    def split(count: int, **changes: Any) -> dict[str, Any]:
        kept = ("text", "audio", "vision")
        found = {k: v for k, v in utterances(count).items() if k in kept}
        found["labels"] = utterances(count)["regression_labels"].reshape(-1, 1, 1)
        found["id"] = np.full((count, 3), "clip")
        return {k: v for k, v in (found | changes).items() if v is not None}

    return {"train": split(8, **changes), "valid": split(4), "test": split(5)}


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    """An array as an IDX file."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()
