"""The one exception for mistakes of use: bad names, files, shapes and values."""

from collections.abc import Iterable
import difflib
from typing import Any

SHOWN = 5  # Culprits that a message names.
_LONGEST = 200  # Characters of what a file or a library says.


class UserError(Exception):
    """A mistake that the user can mend; the command line prints it as one line.

    The message names the culprit and the choices.
    """


def unknown(what: str, name: Any, choices: Iterable[Any]) -> UserError:
    """Builds the error for a name that does not exist.

    Args:
      what: What the name stands for, such as `"method"` or `"config key"`.
      name: The name that was asked for.
      choices: The names that exist.

    Returns:
      A `UserError` that shows the nearest name first and then all of them, but for an
      empty one, which stands for a default.
    """
    choices = [str(choice) for choice in sorted(choices) if choice != ""]
    text = str(name)[:_LONGEST]
    near = difflib.get_close_matches(text, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(
        f"Unknown {what} {quote(name)}.{hint} Choices: {', '.join(choices) or 'none'}."
    )


def listed(names: Iterable[str]) -> str:
    """The first few names, on one line and whatever a file may have put into them."""
    names = list(names)
    shown = (name if name.isprintable() else repr(name) for name in names[:SHOWN])
    more = len(names) - SHOWN
    return ", ".join(map(cut, shown)) + (f" and {more} more" if more > 0 else "")


def one_line(error: Exception) -> str:
    """What a library says, in one line and cut where it is long."""
    try:
        text = str(error)
    except Exception:  # A user's own class may do anything.
        text = ""
    return cut(" ".join(text.split()) or type(error).__name__)


def quote(value: Any) -> str:
    """A value as Python writes it, of bearable length, whatever it is."""
    try:
        return cut(repr(value))
    # Python refuses numbers of thousands of digits, and what is nested deeply.
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that is too long to show"


def plain(text: str) -> str:
    """A text in one line; signs that hide or move what a terminal shows are written out.

    Names in files, and what a user's code raises, may hold any.
    """
    text = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str) -> str:
    """A text of bearable length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
