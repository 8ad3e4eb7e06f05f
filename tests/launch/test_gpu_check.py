"""The check of a GPU: what it asks for, how it keeps time, and what its table says."""

import argparse
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
HERE = ROOT / "launch/gpu_check"


@pytest.fixture
def check(monkeypatch):
    """Imports a module of the check by its name."""
    names = {file.stem for file in HERE.glob("*.py")}
    monkeypatch.syspath_prepend(str(HERE))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield __import__
    for name in names:
        sys.modules.pop(name, None)


def test_every_stage_agrees_after_its_reference_and_is_timed_in_both_types(check):
    tasks_lib = check("tasks")
    suite = tasks_lib.read_suite("machine=gpu")
    tasks = tasks_lib.make(cpu=False, steps=3)
    keys = [task.key for task in tasks]
    assert len(set(keys)) == len(keys)
    for name, (config, _) in suite.items():
        flat = name.replace("/", "-")
        for kind in ("agreement", "default"):
            task = tasks[keys.index(f"{kind}-{flat}")]
            assert task.after == f"reference-{flat}"
            assert keys.index(task.after) < keys.index(task.key)
            assert task.arguments[0].startswith(config.partition(":")[0])
            assert task.environment == {"JAX_PLATFORMS": "cuda"}
        alone = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
        assert tasks[keys.index(task.after)].environment == alone
        for dtype in ("float32", "bfloat16"):
            arguments = tasks[keys.index(f"bench-{flat}-{dtype}")].arguments
            assert f"method.dtype={dtype}" in arguments and "--steps=3" in arguments
    assert keys.index("bench-dim-edim-float32") < keys.index("bench-dim-sdim-bfloat16")


def test_the_tests_exist_and_are_run_once(check):
    tasks = [t for t in check("tasks").make(cpu=False, steps=1) if t.kind == "tests"]
    for task in tasks:
        assert (ROOT / task.name).exists()
        ignored = {a.partition("=")[2] for a in task.arguments if "--ignore" in a}
        inside = {t.name for t in tasks if t.name.startswith(f"{task.name}/")}
        assert ignored == inside
        assert task.environment == {"MVJAX_TEST_PLATFORM": "cuda,cpu"}


def test_what_is_wanted_brings_its_reference(check):
    tasks = check("tasks").make(
        cpu=True, steps=1, only=lambda key: key == "agreement-dim-sdim"
    )
    assert [t.key for t in tasks] == ["reference-dim-sdim", "agreement-dim-sdim"]


