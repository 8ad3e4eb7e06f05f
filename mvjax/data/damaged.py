"""Records that cannot be read, and what training does about them."""

from typing import Any
import warnings

from mvjax.core import errors
from mvjax.data import batch

TRIES = 100  # So many damaged records in a row are no accident.


class Skipping:
    """A source in which the next readable record stands in for a damaged one.

    Which one that is depends on the files alone, so a resumed run and each host see the
    same records. Each process tells a damaged record once, with how many it has met.
    """

    def __init__(self, source: Any):
        """Takes a source whose files are read one by one."""
        self._source, self._damaged = source, set()
        self.spec = source.spec

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len, or the next one that can be read.

        Raises:
          UserError: None of `TRIES` records from there on can be read.
        """
        for shift in range(min(TRIES, len(self))):
            number = (index + shift) % len(self)
            try:
                return self._source[number]
            except errors.UserError as error:
                problem = error
                self._tell(number, error)
        raise errors.UserError(
            f"{problem} It is the last of {shift + 1} records in a row that cannot be "
            "read, too many for config.data.damaged=skip; `mvjax data check` names all."
        )

    def _tell(self, number: int, error: errors.UserError) -> None:
        if number not in self._damaged:
            self._damaged.add(number)
            warnings.warn(
                f"{error} Training leaves it out (config.data.damaged=skip): record "
                f"{number}, {len(self._damaged)} so far.",
                stacklevel=3,
            )

    def fingerprint(self) -> str:
        """Returns that of the source."""
        return self._source.fingerprint()


def treat(source: Any, damaged: str) -> Any:
    """The source as training reads it.

    Args:
      source: The training split. One with `gather` was read when it was opened.
      damaged: "stop", where a record that cannot be read ends the run, or "skip".
    """
    read_before = hasattr(source, "gather")
    return source if damaged == "stop" or read_before else Skipping(source)
