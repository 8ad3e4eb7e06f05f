"""Ctrl-C and SIGTERM at any moment of any command: the right code, one line, no loss.

python -m pytest -m slow tests/test_signals.py -s
"""

import dataclasses
import json
import pathlib
import re
import signal
import subprocess
import time

import numpy as np
import pytest

from mvjax.train import checkpoint as checkpoint_lib
from tests import struck
from tests.train import test_kills
from tests.train import test_loop

INT, TERM = signal.SIGINT, signal.SIGTERM
FOLDER = "{folder}"  # Stands for the folder of the test.
TOY = "tests/toy/config.py:epochs=3"
LONG = "tests/toy/config.py:epochs=16"  # Each signal lets some of them pass.
ALLOW = "--allow-code=toy"
EVERY = "--config.evals.knn.every_epochs=1"
STEP, SAVE = test_kills.STEP, test_kills.SAVE
TOLD = re.compile(r"^mvjax: (interrupted|Stopped .*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, where signals meet it, and the files that it makes below its folder."""

    argv: tuple[str, ...]
    moments: tuple[tuple[str, int, float], ...]  # Moment, which call, seconds after it.
    files: tuple[str, ...] = ()


CASES = {
    "train": Case(
        ("train", f"--config={LONG}", f"--workdir={FOLDER}", "--no-progress", EVERY),
        (
            ("jax", 1, 0.1),
            ("orbax.checkpoint", 1, 0.1),
            ("sklearn", 1, 0.1),
            ("mvjax.train.loop:train", 1, 0.0),
            ("mvjax.train.loop:_start", 1, 0.1),
            (STEP, 1, 0.1),  # The compilation.
            (STEP, 2, 0.0),
            (test_kills.EVALUATE, 1, 0.1),
            (SAVE, 1, 0.02),
            (test_kills.SIGN, 1, 0.0),
            ("mvjax.train.loop:train>os:replace", 2, 0.0),
            (test_kills.FINISH, 1, 0.0),
            (test_kills.FINISH + ">os:replace", 1, 0.0),
            ("mvjax.report.terminal:evaluation", 1, 0.0),
            ("threading:_shutdown", 1, 0.0),  # Python's end.
        ),
        ("evaluation.json",),
    ),
    "chain": Case(
        ("chain", f"one={TOY}", f"two={TOY}", f"--workdir={FOLDER}", "--no-progress"),
        (
            ("mvjax.core.workdir:write_stages", 1, 0.0),
            ("mvjax.report.terminal:evaluation", 1, 0.0),
            (test_kills.STAGE, 2, 0.0),
            (test_kills.STAGE, 2, 0.3),
            (test_kills.STAGE + ">mvjax.train.checkpoint:Checkpoints.save", 2, 0.0),
            (test_kills.REPORT, 1, 0.5),
        ),
        ("one/evaluation.json", "two/evaluation.json", "chain.json"),
    ),
    "evaluate": Case(
        ("evaluate", f"--workdir={FOLDER}", ALLOW),
        (
            ("mvjax.train.run:Run.open", 1, 0.0),
            ("mvjax.evaluators.knn:Evaluator.run", 1, 0.1),
            ("mvjax.evaluators.knn:Evaluator.run>os:replace", 1, 0.0),
        ),
        ("evaluation.json",),
    ),
    "embed": Case(
        ("embed", f"--workdir={FOLDER}", ALLOW, "--dataset=test")
        + (f"--output={FOLDER}/x.npz",),
        (
            ("mvjax.evaluators.common.embed:codes", 1, 0.1),
            ("mvjax.evaluators.common.embed:write", 1, 0.0),
        ),
        ("x.npz",),
    ),
    "report": Case(
        ("report", FOLDER, ALLOW),
        (
            (test_kills.REPORT, 1, 0.1),
            ("mvjax.report.plots:scatter", 1, 0.1),
            ("mvjax.report.page:write", 1, 0.02),
        ),
        ("report/index.html",),
    ),
    "convert": Case(
        ("convert", "--to=torch", f"--workdir={FOLDER}", ALLOW, "--table=toy")
        + (f"--output={FOLDER}/x.npz",),
        (
            ("mvjax.train.checkpoint:Checkpoints.variables", 1, 0.02),
            ("mvjax.train.torch_weights:to_torch", 1, 0.0),
        ),
        ("x.npz",),
    ),
    "data": Case(
        ("data", "check", f"--config={TOY}"),
        (("mvjax.train.run", 1, 0.0), ("mvjax.data.check:run", 1, 0.0)),
    ),
    "search": Case(
        ("search", TOY, f"--workdir={FOLDER}", "--trials=2", "--no-progress")
        + ("--draw=optim.lr=1e-3..1e-2", "--metric=knn/shared/accuracy", "--mode=max"),
        (
            (STEP, 1, 0.1),
            ("mvjax.train.search:write", 1, 0.0),
            ("mvjax.train.loop:train", 2, 0.2),
        ),
        ("trial_0/evaluation.json", "trial_1/evaluation.json"),
    ),
    "bench": Case(
        ("bench", f"--config={TOY}", "--steps=3", f"--output={FOLDER}/x.json"),
        (
            ("mvjax.cost.bench:measure", 1, 0.1),
            ("mvjax.cost.bench:measure", 1, 1.0),
        ),
    ),
}
# Of all commands: before anything is imported, and while the heavy part is.
ALWAYS = (("mvjax.cli", 1, 0.0), ("jax._src.lax", 1, 0.0))
TRAINED = ("evaluate", "embed", "report", "convert")
TWICE = ((INT, INT), (TERM, TERM), (TERM, INT), (INT, TERM))


def run(argv, folder: pathlib.Path, env: dict[str, str], **moment):
    """Runs a command to its end; returns the exit code and what it said."""
    process = struck.start(
        *(text.replace(FOLDER, str(folder)) for text in argv), env=env, **moment
    )
    out, said = process.communicate(timeout=600)
    assert ("the moment has come" in out) == bool(moment), said
    return process.returncode, out, said


def check(code: int, said: str, *numbers: int) -> None:
    """One line tells of the end; of two signals, the second may add one. No traceback."""
    assert code in [128 + number for number in numbers], said
    told = TOLD.findall(said)
    assert 1 <= len(told) <= len(numbers), said
    assert len(told) == 1 or (told[0][:7], told[1]) == ("Stopped", "interrupted"), said
    for line in said.splitlines():
        assert re.match(r"run |stage |step |trial_\d: |mvjax: |\s*$", line), said


def leftovers(folder: pathlib.Path) -> list[str]:
    """Files that nobody wanted below a folder."""
    found = [*folder.rglob(".*.tmp"), *folder.rglob("*.orbax-checkpoint-tmp*")]
    return sorted(str(path) for path in [*found, *folder.rglob("damaged")])


def content(folder: pathlib.Path, case: Case) -> dict[str, object]:
    """What a command has made, without what depends on times."""
    found = {}
    for name in case.files:
        file = folder / name
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                found |= {f"{name}/{k}": arrays[k].tobytes() for k in arrays.files}
        elif file.suffix == ".json":
            found[name] = json.loads(file.read_text())
        else:
            found[name] = file.is_file()
    for file in sorted(folder.rglob("checkpoints")):
        name = str(file.parent.relative_to(folder))
        # Where a run had to stop there is a checkpoint more.
        found[name] = checkpoint_lib.find_steps(file.parent)[-1]
        found[f"{name} state"] = test_kills.read_state(file.parent)
        found[f"{name} metrics"] = test_kills.read_metrics(file.parent)
    return found


@pytest.fixture(scope="module")
def env(tmp_path_factory) -> dict[str, str]:
    """Environment of all processes, which compile each program once."""
    return struck.environment(tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_signal_at_any_moment_costs_nothing(tmp_path, env, name):
    case = CASES[name]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        if name in TRAINED:
            test_loop.train(folder, "epochs=3")
    code, out, said = run(case.argv, whole, env)
    assert code == 0, said
    for i, (moment, nth, delay) in enumerate((*ALWAYS, *case.moments)):
        # Others get them in turn; and what is written once is not written again.
        both = 2 if name == "train" and ">" not in moment else 1
        for number in ((INT, TERM), (TERM, INT))[i % 2][:both]:
            signals = ((delay, number),)
            began = time.monotonic()
            struck_code, _, said = run(
                case.argv, parts, env, moment=moment, nth=nth, signals=signals
            )
            print(
                f"{name}: {number.name} {delay} s after call {nth} of {moment}: "
                f"{struck_code}, {TOLD.findall(said)} "
                f"({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            check(struck_code, said, number)
            assert not [x for x in leftovers(parts) if x.endswith(".tmp")]
    code, after, said = run(case.argv, parts, env)
    assert code == 0, said
    if name != "bench":
        assert after.replace(str(parts), str(whole)) == out
    np.testing.assert_equal(content(parts, case), content(whole, case))
    assert not leftovers(parts)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("moment", ["jax", STEP, SAVE, test_kills.FINISH])
def test_two_signals_are_no_worse_than_one(tmp_path, env, moment, delay):
    case = CASES["train"]
    for pair in TWICE:
        signals = ((0.0, pair[0]), (delay, pair[1]))
        code, _, said = run(case.argv, tmp_path, env, moment=moment, signals=signals)
        names = " ".join(number.name for number in pair)
        print(f"{names} {delay} s at {moment}: {code}, {TOLD.findall(said)}")
        check(code, said, *pair)
    code, _, said = run(case.argv, tmp_path, env)
    assert code == 0, said
    assert not leftovers(tmp_path)
    wanted = test_loop.train(tmp_path / "whole", "epochs=16")
    state = test_kills.read_state(tmp_path)
    test_loop.assert_same_bits(wanted.params, state["params"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [INT, TERM])
def test_a_signal_some_time_after_the_start_is_one_line(tmp_path, env, number):
    for delay in (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 1.8, 2.5, 4.0):
        argv = (x.replace(FOLDER, str(tmp_path / "run")) for x in CASES["train"].argv)
        process = struck.start(*argv, env=env)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(number)
        said = process.communicate(timeout=600)[1]
        code = process.returncode
        print(f"{number.name} {delay} s after the start: {code}, {TOLD.findall(said)}")
        if "mvjax/" in said or "mvjax: " in said:
            check(code, said, number)
        else:  # Python itself was starting.
            assert code in (-number, 1) and delay < 1, said


@pytest.mark.parametrize(
    ("moment", "number"), [("mvjax.cli", TERM), ("mvjax.core.devices", INT)]
)
def test_a_signal_in_the_imports_is_one_line(tmp_path, env, moment, number):
    argv, folder = CASES["train"].argv, tmp_path / "run"
    signals = ((0.0, number),)
    code, _, said = run(argv, folder, env, moment=moment, signals=signals)
    assert (code, said) == (128 + number, "mvjax: interrupted\n")
    assert not folder.exists()
