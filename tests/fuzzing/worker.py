"""A process that tries cases one after the other through `cli.main`.

It reads names of cases from its standard input and answers each with a line of JSON,
first `{"ready": true}` when the files of the case lie there and the command begins.
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main(folder: pathlib.Path) -> None:
    """Answers until the standard input ends; what commands print goes into files."""
    import fuzzing
    from fuzzing import case as case_lib
    from fuzzing import world as world_lib

    answers = os.fdopen(os.dup(1), "w")
    mine = folder / f"worker{os.getpid()}"
    mine.mkdir(parents=True)
    logs = [mine / "stdout", mine / "stderr"]
    for number, log in enumerate(logs, 1):
        os.dup2(os.open(log, os.O_RDWR | os.O_CREAT), number)

    def build(arguments: list[str]) -> None:
        _, code, _, said = call(arguments, logs)
        if code:
            raise RuntimeError(f"the world cannot be built: {arguments}\n{said}")

    world = world_lib.World(folder, build)
    cases = fuzzing.cases()
    for line in sys.stdin:
        case = cases[line.strip()]
        room = case_lib.Room(mine / "room", world)
        shutil.rmtree(room.folder, ignore_errors=True)
        room.folder.mkdir()
        os.chdir(room.folder)
        try:
            arguments = [str(a) for a in case.command(room)]
        except Exception:
            print(json.dumps({"broken": traceback.format_exc()}), file=answers)
            answers.flush()
            continue
        print(json.dumps({"ready": True}), file=answers, flush=True)
        before, held, began = snapshot(room.folder), peak(), time.monotonic()
        arguments, code, stdout, stderr = call(arguments, logs)
        outcome = case_lib.Outcome(
            arguments,
            code,
            stdout,
            stderr,
            time.monotonic() - began,
            (peak() - held) / 2**30,
            changes(before, snapshot(room.folder)),
        )
        print(json.dumps(outcome.__dict__), file=answers, flush=True)


def call(
    arguments: list[str], logs: list[pathlib.Path]
) -> tuple[list[str], int | None, str, str]:
    """Runs `mvjax`; returns the arguments, the exit code and what was printed."""
    from mvjax import cli

    for number in (1, 2):
        os.truncate(number, 0)
        os.lseek(number, 0, os.SEEK_SET)
    code = None
    try:
        cli.main(arguments)
    except SystemExit as stop:
        code = (
            stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        )
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    printed = [log.read_bytes().decode(errors="replace") for log in logs]
    return arguments, code, *printed


def peak() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def snapshot(folder: pathlib.Path) -> dict[str, tuple]:
    """Name, size and time of all below a folder; times of folders do not count."""
    found = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            stat = path.lstat()
            times = () if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
            found[str(path.relative_to(folder))] = times
    return found


def changes(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    """Names that are new, other or gone; a lock that stays says who was the last."""
    names = {*before, *after}
    names -= {n for n in before if n.endswith("/.lock") and n in after}
    return sorted(name for name in names if before.get(name) != after.get(name))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
