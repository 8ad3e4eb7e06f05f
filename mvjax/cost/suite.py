"""Runs the stages of a suite one after another, each in a process of its own.

So peaks of memory and heaps are apart, a stage that fails keeps no other back, and what
the stages gave is written after each of them.
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import json_value
from mvjax.core import text

Say = Callable[[str], None]
_ERROR = re.compile(r"error: |([a-z]\w*\.)*[A-Z]\w*(Error|Exception|Exit): ")


class Stage(NamedTuple):
    """One stage of a suite.

    Attributes:
      name: What the suite calls it.
      spec: Its config, as on the command line.
      overrides: Those of the suite, then the user's, without prefix.
      config: What both give.
    """

    name: str
    spec: str
    overrides: tuple[str, ...]
    config: Any


def load(
    spec: str, *, only: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Stage]:
    """Loads the configs of a suite; none of them is run.

    Args:
      spec: `path.py` or `path.py:arg`, see `config.load_suite`.
      only: Names of stages; empty: all.
      overrides: What all stages get, without prefix.

    Raises:
      UserError: A stage that there is not, or a config or an override that is wrong.
    """
    suite = choose(config_lib.load_suite(spec), only)
    stages = []
    for name, (config, own) in suite.items():
        given = (*_but(own, overrides), *overrides)
        try:
            loaded = config_lib.load(config, given)
        except errors.UserError as error:
            raise errors.UserError(f"{spec}, stage {name}: {error}") from None
        stages.append(Stage(name, config, given, loaded))
    return stages


def _but(overrides: Sequence[str], later: Sequence[str]) -> list[str]:
    """The overrides of which none of the later ones sets the same key."""
    keys = {given.partition("=")[0] for given in later}
    return [given for given in overrides if given.partition("=")[0] not in keys]


def choose(suite: Mapping[str, Any], only: Sequence[str]) -> dict[str, Any]:
    """The stages of these names, in the suite's order; all if there are no names."""
    for name in only:
        if name not in suite:
            raise errors.unknown("stage", name, suite)
    return {name: suite[name] for name in suite if not only or name in only}


def run(
    stages: Sequence[Stage],
    work: Callable[[Stage, Say], dict[str, Any]],
    *,
    say: Say,
    keep: Callable[[dict[str, dict[str, Any]]], None] = lambda results: None,
) -> dict[str, dict[str, Any]]:
    """What `work` gives of each stage, or `{"error": ...}` for one that fails.

    Args:
      stages: The stages.
      work: Gives JSON of a stage, or raises `UserError`; it is told whom to tell what
        the stage does.
      say: Told which stage begins and what it does.
      keep: Told all results after each stage.
    """
    results: dict[str, dict[str, Any]] = {}
    for i, stage in enumerate(stages):
        place = f"stage {i + 1} of {len(stages)}, {stage.name}"
        say(place)
        try:
            results[stage.name] = work(stage, lambda line, p=place: say(f"{p}: {line}"))
        except errors.UserError as error:
            results[stage.name] = {"error": errors.plain(str(error))}
            say(f"{place} failed: {results[stage.name]['error']}")
        keep(results)
    return results


def measure(
    stage: Stage, say: Say, *, steps: int, fast_cpu: bool = False
) -> dict[str, Any]:
    """The report of `mvjax bench` on a stage.

    Raises:
      UserError: The process failed, in its own words.
    """
    options = [f"--config={stage.spec}", f"--steps={steps}"]
    options += [f"--config.{override}" for override in stage.overrides]
    options += ["--fast-cpu"] if fast_cpu else []
    return ask([sys.executable, "-m", "mvjax", "bench", *options], say)


def ask(command: Sequence[str], say: Say) -> dict[str, Any]:
    """The JSON object that a command writes to the file of `--output=`.

    Args:
      command: The command but for `--output=`.
      say: Told each line that it writes to stderr.

    Raises:
      UserError: It failed, in its own words, or wrote no such file.
    """
    with tempfile.TemporaryDirectory(prefix="mvjax-suite-") as folder:
        file = pathlib.Path(folder, "report.json")
        code, told = _run([*command, f"--output={file}"], say)
        if code:
            raise errors.UserError(_reason(code, told))
        try:
            found = json_value.parse(file.read_text())
        except (OSError, ValueError) as error:
            raise errors.UserError(
                f"it left no report: {errors.one_line(error)}"
            ) from None
    return found


def _run(command: Sequence[str], say: Say) -> tuple[int, str]:
    """The exit code of a command, and the line on stderr that says most of its end.

    That is the last error, behind which JAX puts notes, or else the last line.
    """
    last = told = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stderr:
                if line.strip():
                    last = line.strip().removeprefix("mvjax: ")
                    told = last if _ERROR.match(last) else told
                    say(last)
            return process.wait(), told or last
        except BaseException:  # Ctrl-C, or SIGTERM, which the process need not get.
            process.kill()
            raise


def _reason(code: int, told: str) -> str:
    """Why a process failed, in one line."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", as by a system out of memory" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}"
    return told.removeprefix("error: ") or f"ended with {code}"


def table(head: Sequence[str], stages: Mapping[str, Sequence[str] | str]) -> list[str]:
    """Lines of a table with one for each stage.

    Args:
      head: The heading, that of the stages' names first.
      stages: The cells of each stage behind its name, or why it failed.
    """
    empty = [""] * (len(head) - 1)
    rows = [
        [name, *(empty if isinstance(found, str) else found)]
        for name, found in stages.items()
    ]
    lines = text.align([head, *rows], right=range(1, len(head)), rule=True)
    width = max(map(len, [head[0], *stages]))
    for i, (name, found) in enumerate(stages.items()):
        if isinstance(found, str):
            lines[2 + i] = f"{name:{width}}  failed: {found}"
    return lines


def machine() -> dict[str, Any]:
    """What the results depend on and no report tells: the make of the CPU."""
    info = pathlib.Path("/proc/cpuinfo")  # Linux.
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return {"cpu": (names or [platform.processor()])[0].strip()}
