"""Files that appear whole or not at all."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
from typing import BinaryIO

from mvjax.core import errors


@contextlib.contextmanager
def replace(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a stream whose content takes the place of `path` if the block succeeds.

    Args:
      path: The file to write; after an error or a kill it is what it was before.

    Raises:
      UserError: The file cannot be written there.
    """
    path = pathlib.Path(path)
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
