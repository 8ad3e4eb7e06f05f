"""What `launch/gpu_check.sh` runs: all tasks within some minutes, then one table.

Several tasks run at once, for most of their time goes into starting and compiling; a lock
leaves the device to one process while it times its steps (see `worker.py`). The tables and
the JSON are written anew after each task, so a stop at any moment loses no more than what
runs then. The same folder again takes up what is missing or failed.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import tables
import tasks as tasks_lib

ROOT = tasks_lib.ROOT
MARGIN = 5  # Seconds for the last tables.
SOON = 15  # A task that has less time is not started.
UNREACHED = 3  # Exit code where nothing failed, but not all was reached.


def main() -> None:
    args = parse()
    os.chdir(ROOT)
    folder = args.output.resolve()
    tasks = tasks_lib.make(
        cpu=args.cpu,
        steps=args.steps,
        only=lambda key: any(fnmatch.fnmatch(key, p) for p in args.only.split(",")),
    )
    if not tasks:
        fail(f"--only={args.only} names no task; see --list")
    if args.list:
        for task in tasks:
            given = [f"{k}={v}" for k, v in task.environment.items()]
            print(shlex.join([*given, *task.command(folder)]))
        return
    began = float(os.environ.get("MVJAX_CHECK_BEGAN") or time.time())
    (folder / "results").mkdir(parents=True, exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    check = Check(args, folder, tasks, began)
    signal.signal(signal.SIGINT, check.stop)
    signal.signal(signal.SIGTERM, check.stop)
    check.look()
    sys.exit(check.run())


def parse() -> argparse.Namespace:
    """The arguments, as `launch/gpu_check.sh --help` explains them."""
    cpus = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--steps", type=int, default=10)
    # Three quarters of the cores: compilers use several threads, and the GPU's memory
    # and the machine's hold the states of all tasks.
    parser.add_argument("--jobs", type=int, default=min(12, max(1, cpus * 3 // 4)))
    parser.add_argument("--only", default="*")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def fail(text: str) -> None:
    """Ends with one line."""
    print(f"gpu_check.sh: error: {text}", file=sys.stderr)
    sys.exit(2)


class Running:
    """A task's process, in a process group of its own."""

    def __init__(self, task: tasks_lib.Task, folder: pathlib.Path):
        self.task, self.began = task, time.time()
        with open(folder / "logs" / f"{task.key}.txt", "w") as log:
            self.process = subprocess.Popen(
                task.command(folder),
                env=environment(
                    {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla")}
                    | task.environment
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Ends it with all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def environment(more: dict[str, str]) -> dict[str, str]:
    """Variables of a task's process."""
    found = dict(os.environ)
    # Each process takes the memory that it needs, as several share the device.
    found |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
    old = [found["PYTHONPATH"]] if found.get("PYTHONPATH") else []
    found["PYTHONPATH"] = os.pathsep.join([str(ROOT), *old])
    return found | more


class Check:
    """All tasks of a check, what runs, and what became of the others."""

    def __init__(
        self,
        args: argparse.Namespace,
        folder: pathlib.Path,
        tasks: list[tasks_lib.Task],
        began: float,
    ):
        self._args, self._folder, self._tasks = args, folder, tasks
        self._began, self._deadline = began, began + 60 * args.minutes - MARGIN
        self._running: list[Running] = []
        self._code = 0  # That of a signal.
        self._environment: dict[str, Any] = {}
        # What became of each task: state, seconds, result, why.
        self._found: dict[str, dict[str, Any]] = {}

    def stop(self, number: int, frame: Any) -> None:
        """A signal's handler."""
        del frame
        self._code = 128 + number

    def look(self) -> None:
        """Looks at the device, and at whom the folder belongs to."""
        platform = "cpu" if self._args.cpu else "cuda"
        command = [sys.executable, "launch/gpu_check/worker.py", "look"]
        done = subprocess.run(
            command,
            env=environment({"JAX_PLATFORMS": platform}),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it did not start"])[-1]
            fail(f"JAX sees no GPU: {reason} (without one: --cpu rehearses)")
        found = json.loads(done.stdout.splitlines()[-1])
        found |= {"rehearsal": self._args.cpu, "cpus": os.cpu_count()}
        found |= {"commit": output("git", "rev-parse", "HEAD")}
        found["changed"] = bool(output("git", "status", "--porcelain", "-uno"))
        if not self._args.cpu:
            query = "--query-gpu=name,driver_version,memory.total"
            found["driver"] = output("nvidia-smi", query, "--format=csv,noheader")
        self._environment = found
        file = self._folder / "environment.json"
        if file.exists():
            old = json.loads(file.read_text())
            for key in ("commit", "device", "rehearsal"):
                if old[key] != found[key]:
                    fail(
                        f"{self._folder} holds results of another {key}: {old[key]}, "
                        f"not {found[key]}; give another --output"
                    )
        file.write_text(json.dumps(found, indent=1))
        note(f"{found['devices']} x {found['device']}, jax {found['jax']}")

    def run(self) -> int:
        """Runs all tasks; returns the exit code."""
        waiting = []
        for task in self._tasks:
            result = self._read(task)
            if result.get("ok"):
                self._found[task.key] = {"state": "ok", "earlier": True} | result
            else:
                waiting.append(task)
        while (waiting or self._running) and not self._code:
            for one in list(self._running):
                self._look_after(one)
            if time.time() > self._deadline:
                break
            self._start_some(waiting)
            time.sleep(0.05)
        for one in self._running:
            one.kill()
        self.write()
        print((self._folder / "check.txt").read_text())
        if self._code:
            return self._code
        states = {task.key: self._state(task) for task in self._tasks}
        if "failed" in states.values():
            return 1
        needed = [s for key, s in states.items() if not key.startswith("bench-")]
        return UNREACHED if "not reached" in needed else 0

    def _start_some(self, waiting: list[tasks_lib.Task]) -> None:
        """Starts tasks while there is room and time."""
        late = time.time() > self._deadline - SOON
        for task in list(waiting):
            if len(self._running) >= self._args.jobs or late:
                break
            before = self._found.get(task.after, {}).get("state")
            if task.after and before is None:
                continue
            waiting.remove(task)
            if task.after and before != "ok":
                why = f"{task.after} failed"
                self._finish(task, {"state": "failed", "why": why})
                continue
            self._result_file(task).unlink(missing_ok=True)
            self._running.append(Running(task, self._folder))
        if late:
            waiting.clear()

    def _look_after(self, one: Running) -> None:
        """Notes the end of a process; ends one that takes too long."""
        seconds = time.time() - one.began
        limit = tasks_lib.LIMITS[one.task.kind] * max(1.0, self._args.minutes / 8)
        code = one.process.poll()
        if code is None and seconds < limit:
            return
        self._running.remove(one)
        one.kill()
        found = {"seconds": round(seconds, 1)} | self._read(one.task)
        if code is None:
            found |= {"state": "failed", "why": f"it took over {limit:.0f} s"}
        elif code or not found.get("ok"):
            found |= {"state": "failed", "why": self._why(one.task, found, code)}
        else:
            found["state"] = "ok"
        self._finish(one.task, found)

    def _why(self, task: tasks_lib.Task, found: dict, code: int) -> str:
        """One line that says why a task failed."""
        if "agrees" in found:
            return "it does not agree"
        if "failures" in found:
            return f"{found['failed']} failed"
        log = (self._folder / "logs" / f"{task.key}.txt").read_text(errors="replace")
        return (log.strip().splitlines() or [f"it ended with {code}"])[-1][:300]

    def _finish(self, task: tasks_lib.Task, found: dict[str, Any]) -> None:
        self._found[task.key] = found
        note(f"{task.key}: {found['state']} {found.get('why', '')}".rstrip())
        self.write()

    def _result_file(self, task: tasks_lib.Task) -> pathlib.Path:
        return self._folder / "results" / f"{task.key}.json"

    def _read(self, task: tasks_lib.Task) -> dict[str, Any]:
        """What a task's process has written."""
        file = self._result_file(task)
        return json.loads(file.read_text()) if file.exists() else {}

    def _state(self, task: tasks_lib.Task) -> str:
        return self._found.get(task.key, {}).get("state", "not reached")

    def write(self) -> None:
        """Writes the JSON and both tables."""
        report = {
            "format": "mvjax gpu check 1",
            "environment": self._environment,
            "minutes": self._args.minutes,
            "jobs": self._args.jobs,
            "seconds": round(time.time() - self._began, 1),
            "tasks": {
                task.key: {"kind": task.kind, "name": task.name}
                | {"state": "not reached"}
                | self._found.get(task.key, {})
                for task in self._tasks
            },
        }
        texts = {
            "check.json": json.dumps(report, indent=1),
            "check.txt": tables.text(report),
            "check.md": tables.markdown(report),
        }
        for name, content in texts.items():
            new = self._folder / f"{name}.new"
            new.write_text(content + "\n")
            os.replace(new, self._folder / name)


def output(*command: str) -> str:
    """What a command prints; "" where there is none or it fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode else done.stdout.strip()


def note(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
