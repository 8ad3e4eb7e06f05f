"""Runs that are killed fifty times at any moment end as if nothing had happened.

python -m pytest -m slow tests/train/test_kills.py -s
"""

import collections
import dataclasses
import json
import pathlib
import random
import re
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mvjax.core import workdir as workdir_lib
from mvjax.train import checkpoint as checkpoint_lib
from mvjax.train import integrity
from tests import struck

SHORT = "tests/toy/short.py"
STEP = "mvjax.train.feed:Streamed.advance"
SAVE = "mvjax.train.checkpoint:Checkpoints.save"
SIGN = "mvjax.train.integrity:sign"
FREEZE = "mvjax.train.frozen:write"
DELETE = "mvjax.train.integrity:empty_deleted>os:unlink"
REPLACE = "mvjax.train.loop:train>os:replace"
EVALUATE = "mvjax.train.scoring:Scoring.evaluate_seeds"
FINISH = "mvjax.train.loop:_finish"
STAGE = "mvjax.commands.train:train_run"
REPORT = "mvjax.report.run_page:write_page"


@dataclasses.dataclass(frozen=True)
class Kill:
    """One kill: called `name`, up to `longest` seconds after a call of a moment."""

    name: str
    moment: str = ""  # "": after the process has been started.
    nths: tuple[int, int] = (1, 1)  # From and to which call, drawn at random.
    longest: float = 0.0


START = Kill("start", longest=6)
IMPORT = Kill("import", "jax", longest=0.5)
COMPILE = Kill("compilation", STEP, longest=1)
STEPS = Kill("step", STEP, (2, 5), longest=0.05)
SAVES = Kill("save", SAVE, (1, 2), longest=0.2)
AFTER = Kill("save", SAVE, longest=0.02)
SIGNS = Kill("signing", SIGN, longest=0.005)
FREEZES = Kill("frozen part", FREEZE, longest=0.05)
RENAMES = Kill("frozen part", FREEZE + ">os:rename", (1, 3))
SEALS = Kill("frozen part", f"{FREEZE}>{SIGN}")
REMOVES = Kill("frozen part", FREEZE + ">os:unlink", (2, 8))
SEALED = Kill("frozen part", FREEZE + ">os:replace")
DELETES = Kill("deletion", DELETE, (1, 15))
WRITES = Kill("file", REPLACE, (1, 4))
EVALUATES = Kill("evaluation", EVALUATE, longest=0.5)
FINAL = Kill("final evaluation", FINISH, longest=0.5)
WRITTEN = Kill("final evaluation", FINISH + ">os:replace")
BETWEEN = Kill("between stages", STAGE, (2, 2))
LATER = Kill("between stages", STAGE, (2, 2), longest=2)
REPORTS = Kill("report", REPORT, longest=1)

ONE = [START] * 3 + [COMPILE] * 2 + [SAVES] * 3 + [DELETES] * 2
ONE += [IMPORT, STEPS, STEPS, AFTER, SIGNS, WRITES, EVALUATES]
LAST = [FINAL, WRITTEN]
# Before the first checkpoint; what the second group leaves the third one removes.
FROZEN = ([FREEZES, RENAMES, RENAMES], [SEALS], [REMOVES], [SEALED])
FIRST_STAGE = [START, COMPILE, STEPS, SAVES, AFTER, DELETES]
SECOND_STAGE = [COMPILE, STEPS, SAVES, SIGNS, DELETES, EVALUATES]
CHAIN = (FIRST_STAGE, [BETWEEN, LATER], SECOND_STAGE, [FINAL, REPORTS])


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, its stages' folders, and the kills in groups, each in any order."""

    argv: tuple[str, ...]
    stages: tuple[str, ...]
    kills: tuple[list[Kill], ...]
    before: tuple[str, ...] = ()  # A command that has to come first.
    frozen: tuple[str, ...] = ()  # Stages that freeze components.


FOLDER = "{folder}"  # Stands for the folder of the test.
MRDD = ("train", f"--config={SHORT}:name=mrdd/consistency,epochs=26", "--no-progress")
EDIM = ("train", f"--config={SHORT}:name=dim/edim,epochs=26,stage1={FOLDER}/sdim")
SDIM = ("train", f"--config={SHORT}:name=dim/sdim", f"--workdir={FOLDER}/sdim")
BOTH = ("chain", f"sdim={SHORT}:name=dim/sdim,epochs=12")
BOTH += (f"edim={SHORT}:name=dim/edim,epochs=12,stage1=previous", "--no-progress")
CASES = {
    "mrdd": Case(MRDD, ("",), (ONE[:-2], LAST)),
    "edim": Case(
        (*EDIM, "--no-progress"), ("",), (*FROZEN, ONE, LAST[1:]), SDIM, ("",)
    ),
    "chain": Case(BOTH, ("sdim", "edim"), CHAIN, frozen=("edim",)),
}


def test_there_are_fifty_kills():
    assert sum(len(group) for case in CASES.values() for group in case.kills) >= 50


def saved_step(workdir: pathlib.Path) -> int:
    """Step of the newest complete checkpoint, or 0."""
    return max(checkpoint_lib.find_steps(workdir), default=0)


