"""Names of splits: mvjax's own, and what other people call them."""

from collections.abc import Iterable
import difflib
import re

from mvjax.core import errors

NAMES = ("train", "valid", "test")
# In any case of letters. "eval" is missing: it may be either of two.
_OTHERS = {
    "train": ("training", "trn", "tr"),
    "valid": ("validation", "validate", "val", "vld", "dev", "devel", "development"),
    "test": ("testing", "tst", "te"),
}

_OWN = re.compile("[a-z][a-z0-9_-]*")
_ALIKE = 0.75  # From which a name is taken for a misspelt one.


def _is_own(name: str, known: Iterable[str]) -> bool:
    """Whether a name is a split's own, no misspelt or reserved one."""
    alike = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return bool(_OWN.fullmatch(name)) and name != "all" and not alike


def find(found: Iterable[str], where: str, *, more: bool = False) -> dict[str, str]:
    """Says which split of mvjax each name of a file stands for.

    Args:
      found: The names in the file.
      where: The file, for messages.
      more: Whether there may be other splits, such as "unlabelled".

    Returns:
      One of `NAMES`, or an own name, by name of the file.

    Raises:
      UserError: A name is unknown, or two names stand for one split.
    """
    known = {other: name for name, others in _OTHERS.items() for other in others}
    known |= {name: name for name in NAMES}
    result: dict[str, str] = {}
    for name in found:
        split = known.get(name.strip().lower())
        if split is None and more and _is_own(name, known):
            split = name
        if split is None:
            others = ", ".join(other for x in NAMES for other in _OTHERS[x])
            own = (
                ", to a name of its own in small letters that is like none of these"
                if more
                else ""
            )
            raise errors.UserError(
                f"{where}: the split {name!r} is unknown. Rename it to one of "
                f"{', '.join(NAMES)} (also read, in any case: {others}){own}, or take it "
                "out."
            )
        for other, same in result.items():
            if same == split and other != name:
                raise errors.UserError(
                    f"{where}: {other!r} and {name!r} both stand for the split "
                    f"{split!r}. Join them under one name, or take one out."
                )
        result[name] = split
    return result


def note(found: str, split: str) -> str:
    """Says that a split has another name in the file."""
    return f"the split {found!r} is read as {split!r}."
