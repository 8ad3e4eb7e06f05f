"""Which files of a run go to its trackers: its own, its weights, and its page."""

from collections.abc import Sequence
import pathlib
import tempfile
from typing import Any

from mvjax.convert import mlruns
from mvjax.core import notice
from mvjax.core import tree
from mvjax.train import port
from mvjax.train import run as run_lib
from mvjax.train import tracker
from mvjax.train import writers as writers_lib

# What `kind` may be; W&B sorts artifacts by it.
RUN, MODEL, REPORT = "run", "model", "report"


def keep_run(
    writers: Sequence[writers_lib.Writer],
    run: run_lib.Run,
    variables: Any,
    files: Sequence[pathlib.Path],
) -> None:
    """Hands the writers what is left of a run that has come to its end.

    Args:
      writers: Of the run.
      run: The run.
      variables: The final ones, of one seed.
      files: Its config, its evaluation and the like, those that there are.
    """
    for writer in writers:
        writer.artifacts("", _present(files), kind=RUN)
    _keep_weights(writers, run, variables)


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


def _keep_weights(
    writers: Sequence[writers_lib.Writer], run: run_lib.Run, variables: Any
) -> None:
    """Keeps the variables as `<table>/state_dict.pth` for each published table.

    Tables of which the run trained no component are left out.
    """
    takers = [w for w in writers if isinstance(w, tracker.Tracker) and w.takes_files]
    if not takers:
        return
    try:
        names = run.method.artifact_names()
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / mlruns.FILE
            for table in _trained_tables(run, variables):
                port.to_torch(run.method, variables, file, table)
                for writer in takers:
                    writer.artifacts(names.get(table, table), [file], kind=MODEL)
    except Exception as error:  # The run and its metrics are worth more.
        reason = tracker.first_line(error)
        notice.warn(f"trackers got no weights of this run: {reason}")


def _trained_tables(run: run_lib.Run, variables: Any) -> list[str]:
    """Tables of the method that hold a component which the run trains."""
    freeze = tuple(run.config.freeze)
    parts = (
        tree.select(variables["params"], update.trains, freeze)
        for update in run.method.updates
    )
    trained = {name for part in parts for name in part}
    return [
        table
        for table, leaves in run.method.torch_tables().items()
        if trained & {leaf.path.split("/")[1] for leaf in leaves}
    ]
