"""Files named `.npz`: of other kinds, damaged as archives, with members of other kinds."""

import os
import pickle
import socket
import zipfile

import numpy as np

from fuzzing import case
from fuzzing import data_files as files
from fuzzing import world

IMAGE = files.npy(world.pairs()["image"])
SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
BAD = r"pairs\.npz.*'image'.*"


def damaged(**changes: bytes):
    """An archive with other content of some members."""
    return lambda room: files.pack(room, files.members(**changes))


def added(name: str, content: bytes = b"x"):
    """A sound archive and one member more."""
    return lambda room: files.pack(room, [*files.members(), (name, content)])


def only(*members: tuple[str, bytes]):
    """An archive of these members."""
    return lambda room: files.pack(room, members)


def packed(packing: int):
    """A sound archive, packed in one way."""
    return lambda room: files.pack(room, files.members(), packing=packing)


def changed(change):
    """A sound archive whose bytes a function changes."""

    def make(room: case.Room) -> None:
        files.pack(room, files.members())
        path = room.folder / files.FILE
        path.write_bytes(change(bytearray(path.read_bytes())))

    return make


def encrypt(content: bytearray) -> bytearray:
    """Sets the flag of encryption of each member, in both places."""
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.find(sign)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(sign, at + 1)
    return content


def flip(content: bytearray) -> bytearray:
    """Changes numbers in the middle of the first member."""
    content[40_000] ^= 0xFF
    return content


def declare(size: int):
    """The archive says of its first member that it unpacks to so many bytes."""

    def change(content: bytearray) -> bytearray:
        at = content.find(b"PK\1\2")
        content[at + 24 : at + 28] = size.to_bytes(4, "little")
        return content

    return change


def link(room: case.Room) -> None:
    """A link to a sound file."""
    os.symlink(room.world.get("pairs.npz"), room.folder / files.FILE)


def listen(room: case.Room) -> None:
    """A socket, whose name must be short."""
    here = os.getcwd()
    os.chdir(room.folder)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(files.FILE)
    os.chdir(here)


