"""Tries malformed input of every kind on every command.

    python tests/fuzz.py [--kind KIND] [--case NAME] [--sample N] [--jobs 2] [--verbose]

Without choices it tries all. A case fails on a traceback, a hang, a wrong exit code, an
error that is not one line or does not name the culprit, memory out of proportion, or
anything that a refused command leaves behind. Exit code 1 if any fails.
"""

import argparse
from collections.abc import Iterable
import json
import os
import pathlib
import queue
import random
import select
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import fuzzing  # noqa: E402
from fuzzing import case as case_lib  # noqa: E402

BUILDING = 900  # Seconds that the sound files of a case may take.


class Worker:
    """A process that tries cases; it is started anew after a hang or a crash."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._process: subprocess.Popen | None = None

    def attempt(self, name: str) -> case_lib.Outcome:
        """Tries a case."""
        if self._process is None:
            self._start()
        self._process.stdin.write(name.encode() + b"\n")
        self._process.stdin.flush()
        began = time.monotonic()
        answer = self._answer(BUILDING)
        if answer and "broken" in answer:
            raise RuntimeError(f"{name}: {answer['broken']}")
        if answer:
            began = time.monotonic()
            answer = self._answer(case_lib.SECONDS)
        if answer:
            return case_lib.Outcome(**answer)
        seconds = time.monotonic() - began
        code = self._process.poll()
        self.end()
        said = f"the process died with {code}" if code is not None else ""
        return case_lib.Outcome([], None, "", said, seconds + 1, 0.0, [])

    def _start(self) -> None:
        settings = {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "1",
            "XDG_CACHE_HOME": str(self._folder / "cache"),
            "JAX_COMPILATION_CACHE_DIR": str(self._folder / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
            "WANDB_MODE": "disabled",
        }
        flags = os.environ.get("XLA_FLAGS", "")
        if "optimization_level" not in flags:
            flags += " --xla_backend_optimization_level=0"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.worker", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | settings | {"XLA_FLAGS": flags},
            cwd=ROOT / "tests",
            start_new_session=True,
            bufsize=0,
        )
        self._read = b""

    def _answer(self, seconds: float) -> dict | None:
        """The next line of the process; None where it is late or has died."""
        end = time.monotonic() + seconds
        while b"\n" not in self._read:
            ready, _, _ = select.select(
                [self._process.stdout], [], [], max(0, end - time.monotonic())
            )
            more = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def end(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None


def attempt(
    cases: Iterable[case_lib.Case], folder: pathlib.Path, *, jobs: int = 1
) -> Iterable[tuple[case_lib.Case, case_lib.Outcome]]:
    """Tries cases in some processes; yields each with what was done, as they end."""
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    done: queue.SimpleQueue = queue.SimpleQueue()

    def work() -> None:
        worker = Worker(folder)
        try:
            while True:
                case = waiting.get_nowait()
                done.put((case, worker.attempt(case.name)))
        except queue.Empty:
            done.put(None)
        except BaseException as error:
            done.put(error)
        finally:
            worker.end()

    for _ in range(jobs):
        threading.Thread(target=work, daemon=True).start()
    while jobs:
        found = done.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            jobs -= 1
        else:
            yield found


def sample(cases: dict[str, case_lib.Case], count: int) -> list[case_lib.Case]:
    """The same cases every time, as many of each kind."""
    rng = random.Random(0)
    found = []
    for kind in sorted({case.kind for case in cases.values()}):
        mine = [case for case in cases.values() if case.kind == kind]
        found += rng.sample(mine, min(count, len(mine)))
    return found


def main() -> int:
    """Tries what the command line chooses, and prints what failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", choices=fuzzing.KINDS)
    parser.add_argument("--case", help="part of the names")
    parser.add_argument("--sample", type=int, metavar="N", help="N cases of each kind")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="tell all outcomes")
    parser.add_argument("--list", action="store_true", help="only names")
    parser.add_argument("--folder", type=pathlib.Path, help="keep the sound files here")
    args = parser.parse_args()
    cases = fuzzing.cases(tuple(args.kind or fuzzing.KINDS))
    cases = {name: c for name, c in cases.items() if (args.case or "") in name}
    chosen = sample(cases, args.sample) if args.sample else list(cases.values())
    if args.list:
        print("\n".join(case.name for case in chosen))
        return 0
    failed, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or pathlib.Path(temporary)
        for case, outcome in attempt(chosen, folder, jobs=args.jobs):
            problems = case_lib.problems(case, outcome)
            failed += bool(problems)
            if problems or args.verbose:
                print(f"{'FAILED' if problems else 'ok'} {case.name}")
                print(f"  mvjax {' '.join(outcome.arguments)}")
                print("".join(f"  {problem}\n" for problem in problems), end="")
                print(f"  {outcome.seconds:.1f} s, {outcome.gib:.1f} GiB; it said:")
                said = (outcome.stdout + outcome.stderr).strip().splitlines()[-12:]
                print("".join(f"  | {line}\n" for line in said), end="", flush=True)
    print(f"{len(chosen)} cases, {failed} failed, {time.monotonic() - began:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
