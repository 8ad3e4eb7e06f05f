"""One malformed input, the folder it is tried in, and what is asked of mvjax."""

from collections.abc import Callable
import dataclasses
import pathlib
import re
import shutil

from fuzzing import world as world_lib

SECONDS = 120  # A command that takes longer hangs.
GIB = 2.0  # What a command may add to the memory of its process.


@dataclasses.dataclass(frozen=True)
class Room:
    """The empty folder of one case, its current folder too, beside the sound world."""

    folder: pathlib.Path
    world: world_lib.World

    def file(self, name: str, content: bytes | str) -> pathlib.Path:
        """A new file of the room, and the folders above it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def copy(self, name: str) -> pathlib.Path:
        """An own copy of a file or folder of the world, to be damaged."""
        there = self.world.get(name)
        path = self.folder / there.name
        if there.is_dir():
            shutil.copytree(there, path, symlinks=True)
        else:
            shutil.copyfile(there, path)
        return path


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line that is wrong, or looks wrong and is sound.

    Attributes:
      name: `kind/what`, unique.
      command: Makes the files of the case and returns the arguments of `mvjax`.
      says: Regular expression that the one line of the error holds.
      code: Exit code; 0 for what is sound, 1 where a check or an evaluator fails.
    """

    name: str
    command: Callable[[Room], list[str]]
    says: str = ""
    code: int = 2

    @property
    def kind(self) -> str:
        return self.name.split("/")[0]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did."""

    arguments: list[str]
    code: int | None  # None: an exception left `cli.main`, or the process died.
    stdout: str
    stderr: str
    seconds: float
    gib: float  # By which the process grew.
    changed: list[str]  # Files and folders of the room that are new, other or gone.


def problems(case: Case, outcome: Outcome) -> list[str]:
    """What is wrong with what a command did; empty if it is as it should be."""
    found = []
    lines = outcome.stderr.splitlines()
    if outcome.seconds > SECONDS:
        return [f"hangs: no end after {SECONDS} s"]
    for text in ("Traceback (most", "Exception ignored", 'File "/'):
        if text in outcome.stderr + outcome.stdout:
            found.append("a traceback")
            break
    for line in lines:
        if re.search(r"\.py:\d+: \w*Warning|^\w*Warning: |^[WEF]\d{4} ", line):
            found.append(f"a raw warning: {line}")
    if outcome.code != case.code:
        found.append(f"exit code {outcome.code} in place of {case.code}")
    if outcome.gib > GIB:
        found.append(f"{outcome.gib:.1f} GiB of memory")
    errors = [line for line in lines if line.startswith("mvjax: error:")]
    if case.code == 2:
        if len(errors) != 1:
            found.append(f"{len(errors)} lines of error in place of 1")
        elif errors[0] != lines[-1]:
            found.append("lines after the error")
        if outcome.changed:
            found.append(f"leftovers: {', '.join(outcome.changed[:5])}")
    elif errors:
        found.append(f"an error, though the code is {outcome.code}: {errors[0]}")
    told = outcome.stderr + outcome.stdout
    if case.says and not re.search(
        case.says, told if case.code != 2 else "".join(errors)
    ):
        found.append(f"does not say {case.says!r}")
    return found
