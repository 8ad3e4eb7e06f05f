"""Files that appear whole or not at all."""

from collections.abc import Iterator
import contextlib
import glob
import io
import json
import os
import pathlib
import platform
import stat
from typing import Any, BinaryIO
import zlib

from mvjax.core import errors
from mvjax.core import storage


@contextlib.contextmanager
def replace(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a stream whose content takes the place of `path` if the block succeeds.

    What goes to an object store is held in memory until then.

    Args:
      path: The file to write; after an error or a kill it is what it was before.

    Raises:
      UserError: The file cannot be written there.
    """
    path = storage.path(path)
    if storage.is_remote(path):
        buffer = io.BytesIO()
        yield buffer
        _upload(path, buffer.getvalue())
        return
    with _beside(path) as temporary:
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, path)


def check(path: str | os.PathLike) -> None:
    """Raises `UserError` if a file cannot be written there; for before the work.

    An object store is not asked.
    """
    path = storage.path(path)
    if not storage.is_remote(path):
        with _beside(path) as temporary:
            open(temporary, "wb").close()


@contextlib.contextmanager
def _beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """The name of a temporary file in the folder of `path`, gone after the block.

    What the system refuses meanwhile becomes a `UserError`.
    """
    if not path.name:
        raise errors.UserError(f"Cannot write '{path}': it is no name of a file.")
    temporary = path.with_name(f"{_begin(path)}{os.getpid()}.tmp")
    try:
        _refuse_occupied(path)
        tidy(path)
        yield temporary
    except OSError as error:
        # A library's own OSError may have no number but words.
        reason = storage.reason(error).rstrip(".")
        raise errors.UserError(f"Cannot write {path}: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):  # It was never there, or its disk is gone.
            temporary.unlink()


def _begin(path: pathlib.Path) -> str:
    """How the names of temporary files beside a file begin.

    The machine is named, as others may write in the same folder of a network disk, and
    only here can a number tell whether its process lives. They are not longer than names
    may be where that of the file itself is not, and long ones that begin alike differ.
    """
    name = path.name
    if len(name) > 40:
        name = f"{name[:31]}-{zlib.crc32(name.encode(errors='surrogateescape')):08x}"
    return f".{name}.{platform.node()[:40]}."


def _refuse_occupied(path: pathlib.Path) -> None:
    """Refuses what a file must not take the place of, such as folders and devices."""
    if not os.path.isdir(path.parent):
        raise errors.UserError(f"Cannot write {path}: there is no such folder.")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
        raise errors.UserError(f"Cannot write {path}: it is {what}.")


def tidy(path: pathlib.Path) -> None:
    """Removes what processes that were killed on this machine left beside a file."""
    begin = _begin(path)
    for old in path.parent.glob(f"{glob.escape(begin)}*.tmp"):
        number = old.name.removeprefix(begin).removesuffix(".tmp")
        if number.isdecimal() and not _lives(int(number)):
            with contextlib.suppress(OSError):
                old.unlink()


def _lives(number: int) -> bool:
    """Whether there is a process of a number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # Of another user.
        pass
    return True


def write_json(file: pathlib.Path, value: Any) -> None:
    """Writes JSON so that a crash leaves the old file or the new one."""
    with replace(file) as stream:
        stream.write((json.dumps(value, indent=2) + "\n").encode())


def _upload(path: pathlib.Path, content: bytes) -> None:
    """Writes an object, which appears when all of it has arrived."""
    try:
        path.write_bytes(content)
    except Exception as error:  # Of whichever library speaks to the store.
        reason = str(error).strip() or type(error).__name__
        raise errors.UserError(f"Cannot write {path}: {reason}.") from error