def test_who_times_has_the_device_alone(check, tmp_path):
    worker = check("worker")
    one, other = worker.Device(tmp_path), worker.Device(tmp_path)
    one.share()
    other.share()
    fcntl.flock(other._file, fcntl.LOCK_UN)
    with one.alone(), pytest.raises(BlockingIOError):
        fcntl.flock(other._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    other.share()


SAYS = "import pathlib; p = pathlib.Path({file!r}); p.write_text({text!r}); {then}"


class Checking:
    """A check of small programs in place of tasks."""

    def __init__(self, check, folder: pathlib.Path):
        self.main, self.tasks = check("main"), check("tasks")
        self.folder, self.made = folder, []
        (folder / "results").mkdir()
        (folder / "logs").mkdir()

    def add(self, kind: str, name: str, result: dict, *, after: str = "", then="pass"):
        folder = self.folder

        class Task(self.tasks.Task):
            def command(self, folder_: pathlib.Path) -> list[str]:
                file = str(folder / "results" / f"{self.key}.json")
                code = SAYS.format(file=file, text=json.dumps(result), then=then)
                return [sys.executable, "-SE", "-c", code]

        self.made.append(Task(kind, name, (), after=after))

    def run(self, *, minutes: float = 8, jobs: int = 2, stop: int | None = None) -> int:
        args = argparse.Namespace(minutes=minutes, jobs=jobs, cpu=True)
        one = self.main.Check(args, self.folder, self.made, time.time())
        if stop is not None:
            one.stop(stop, None)
        return one.run()

    @property
    def states(self) -> dict[str, str]:
        report = json.loads((self.folder / "check.json").read_text())
        return {key: task["state"] for key, task in report["tasks"].items()}


@pytest.fixture
def checking(check, tmp_path):
    return Checking(check, tmp_path)


def test_the_same_folder_takes_up_what_failed(checking, capsys):
    mark = checking.folder / "mark"
    checking.add(
        "tests", "a", {"ok": True}, then=f"open({str(mark)!r}, 'a').write('x')"
    )
    checking.add("tests", "b", {"ok": False, "failed": 2, "failures": {"t": "1 is 2"}})
    checking.add("agreement", "s", {"ok": True}, after="tests-b")
    assert checking.run() == 1
    failed = {"tests-b": "failed", "agreement-s": "failed"}
    assert checking.states == {"tests-a": "ok"} | failed
    assert "t: 1 is 2" in capsys.readouterr().out
    del checking.made[1]
    checking.add("tests", "b", {"ok": True})
    assert checking.run() == 0
    assert set(checking.states.values()) == {"ok"} and mark.read_text() == "x"


@pytest.mark.parametrize(("kind", "code"), [("tests", 3), ("bench", 0)])
def test_what_does_not_fit_is_listed_and_nothing_is_lost(
    checking, kind, code, monkeypatch
):
    monkeypatch.setattr(checking.main, "MARGIN", 0)
    monkeypatch.setattr(checking.main, "SOON", 0)
    checking.add("tests", "quick", {"ok": True, "passed": 5})
    asleep = "import time; time.sleep(60)"
    checking.add(kind, "slow float32", {}, then=asleep)
    checking.add(kind, "next float32", {"ok": True})
    began = time.monotonic()
    assert checking.run(minutes=1.5 / 60, jobs=1) == code
    assert time.monotonic() - began < 20
    missing = {f"{kind}-slow-float32", f"{kind}-next-float32"}
    assert {k for k, s in checking.states.items() if s == "not reached"} == missing
    for name in ("check.txt", "check.md"):
        assert all(key in (checking.folder / name).read_text() for key in missing)


def test_a_task_that_hangs_is_ended(checking, monkeypatch):
    monkeypatch.setitem(checking.tasks.LIMITS, "tests", 0.5)
    checking.add("tests", "a", {"ok": True}, then="import time; time.sleep(60)")
    checking.add("agreement", "b", {"ok": True})
    assert checking.run(jobs=1) == 1
    assert checking.states == {"tests-a": "failed", "agreement-b": "ok"}


def test_a_signal_ends_it_with_tables(checking):
    checking.add("tests", "a", {"ok": True})
    assert checking.run(stop=signal.SIGTERM) == 128 + signal.SIGTERM
    assert checking.states == {"tests-a": "not reached"}


def arrays(noise: float) -> dict[str, np.ndarray]:
    leaf = np.array([1.0, -2.0])
    return {
        "loss": np.array([2.0 + noise, 3.0]),
        "gradient net/kernel": leaf + noise,
        "gradient net/bias": np.array([1e-7 + noise]),  # Zero but for rounding.
        "gradient still/kernel": np.zeros(2),
        "parameters net/kernel": leaf + noise,
    }


def test_differences_are_relative_and_zeros_do_not_count(check):
    found = check("across").compare(arrays(0), arrays(1e-5))
    assert found["loss"] == pytest.approx(5e-6)
    assert found["gradient"] == pytest.approx(5e-4)  # A hundredth of 2 measures it.
    assert found["worst gradient"] == "net/bias"
    assert found["parameters"] == pytest.approx(5e-6)


def test_nan_is_the_largest_difference(check):
    broken = arrays(0) | {"gradient still/kernel": np.array([0.0, np.nan])}
    found = check("across").compare(arrays(0), broken)
    assert found["worst gradient"] == "still/kernel"
    assert not found["gradient"] <= 1


def test_the_table_tells_both_types_and_their_share_of_the_peak(check):
    def task(dtype: str, rate: float) -> dict:
        figures = {"step_items_per_second": rate, "peak_share": rate / 1e4}
        figures |= {"device_peak_bytes": 2**31}
        name = f"dim/sdim {dtype}"
        return dict(kind="bench", name=name, state="ok", report={"figures": figures})

    report = {
        "environment": {},
        "seconds": 1,
        "minutes": 8,
        "jobs": 1,
        "tasks": {"a": task("float32", 1000), "b": task("bfloat16", 2500)},
    }
    expected = "| dim/sdim | 1,000 | 2,500 | 2.50 | 2.00 | 2.00 | 10.0% | 25.0% | ok |"
    assert expected in check("tables").markdown(report)


def test_tests_tell_their_outcomes_and_what_failed(check, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "def test_good(): pass\ndef test_bad(): assert 1 == 2\n"
    )
    file, key = str(tmp_path / "test_it.py"), "tests-it"
    command = [sys.executable, str(HERE / "worker.py"), "tests", file]
    command += [f"--folder={tmp_path}", f"--key={key}", f"--rootdir={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    found = json.loads((tmp_path / f"results/{key}.json").read_text())
    assert done.returncode == 1 and not found["ok"]
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 0)
    assert list(found["failures"].values()) == ["assert 1 == 2"]


def test_other_platforms_skip_what_only_a_cpu_gets():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "tests/models/layers/test_alone.py",
    ]
    env = dict(os.environ) | {"MVJAX_TEST_PLATFORM": "cpu,cpu"}  # It is not "cpu".
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("of the CPU's programs") == 3


@pytest.mark.slow
def test_a_rehearsal_of_one_stage(tmp_path):
    command = [shutil.which("bash"), "launch/gpu_check.sh", "--cpu", "--steps=1"]
    command += [f"--output={tmp_path}/check", "--minutes=20"]
    wanted = (
        "agreement-transfer-classify",
        "bench-transfer-classify-*",
        "*ops-test_hog",
    )
    command += [f"--only={','.join(wanted)}"]
    env = dict(os.environ) | {"PYTHON_ENV": sys.prefix}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "check/check.json").read_text())
    assert len(report["tasks"]) == 5
    assert {task["state"] for task in report["tasks"].values()} == {"ok"}
    (agreed,) = [t for t in report["tasks"].values() if t["kind"] == "agreement"]
    assert 0 < agreed["gradient"] < 1e-3 and agreed["loss"] < 1e-5
