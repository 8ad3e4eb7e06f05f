"""Which files of a run go to its trackers: its own, and its page."""

from collections.abc import Sequence
import pathlib
from typing import Any

from mvjax.tracking import writers as writers_lib

# What `kind` may be; W&B sorts artifacts by it.
RUN, MODEL, REPORT = "run", "model", "report"


def keep_run(
    writers: Sequence[writers_lib.Writer], files: Sequence[pathlib.Path]
) -> None:
    """Hands the writers what is left of a run that has come to its end.

    Args:
      writers: Of the run.
      files: Its config, its evaluation and the like, those that there are.
    """
    for writer in writers:
        writer.artifacts("", _present(files), kind=RUN)


def keep_report(
    workdir: pathlib.Path, step: int, files: Sequence[pathlib.Path], page: Any
) -> None:
    """Hands the page of a run to the trackers that know the run.

    Args:
      workdir: Of the run.
      step: Step of its evaluation.
      files: See `keep_run`; they may have changed since.
      page: The page and its pictures.
    """
    for writer in writers_lib.reopen(workdir, step):
        writer.artifacts("", _present(files), kind=RUN)
        writer.artifacts("report", page, kind=REPORT)
        writer.close()


def _present(files: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    return [file for file in files if file.exists()]
