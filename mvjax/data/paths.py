"""Paths of data that a user names, and lists of names in files."""

import collections
from collections.abc import Iterable
import os
import pathlib

from mvjax.core import errors


def find(name: str | os.PathLike) -> pathlib.Path:
    """Returns a path, `~` being the home folder; there need not be anything.

    Raises:
      UserError: Nothing can have the name, or nobody may look there.
    """
    try:
        path = pathlib.Path(name).expanduser()
    except RuntimeError as error:  # `~someone`, who is nobody here.
        raise errors.UserError(f"Cannot read {name}: {error}") from None
    is_file(path)
    return path


def is_file(path: pathlib.Path) -> bool:
    """Whether there is a file.

    Raises:
      UserError: Nothing can have the name, or nobody may look there.
    """
    try:
        os.stat(path)
        return path.is_file()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.UserError(f"Cannot read {str(path)!r:.200}: {reason}.") from None


def check_once(names: Iterable[str], file: pathlib.Path) -> None:
    """Raises `UserError` where a file lists a name twice: its record would count twice.

    Args:
      names: What the file lists.
      file: It, for the message.
    """
    often = [name for name, n in collections.Counter(names).items() if n > 1]
    if often:
        raise errors.UserError(
            f"{file} lists {errors.listed(often)} more than once; take out what is "
            "there twice, or its record would count twice."
        )