KINDS = {
    name: (content, r"pairs\.npz is no \.npz file.*" + kind)
    for name, (content, kind) in files.OTHERS.items()
} | {
    "missing": (lambda room: None, r"pairs\.npz: No such file"),
    "folder": (lambda room: (room.folder / files.FILE).mkdir(), "is a folder"),
    "link-to-nothing": (
        lambda room: os.symlink("gone.npz", room.folder / files.FILE),
        r"pairs\.npz: No such file",
    ),
    "link-to-itself": (
        lambda room: os.symlink(files.FILE, room.folder / files.FILE),
        r"pairs\.npz.*symbolic",
    ),
    "fifo": (lambda room: os.mkfifo(room.folder / files.FILE), "is no file"),
    "socket": (listen, "is no file"),
    "npy": (IMAGE, r"single NumPy array \(\.npy\)"),
    "pickle": (pickle.dumps({"image": [1.0]}), "a pickle"),
    "cut": (changed(lambda content: content[:-100]), r"pairs\.npz is no .*truncated"),
    "half": (changed(lambda content: content[: len(content) // 2]), "truncated"),
    "start-lost": (changed(lambda content: content[5000:]), BAD + "damage"),
    "pth": (only(("archive/data.pkl", b"\x80\2}."), ("archive/data/0", b"")), r"\.pth"),
    "zip-of-images": (only(("image/0.png", b""), ("image/1.png", b"")), "image/0.png"),
    "xlsx": (only(("xl/workbook.xml", b"<x/>")), r"no NumPy arrays.*xl/workbook\.xml"),
    "nothing": (only(), r"pairs\.npz holds no NumPy arrays.*nothing"),
    "only-folders": (only(("image/", b"")), "no NumPy arrays.*nothing"),
}
MEMBERS = {
    "encrypted": (changed(encrypt), BAD + "encrypted"),
    "flipped": (changed(flip), BAD + "damage.*CRC"),
    "without-ending": (added("thumb"), r"'thumb' is no \.npy member"),
    "of-macos": (added("__MACOSX/._image.npy"), r"__MACOSX/\._image.*no \.npy header"),
    "readme": (added("README.txt"), r"README\.txt.*no \.npy member"),
    "folder-inside": (
        only(*((f"data/{name}", x) for name, x in files.members())),
        "'data/(split|image)'",
    ),
    "bzip2": (packed(zipfile.ZIP_BZIP2), BAD + "number 12 of the zip format"),
    "lzma": (packed(zipfile.ZIP_LZMA), BAD + "number 14 of the zip format"),
    "twice": (added("image.npy", IMAGE), BAD + "is there twice"),
    "empty": (damaged(image=b""), BAD + r"no \.npy header"),
    "huge-shape": (
        damaged(image=files.header(SHAPE % "(99999999, 32, 32, 1)", bytes(64))),
        BAD + "declares.*holds 64",
    ),
    "beyond-int64": (
        damaged(image=files.header(SHAPE % "(99999999999999999999, 9)", bytes(64))),
        BAD + "declares.*holds 64",
    ),
    "longer": (damaged(image=IMAGE + bytes(4096)), BAD + r"declares \[24, 32, 32, 1\]"),
    "shorter": (damaged(image=IMAGE[:-4]), BAD + "but holds"),
    "declared-less": (changed(declare(1000)), BAD + "damage.*CRC"),
    "version-9": (damaged(image=files.header(SHAPE % "(1,)", b"", b"\x09\x09")), BAD),
    "no-literal": (damaged(image=files.header("__import__('os')")), BAD + "header"),
    "no-shape": (damaged(image=files.header("{'descr': '<f4'}")), BAD + "header"),
    "negative-shape": (damaged(image=files.header(SHAPE % "(-24, 9)")), BAD + "shape"),
    "forty-axes": (damaged(image=files.header(SHAPE % ((1,) * 40,), bytes(4))), BAD),
    "float-shape": (damaged(image=files.header(SHAPE % "(2.0, 2)", bytes(16))), BAD),
    "objects": ({"image": np.array([{}] * 24)}, BAD + "objects, which are not read"),
    "code": (
        {"image": np.array([files.Runs(os.getcwd)] * 24, object)},
        BAD + "objects, which are not read",
    ),
    "text-objects": (
        {"label": np.array(["a"] * 24, object)},
        r"'label'.*astype\(str\)",
    ),
    "ragged": (
        {"edge": np.array([np.zeros(i) for i in range(24)], object)},
        "'edge' holds objects",
    ),
    "structured": ({"image": np.zeros(24, "f4,i2")}, BAD + "expected numbers"),
    "sizeless": ({"image": np.zeros(24, "V0")}, BAD + "without a size"),
    "wrong-booleans": (
        damaged(
            image=files.header(SHAPE.replace("<f4", "|b1") % "(24, 2)", b"\7" * 48)
        ),
        BAD + "booleans that are none",
    ),
    "wrong-text": (
        damaged(
            label=files.header(SHAPE.replace("<f4", "<U1") % "(24,)", b"\xff" * 96)
        ),
        "'label'.*text that is none",
    ),
}
SOUND = {
    "plain": ({}, "class 2"),
    "compressed": (packed(zipfile.ZIP_DEFLATED), ""),
    "folder-entries": (
        only(("data/", b""), *files.members()), "class 2"
    ),
    "behind-a-start": (changed(lambda content: bytearray(b"#!/bin/sh\n") + content), ""),
    "with-a-comment": (changed(lambda content: content[:-2] + b"\5\0hello"), ""),
    "link": (link, ""),
}  # fmt: skip


def unusual(name: str):
    """A file whose name a config argument cannot hold."""

    def make(room: case.Room) -> list[str]:
        files.save(room, world.pairs(), name)
        option = f"--config.data.options.file={name}"
        return [*files.call("check", room), option]

    return make


def bomb(room: case.Room) -> list[str]:
    """Zeros that unpack to a thousand times the file."""
    big = files.npy(np.zeros((2000, 32, 32, 1), np.float32))
    files.pack(room, files.members(image=big), packing=zipfile.ZIP_DEFLATED)
    return [*files.call("train", room), "--config.data.options.max_gib=0.002"]


def cases() -> list[case.Case]:
    """Files of one's own as files and archives."""
    bomb_says = r"'image' declares \[2000, .*max_gib raises"
    found = [case.Case("data/npz-bomb-train", bomb, bomb_says)]
    for name in ("a b.npz", "a,b.npz", "a=b.npz", "größe.npz", "no-ending", "a:b.npz"):
        made = name.replace(" ", "_")
        found.append(
            case.Case(f"data/npz-named-{made}", unusual(name), "no problems", 0)
        )
    found += files.spread("npz-kind", KINDS)
    found += files.spread("npz-member", MEMBERS)
    return found + files.spread("npz-sound", SOUND, ("check",), sound=True)
