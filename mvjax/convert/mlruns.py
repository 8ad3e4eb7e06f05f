"""PyTorch weights in the folder of an MLflow run.

A run keeps them as `<run>/artifacts/<name>/state_dict.pth`, the name being that of the
artifact; mvjax writes its own the same way, and so did published code.
"""

from collections.abc import Sequence
import os
import pathlib

from mvjax.core import errors

FOLDER = "artifacts"  # A run's folder keeps its artifacts there.
FILE = "state_dict.pth"  # An artifact's folder keeps its weights there.


def find(folder: str | os.PathLike, names: Sequence[str]) -> list[str]:
    """Finds artifacts that lie in one run.

    Args:
      folder: The run, its artifacts, or a folder above with a single such run in it:
        an experiment, or `mlruns` itself.
      names: Names of the artifacts.

    Returns:
      Their files, in the order of the names.

    Raises:
      UserError: No run, or several, have them all.
    """
    root = pathlib.Path(folder).expanduser()
    patterns = ("", f"{FOLDER}/", f"*/{FOLDER}/", f"*/*/{FOLDER}/")
    files = (f for p in patterns for f in root.glob(f"{p}{names[0]}/{FILE}"))
    found = {file.parent.parent for file in files}
    whole = sorted(
        run for run in found if all((run / name / FILE).is_file() for name in names)
    )
    if len(whole) == 1:
        return [str(whole[0] / name / FILE) for name in names]
    if whole:
        runs = ", ".join(str(run.parent) for run in whole)
        raise errors.UserError(f"{folder} holds several runs; name one of: {runs}.")
    raise errors.UserError(
        f"{folder} holds no MLflow run with the artifacts {', '.join(names)}; looked for "
        f"{FOLDER}/{names[0]}/{FILE} in it and two folders down."
    )