def read_state(workdir: pathlib.Path) -> dict:
    """The whole state of the newest checkpoint, and the frozen part if there is one."""
    state = read_arrays(workdir / workdir_lib.CHECKPOINTS / str(saved_step(workdir)))
    if (workdir / workdir_lib.FROZEN).exists():
        state[workdir_lib.FROZEN] = read_arrays(workdir / workdir_lib.FROZEN)
    return state


def read_arrays(folder: pathlib.Path) -> dict:
    """All arrays of a checkpoint."""
    checkpointer = ocp.PyTreeCheckpointer()
    saved = checkpointer.metadata(folder / "state").item_metadata.tree
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
    return checkpointer.restore(
        folder / "state",
        args=ocp.args.PyTreeRestore(item=saved, restore_args=arguments),
    )


def read_metrics(workdir: pathlib.Path) -> list[dict]:
    """Lines of metrics, without what depends on the machine."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(x).items() if k != "items_per_second"}
        for x in lines
    ]


def look_around(workdir: pathlib.Path) -> set[str]:
    """What a kill has fallen into, as its traces tell."""
    folder = workdir / workdir_lib.CHECKPOINTS
    steps = [path for path in folder.glob("*") if path.name.isdecimal()]
    traces = {
        "unfinished save": any(folder.glob(integrity.UNFINISHED)),
        "unfinished frozen part": any(
            workdir.glob(f"{workdir_lib.FROZEN}{integrity.UNFINISHED[1:]}")
        ),
        "unsigned": not all((path / integrity.FILE).exists() for path in steps),
        "unfinished deletion": any(folder.glob(f"{integrity.DELETED}/*")),
        "temporary file": any(workdir.rglob(".*.tmp")),
    }
    return {name for name, found in traces.items() if found}


def check_said(said: str, known: list[int]) -> None:
    """Looks up that each stage which has begun goes on from what was known as saved."""
    begun = re.findall(r"^run (.*)$", said, re.MULTILINE)
    for text, step in zip(begun, known, strict=False):
        found = re.search(r"(?:resumes from|is finished at) step (\d+)", text)
        assert found or not step, said
        assert not found or int(found[1]) >= step, said
    for line in said.splitlines():
        assert re.match(r"run |stage |step |Report: |mvjax: step", line), said


def kill(process: subprocess.Popen, after: float) -> str:
    """Kills a process after so many seconds; returns what it said."""
    try:
        said = process.communicate(timeout=after)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, said  # Or the run is too short.
    return said


def finish(process: subprocess.Popen) -> str:
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def env(tmp_path_factory) -> dict[str, str]:
    """Environment of all processes, which compile each program once."""
    return struck.environment(tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_fifty_kills_lose_nothing(tmp_path, env, name):
    case, rng = CASES[name], random.Random(name)

    def start(workdir: str, **moment) -> subprocess.Popen:
        argv = [text.replace(FOLDER, str(tmp_path)) for text in case.argv]
        return struck.start(*argv, f"--workdir={tmp_path / workdir}", env=env, **moment)

    if case.before:
        argv = [text.replace(FOLDER, str(tmp_path)) for text in case.before]
        finish(struck.start(*argv, env=env))
    finish(start("whole"))
    stages = [tmp_path / "killed" / stage for stage in case.stages]
    count, traces = collections.Counter(), collections.Counter()
    for each in [k for group in case.kills for k in rng.sample(group, len(group))]:
        known = [saved_step(stage) for stage in stages]
        after, nth = rng.uniform(0, each.longest), rng.randint(*each.nths)
        began = time.monotonic()
        if each.moment:
            one = {"moment": each.moment, "nth": nth}
            said = kill(start("killed", **one, signals=((after, signal.SIGKILL),)), 600)
        else:
            said = kill(start("killed"), after)
        check_said(said, known)
        found = set().union(*(look_around(stage) for stage in stages))
        count[each.name] += 1
        traces.update(found)
        now = [saved_step(stage) for stage in stages]
        print(
            f"{name}: {each.name}, call {nth} + {after:.3f} s, steps {known} -> {now}, "
            f"{', '.join(sorted(found)) or 'no traces'} "
            f"({time.monotonic() - began:.0f} s)",
            flush=True,
        )
        assert "Traceback" not in said
        assert all(a <= b for a, b in zip(known, now, strict=True))
    known = [saved_step(stage) for stage in stages]
    check_said(finish(start("killed")), known)
    for stage in case.stages:
        whole, killed = tmp_path / "whole" / stage, tmp_path / "killed" / stage
        assert saved_step(whole) == saved_step(killed)
        assert (whole / workdir_lib.FROZEN).exists() == (stage in case.frozen)
        jax.tree.map(
            np.testing.assert_array_equal, read_state(whole), read_state(killed)
        )
        one, other = ((x / "evaluation.json").read_text() for x in (whole, killed))
        assert one == other
        steps = [m["step"] for m in read_metrics(killed) if "loss" in m]
        assert steps == sorted(set(steps))
        assert read_metrics(whole) == read_metrics(killed)
        assert look_around(killed) <= {"unsigned"}  # The best may have been struck.
        assert not (killed / integrity.DAMAGED).exists()
        assert checkpoint_lib.find_steps(whole) == checkpoint_lib.find_steps(killed)
    print(f"{name}: {sum(count.values())} kills: {dict(count)}; left: {dict(traces)}")
