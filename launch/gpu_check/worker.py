"""One task of the check in a process of its own: tests, a bench, or a look at the device.

    python launch/gpu_check/worker.py look
    python launch/gpu_check/worker.py tests FILE --folder=F --key=K
    python launch/gpu_check/worker.py bench CONFIG [KEY=VALUE ...] --folder=F --key=K

All that use the device at once share a lock; whoever times steps has it alone.
"""

import argparse
from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import sys
from typing import Any

LOCK = "device.lock"


class Device:
    """The lock on the device, of all processes of a check."""

    def __init__(self, folder: pathlib.Path):
        self._file = open(folder / LOCK, "w")

    def share(self) -> None:
        """Waits while another process times its steps."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process uses the device; keeps them waiting meanwhile."""
        fcntl.flock(self._file, fcntl.LOCK_UN)  # Or two that both share would block.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.share()


def write(folder: pathlib.Path, key: str, result: dict[str, Any]) -> None:
    """Writes what a task found; the file is whole or not there."""
    path = folder / "results" / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result, indent=1))
    os.replace(new, path)


def look() -> dict[str, Any]:
    """What JAX sees."""
    import jax

    from mvjax.cost import chips

    device = jax.devices()[0]
    chip = chips.find(device.device_kind)
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "chip": chip and chip.name,
        "peak": chip and chip.flops,
        "bytes": (device.memory_stats() or {}).get("bytes_limit"),
        "jax": jax.__version__,
        "runtime": getattr(device.client, "platform_version", "").splitlines()[:1],
    }


class Outcomes:
    """A plugin of pytest that counts outcomes and keeps the names of failures."""

    def __init__(self):
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.failures: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Counts each test once, one that fails before or after its call as well."""
        if report.failed:
            self.fail(report)
        elif report.skipped or report.when == "call":
            self.counts[report.outcome] += 1

    def pytest_collectreport(self, report: Any) -> None:
        """Counts a file that cannot be read as a failure."""
        if report.failed:
            self.fail(report)

    def fail(self, report: Any) -> None:
        """Keeps the last line that says why."""
        self.counts["failed"] += report.nodeid not in self.failures
        lines = [line for line in report.longreprtext.splitlines() if line[:2] == "E "]
        self.failures[report.nodeid] = lines[0][2:].strip() if lines else ""


def test(arguments: list[str]) -> dict[str, Any]:
    """Outcomes of tests."""
    import pytest

    outcomes = Outcomes()
    code = pytest.main([*arguments, "--tb=short"], plugins=[outcomes])
    counts = outcomes.counts | {"failures": outcomes.failures}
    return counts | {"ok": code == 0}


def bench(
    config: str, overrides: list[str], steps: int, device: Device
) -> dict[str, Any]:
    """The report of `mvjax bench`, its steps timed while nothing else uses the device."""
    from mvjax.core import process_settings

    process_settings.thread_convolutions(os.environ)
    process_settings.keep_memory()
    process_settings.collect_seldom()
    from mvjax.core import config as config_lib
    from mvjax.cost import bench as bench_lib
    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    run = run_lib.Run(config_lib.load(config, overrides))
    device.share()
    report = bench_lib.measure(
        program_lib.Program(run),
        steps=steps,
        name=config,
        overrides=overrides,
        say=lambda text: print(text, flush=True),
        alone=device.alone,
    )
    return {"ok": True, "report": report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("look", "tests", "bench"))
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--key", default="")
    parser.add_argument("--steps", type=int, default=10)
    args, rest = parser.parse_known_args()
    if args.what == "look":
        print(json.dumps(look()))
        return
    device = Device(args.folder)
    if args.what == "tests":
        device.share()
        result = test(rest)
    else:
        result = bench(rest[0], rest[1:], args.steps, device)
    write(args.folder, args.key, result)
    sys.exit(not result["ok"])


if __name__ == "__main__":
    main()
