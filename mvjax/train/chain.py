"""Stages that meet on disk: where each one finds the one before."""

from collections.abc import Sequence
import functools
import pathlib
import re
from typing import Any

from mvjax.core import errors
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.train import checkpoint
from mvjax.train import warm_start

RESERVED = ("config", "report")  # A prefix of overrides, a folder beside the stages.


def name_stages(specs: Sequence[str]) -> dict[str, str]:
    """Config of each stage by its name: that of the file, or `name=path.py:arg`.

    Raises:
      UserError: Two stages have the same name, or one has a name that is taken.
    """
    found: dict[str, str] = {}
    for spec in specs:
        match = re.fullmatch(rf"({workdir_lib.STAGE_NAME.pattern})=(.+)", spec)
        path = match[2] if match else spec
        name = match[1] if match else pathlib.Path(path.partition(":")[0]).stem
        if not workdir_lib.STAGE_NAME.fullmatch(name):
            raise errors.UserError(
                f"{spec!r} gives its stage no name of letters, digits, _ and -; name "
                f"it: one=path.py ..."
            )
        if name in found or name in RESERVED:
            why = "more than one stage has" if name in found else "no stage can have"
            raise errors.UserError(
                f"{name!r} is a name that {why}; name them: one={specs[0]} ..."
            )
        found[name] = path
    return found


def link(configs: dict[str, Any], workdir: pathlib.Path) -> None:
    """Points each stage's warm start `previous` at the workdir of the stage before.

    Args:
      configs: Config of each stage, in order; changed in place.
      workdir: Folder of all stages.

    Raises:
      UserError: The first stage needs a stage before it.
    """
    previous = None
    for stage, config in configs.items():
        for label, entry in config.warm_start.items():
            if entry.source != warm_start.PREVIOUS:
                warm_start.check(label, entry)
                continue
            if previous is None:
                raise errors.UserError(
                    f"Stage {stage!r} needs a stage before it "
                    f"(config.warm_start.{label}.source)."
                )
            entry.source = str(storage.absolute(workdir) / previous)
        previous = stage


def check_fields(runs: dict[str, Any], workdir: pathlib.Path) -> None:
    """Refuses a stage whose weights come from an earlier one of other settings.

    Args:
      runs: Run of each stage, in order, with its linked config.
      workdir: Folder of all stages.

    Raises:
      UserError: See `warm_start.check_fields`.
    """
    earlier: dict[str, dict] = {}  # `config.method` of the stages by their workdir.
    for stage, run in runs.items():
        for label, entry in run.config.warm_start.items():
            source = str(storage.absolute(storage.path(entry.source)))
            fields = earlier.get(source)
            if fields is None:
                continue
            try:
                warm_start.check_fields(
                    run.method, entry, functools.partial(dict, fields)
                )
            except errors.UserError as error:
                raise errors.UserError(
                    f"Stage {stage!r}, config.warm_start.{label}: {error}"
                ) from None
        path = str(storage.absolute(workdir) / stage)
        earlier[path] = run.config.method.to_dict()


def check_starts(programs: dict[str, Any], workdir: pathlib.Path) -> None:
    """Refuses a stage whose weights, not of an earlier one, are missing or do not fit.

    Args:
      programs: Program of each stage, with its linked config.
      workdir: Folder of all stages.

    Raises:
      UserError: See `Program.read_start`.
    """
    stages = [str(storage.absolute(workdir) / stage) for stage in programs]
    for stage, program in programs.items():
        if checkpoint.find_steps(workdir / stage):
            continue
        try:
            program.read_start(but=stages)
        except errors.UserError as error:
            raise errors.UserError(f"Stage {stage!r}: {error}") from None
