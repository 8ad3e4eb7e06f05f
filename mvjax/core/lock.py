"""A folder that one program at a time works in."""

from collections.abc import Iterator
import contextlib
import fcntl
import os
import pathlib
import platform

from mvjax.core import errors

FILE = ".lock"


@contextlib.contextmanager
def hold(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other programs that ask for the same folder out of it.

    The system frees the lock when its owner ends, however it ends; the file stays and
    says who was the last. For folders of a disk; object stores know no locks.

    Raises:
      UserError: Another program works there, or the folder cannot be written.
    """
    path = folder / FILE
    try:
        stream = open(path, "a+")
    except OSError as error:
        raise errors.UserError(
            f"Cannot write {path}: {error.strerror or error}."
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise errors.UserError(
                f"{folder} is in use by {stream.read().strip() or 'another program'}; "
                "wait for it, or choose another --workdir."
            ) from None
        except OSError as error:  # Some network disks know no locks.
            raise errors.UserError(
                f"Cannot lock {path}: {error.strerror or error}."
            ) from error
        if os.fstat(stream.fileno()).st_nlink == 0:
            raise errors.UserError(
                f"Another program has just removed {folder}, which it had made for "
                "itself; start again."
            )
        with contextlib.suppress(OSError):  # A full disk; the lock holds all the same.
            os.ftruncate(stream.fileno(), 0)
            os.write(
                stream.fileno(),
                f"process {os.getpid()} on {platform.node()}\n".encode(),
            )
        yield


def clear(folder: pathlib.Path) -> None:
    """Removes the lock's file from a folder that holds nothing else; for its owner."""
    if [path.name for path in folder.iterdir()] == [FILE]:
        (folder / FILE).unlink()
