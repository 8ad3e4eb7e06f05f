"""What a file is by its first bytes, for messages about a file of another kind."""

import os
import pathlib
import stat

from mvjax.core import errors
from mvjax.core import storage

_SIGNS = (  # First bytes, and what such a file is.
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself: `git lfs pull`",
    ),
    (b"PK\x03\x04", "a zip archive, as .npz and PyTorch files are"),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch file of before 1.6"),
    (b"\x93NUMPY", "a single NumPy array (.npy)"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x80", "a pickle"),
    (b"%PDF", "a PDF"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml")


def refuse_special(path: pathlib.Path) -> None:
    """Raises `UserError` where reading may have no end: pipes, sockets and devices.

    Object stores have none.

    Raises:
      OSError: There is nothing, or nobody may look there.
    """
    if not storage.is_remote(path) and _is_special(path):
        raise errors.UserError(
            f"{path} is no file but a pipe, a socket or a device; write what it gives "
            "into a file."
        )


def _is_special(path: pathlib.Path) -> bool:
    mode = os.stat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def describe(path: pathlib.Path) -> str:
    """What the file at `path` looks like, in a few words; "" where nothing tells.

    Raises:
      OSError: It cannot be read.
    """
    if path.is_dir():
        return "a folder"
    if _is_special(path):
        return "a pipe, a socket or a device"
    with open(path, "rb") as stream:
        head = stream.read(64)
    if not head:
        return "an empty file"
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page, such as a download's error or login page"
    for sign, kind in _SIGNS:
        if head.startswith(sign):
            return kind
    if head[8:9] == b"{":
        return "a safetensors file"
    return ""


def clause(path: pathlib.Path) -> str:
    """`; it is a web page ...` to end a message about a file with; "" if nothing tells."""
    try:
        kind = describe(path)
    except (OSError, ValueError):  # ValueError: no file can have the name.
        return ""
    return f"; it is {kind}" if kind else ""
