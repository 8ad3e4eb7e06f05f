"""Files that appear whole or not at all."""

from collections.abc import Iterator
import contextlib
import io
import json
import os
import pathlib
from typing import Any, BinaryIO

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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if not path.parent.is_dir():
        raise errors.UserError(f"Cannot write {path}: there is no such folder.")
    try:
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise errors.UserError(f"Cannot write {path}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


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
