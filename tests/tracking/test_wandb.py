"""The W&B writer: offline by itself, resumed in place, and never in a run's way."""

import contextlib
import importlib.machinery
import io
import json
import os
import pathlib
import struct
import subprocess
import sys
import threading
import time
import types

import jax
import pytest

from mvjax.core import atomic
from mvjax.core import config as config_lib
from mvjax.core import workdir as workdir_lib
from mvjax.report import run_page
from mvjax.tracking import artifacts
from mvjax.tracking import background
from mvjax.tracking import wandb
from mvjax.tracking import writers
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = str(ROOT / "tests" / "toy" / "config.py")


class Settings(types.SimpleNamespace):
    mode = "online"


class Run:
    """A run that keeps rows as W&B does: by rising steps, the latest one open."""

    def __init__(self, library, options):
        self.library, self.options = library, options
        self.id = options["id"] or f"id{len(library.runs)}"
        self.disabled = options["mode"] == "disabled"
        self.rows, self.summary, self.code = {}, {}, None
        self.artifacts = []

    def log(self, row, *, step):
        assert threading.current_thread() is not threading.main_thread()
        self.library.fail()
        assert not self.rows or step >= max(self.rows)
        self.rows.setdefault(step, {}).update(row)

    def log_artifact(self, artifact):
        self.library.fail()
        self.artifacts.append(artifact)
        return artifact

    def finish(self, exit_code):
        self.code = exit_code


class Artifact:
    """An artifact that holds what was written to its files."""

    def __init__(self, name, type):
        assert "/" not in name and len(name) <= 128
        self.name, self.type, self.files, self.waited = name, type, {}, None

    @contextlib.contextmanager
    def new_file(self, name, mode):
        stream = io.BytesIO()
        yield stream
        assert mode == "wb" and name not in self.files
        self.files[name] = stream.getvalue()

    def wait(self, timeout):
        self.waited = timeout


def make_library() -> types.ModuleType:
    """A stand-in for `wandb` that keeps its runs."""
    library = types.ModuleType("wandb")
    library.__spec__ = importlib.machinery.ModuleSpec("wandb", None, origin="here")
    library.__version__ = "0.31.2"
    library.runs, library.logged_in, library.mode = [], False, "online"
    library.fail = lambda: None
    library.Settings = Settings
    library.Artifact = Artifact

    def setup(settings):
        assert settings.silent
        return types.SimpleNamespace(settings=Settings(mode=library.mode))

    def login(*, prompt, verify):
        assert not prompt and not verify and library.mode == "online"
        return library.logged_in

    def init(**options):
        library.runs.append(Run(library, options))
        return library.runs[-1]

    library.setup, library.login, library.init = setup, login, init
    return library


@pytest.fixture
def library():
    return make_library()


@pytest.fixture
def workdir(tmp_path):
    """A workdir with a config in a folder `digits`."""
    return make_workdir(tmp_path / "digits" / "stage")


def make_workdir(path: pathlib.Path, **config) -> pathlib.Path:
    path.mkdir(parents=True, exist_ok=True)
    whole = {"data": {"batch_size": 16}, "optim": {"lr": 1e-3}, **config}
    atomic.write_json(path / workdir_lib.CONFIG_FILE, whole)
    return path


def open_writer(workdir, library, step=0, period=60.0):
    return wandb.WandB(workdir, step, library=library, period=period)


def write(workdir, library, steps, *, step=0, evaluated=None) -> Run:
    """A part of a run from its begin to its end."""
    writer = open_writer(workdir, library, step)
    for i in steps:
        writer.write(i, {"loss": 1.0 / i})
    if evaluated:
        finish(workdir, evaluated)
    writer.close()
    return library.runs[-1]


def finish(workdir, step):
    atomic.write_json(workdir / workdir_lib.EVALUATION_FILE, {"step": step})


def train(workdir, *overrides):
    config = config_lib.load(CONFIG, overrides)
    run = run_lib.Run(config)
    program = program_lib.Program(run, devices=jax.devices()[:1])
    return loop.train(program, workdir, progress=False)


def kept(workdir) -> dict:
    return json.loads((workdir / workdir_lib.WANDB_FILE).read_text())


def warnings(capsys) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "mvjax: warning: W&B is off" in line]


def test_metrics_of_a_step_are_one_row(workdir, library):
    writer = open_writer(workdir, library, period=0.01)
    writer.write(2, {"loss": 0.5, "knn/shared+private/*": 1})
    writer.write(4, {"loss": 0.25})
    time.sleep(0.1)  # The evaluation comes in a later period.
    writer.write(4, {"retrieval/recall": 0.75})
    writer.close()
    (run,) = library.runs
    assert run.rows == {
        2: {"loss": 0.5, "knn/shared+private/*": 1.0},
        4: {"loss": 0.25, "retrieval/recall": 0.75},
    }


def test_the_run_is_named_after_its_folders_and_knows_its_config(workdir, library):
    options = write(workdir, library, [1]).options
    assert (options["project"], options["name"]) == ("digits", "stage")
    assert (options["dir"], options["id"]) == (workdir, None)
    assert options["config"]["optim"] == {"lr": 1e-3}
    assert options["config"]["paths"] == background.paths(workdir)
    settings = options["settings"]
    assert (settings.console, settings.silent) == ("off", True)
    assert settings.finish_timeout == background.PATIENCE


@pytest.mark.parametrize(
    ("folder", "project"), [("a:b#50%?", "a_b_50__"), ("n" * 200, "n" * 128)]
)
def test_projects_fit_wandb(tmp_path, library, folder, project):
    run = write(make_workdir(tmp_path / folder / "w"), library, [1])
    assert run.options["project"] == project


@pytest.mark.parametrize(
    ("mode", "logged_in", "chosen"),
    [
        ("online", False, "offline"),
        ("online", True, "online"),
        ("offline", True, "offline"),
        ("disabled", True, "disabled"),
    ],
)
def test_offline_unless_the_user_is_logged_in(
    workdir, library, mode, logged_in, chosen
):
    library.mode, library.logged_in = mode, logged_in
    assert write(workdir, library, [1]).options["mode"] == chosen
    assert (workdir / workdir_lib.WANDB_FILE).exists() == (mode != "disabled")


@pytest.mark.parametrize(
    ("evaluated", "status", "code"),
    [(5, "finished", 0), (3, "killed", 1), (None, "killed", 1)],
)
def test_the_end_says_what_became_of_the_run(workdir, library, evaluated, status, code):
    run = write(workdir, library, [5], evaluated=evaluated)
    assert (run.summary["status"], run.code) == (status, code)


def test_a_writer_that_nobody_closed_has_failed(workdir, library):
    writer = open_writer(workdir, library)
    writer.write(1, {"loss": 1.0})
    del writer
    (run,) = library.runs
    assert (run.summary["status"], run.code, list(run.rows)) == ("failed", 1, [1])


def test_resume_goes_on_in_the_same_run_without_the_steps_it_has(workdir, library):
    write(workdir, library, [2, 4, 6])
    # The last checkpoint was that of step 4, so step 6 comes again.
    make_workdir(workdir, optim={"lr": 1e-4})
    run = write(workdir, library, [6, 8], step=4, evaluated=8)
    assert (run.options["id"], run.options["resume"]) == ("id0", "allow")
    assert run.options["allow_val_change"]
    assert run.options["config"]["optim"] == {"lr": 1e-4}
    assert list(run.rows) == [8]
    assert kept(workdir) == {"run_id": "id0", "step": 8}


def test_a_row_that_was_open_at_a_crash_is_written_again(workdir, library):
    writer = open_writer(workdir, library, period=0.01)
    writer.write(2, {"loss": 1.0})
    writer.write(4, {"loss": 1.0})
    time.sleep(0.1)
    writer.write(4, {"knn": 1.0})
    end = time.monotonic() + 20
    while not (library.runs and "knn" in library.runs[0].rows.get(4, {})):
        assert time.monotonic() < end
        time.sleep(0.01)
    while kept(workdir)["step"] < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    at_the_crash = kept(workdir)
    assert at_the_crash == {"run_id": "id0", "step": 2}
    writer.close()
    atomic.write_json(workdir / workdir_lib.WANDB_FILE, at_the_crash)
    assert list(write(workdir, library, [2, 4, 6], step=1).rows) == [4, 6]


def test_a_start_from_scratch_is_a_new_run(workdir, library):
    for _ in range(2):
        run = write(workdir, library, [2])
    assert run.options["id"] is None and list(run.rows) == [2]
    assert kept(workdir) == {"run_id": "id1", "step": 2}


def test_nothing_is_opened_before_there_are_metrics(workdir, library):
    open_writer(workdir, library, step=7).close()
    assert not library.runs and not (workdir / workdir_lib.WANDB_FILE).exists()


def test_paths_say_where_results_will_lie(tmp_path):
    for name in ("one", "two", "alone"):
        make_workdir(tmp_path / name)
    workdir_lib.write_stages(("one", "two"), tmp_path)
    alone, two = (
        background.paths(tmp_path / "alone"),
        background.paths(tmp_path / "two"),
    )
    assert alone["report"] == str(tmp_path / "alone" / "report" / "index.html")
    assert two["report"] == str(tmp_path / "report" / "index.html")
    assert two["checkpoints"] == str(tmp_path / "two" / "checkpoints")
    assert two["workdir"] == str(tmp_path / "two")


@pytest.mark.parametrize("logged_in", [False, True])
def test_files_become_versions_of_artifacts(workdir, library, logged_in):
    library.logged_in = logged_in
    writer = open_writer(workdir, library)
    writer.write(1, {"loss": 1.0})
    config = workdir / workdir_lib.CONFIG_FILE
    writer.artifacts("", [config], kind=artifacts.RUN)
    writer.artifacts("sh/encoder x", [config], kind=artifacts.MODEL)
    writer.close()
    (run,) = library.runs
    named = {a.name: (a.type, a.files) for a in run.artifacts}
    files = {config.name: config.read_bytes()}
    assert named == {
        "id0-run": ("run", files),
        "id0-sh_encoder_x": ("model", files),
    }
    # Offline there is nobody to wait for.
    assert {a.waited for a in run.artifacts} == {60 if logged_in else None}


def test_a_run_its_weights_and_its_page_are_kept(tmp_path, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", library)
    workdir = tmp_path / "toy"
    train(workdir, "epochs=1")
    page = run_page.write_page(workdir, allow_code=["toy"])
    trained, reported = library.runs
    found = {a.name: set(a.files) for a in trained.artifacts}
    own = {"config.json", "run.json", "evaluation.json"}
    weights = {"state_dict.pth"}
    assert found == {"id0-run": own, "id0-toy": weights, "id0-left": weights}
    assert (reported.id, reported.code, reported.rows) == ("id0", 0, {})
    own_again, report = reported.artifacts
    assert set(own_again.files) == own
    assert set(report.files) == {file.name for file in page.parent.iterdir()}
    assert (report.name, report.type) == ("id0-report", "report")
    assert report.files[page.name] == page.read_bytes()


def test_the_page_is_where_the_paths_say(workdir, monkeypatch):
    monkeypatch.setattr(
        run_page.workdir_lib, "stages", lambda folder: {}
    )  # No pictures.
    assert (
        str(run_page.write_page(workdir, allow_code=["toy"]))
        == background.paths(workdir)["report"]
    )


def test_a_failing_library_costs_one_warning(workdir, library, capsys):
    def fail():
        raise OSError("disk full\nlong story")

    library.fail = fail
    writer = open_writer(workdir, library, period=0.0)
    for step in range(1, 20):
        writer.write(step, {"loss": 1.0})
        time.sleep(0.005)
    writer.close()
    (line,) = warnings(capsys)
    assert line.endswith("OSError: disk full")


@pytest.mark.parametrize("version", [None, "0.30.9"])
def test_a_library_that_cannot_be_used_costs_one_warning(
    workdir, library, capsys, monkeypatch, version
):
    library.__version__ = version
    monkeypatch.setitem(sys.modules, "wandb", library if version else None)
    writer = wandb.WandB(workdir, 0)
    writer.write(1, {"loss": 1.0})
    writer.close()
    (line,) = warnings(capsys)
    assert "wandb 0.30.9 is older than 0.31" in line or not version


def test_a_library_that_hangs_holds_nobody(workdir, library, capsys, monkeypatch):
    monkeypatch.setattr(background, "PATIENCE", 0.2)
    free = threading.Event()
    library.fail = lambda: free.wait(30)
    start = time.monotonic()
    write(workdir, library, [1])
    assert time.monotonic() - start < 10
    (line,) = warnings(capsys)
    assert "no answer" in line
    free.set()


def test_it_is_used_when_it_is_installed(tmp_path, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", library)
    train(tmp_path / "toy", "epochs=1")
    train(tmp_path / "toy", "epochs=2")
    first, second = library.runs
    assert (first.code, second.code, second.id) == (0, 0, first.id)
    assert [sorted(first.rows), sorted(second.rows)] == [[2, 3], [4, 6]]
    assert "knn/shared/accuracy" in second.rows[6] and "loss" in second.rows[6]
    folder = pathlib.Path(second.options["config"]["paths"]["checkpoints"])
    assert {"3", "6"} <= {path.name for path in folder.iterdir()}


def test_a_folder_named_wandb_is_not_the_library(tmp_path, monkeypatch):
    (tmp_path / "wandb" / "latest-run").mkdir(parents=True)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not wandb.installed()


def test_training_goes_on_without_it(tmp_path, library, monkeypatch, capsys):
    def init(**options):
        raise RuntimeError("no network")

    library.init = init
    monkeypatch.setitem(sys.modules, "wandb", library)
    train(tmp_path / "toy", "epochs=1")
    assert (tmp_path / "toy" / "evaluation.json").is_file()
    assert [m["step"] for m in writers.read_lines(tmp_path / "toy/metrics.jsonl")]
    assert len(warnings(capsys)) == 1


def read_records(file: pathlib.Path) -> list:
    """The records of W&B's local file, a LevelDB log with a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, found, whole, at = file.read_bytes(), [], b"", 7
    while at < len(data):
        room = 2**15 - at % 2**15
        if room < 7:  # No part begins so near the end of a block.
            at += room
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # A whole record, or the last part of one.
            found.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return found


def read_rows(records) -> dict[int, dict]:
    rows = [
        {
            "/".join(i.nested_key) or i.key: json.loads(i.value_json)
            for i in r.history.item
        }
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]
    return {row["_step"]: row for row in rows}


def run_really(code: str, workdir: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs code with the real library, for a user who is not logged in."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    env |= {"HOME": str(workdir.parent), "NETRC": str(workdir.parent / "netrc")}
    env |= {"WANDB_ERROR_REPORTING": "false", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(workdir)]
    return subprocess.run(
        command,
        env=env,
        cwd=workdir.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


PART = """
import pathlib, sys
from mvjax.tracking import wandb
workdir, step, last = pathlib.Path(sys.argv[1]), {step}, {last}
writer = wandb.WandB(workdir, step)
for i in range(step + 1, last + 1):
    writer.write(i, {{"loss": 1.0 / i, "a+b/*": float("nan"), "big": 1e300}})
    writer.write(i, {{"knn/accuracy": 0.5}})
{end}
"""
KEEP = """writer.artifacts("report", [workdir / "config.json"], kind="report")
writer.close()"""


@pytest.mark.slow
def test_the_real_library_keeps_everything_offline(tmp_path):
    pytest.importorskip("wandb", minversion="0.31")
    workdir = make_workdir(tmp_path / "my runs" / "toy")
    parts = [
        PART.format(step=0, last=3, end="raise SystemExit(1)"),
        PART.format(step=2, last=5, end=KEEP),
    ]
    for part in parts:
        done = run_really(part, workdir)
        assert "warning" not in done.stderr and "wandb" not in done.stderr, done.stderr
    files = sorted((workdir / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1 and len(files) == 2
    assert kept(workdir) == {"run_id": files[0].stem.removeprefix("run-"), "step": 5}
    first, second = map(read_records, files)
    assert list(read_rows(first)) == [1, 2, 3]
    assert list(read_rows(second)) == [4, 5]  # Step 3 was there.
    kinds = [[r.WhichOneof("record_type") for r in part] for part in (first, second)]
    assert [kind.count("artifact") for kind in kinds] == [0, 1]
    (artifact,) = [r.artifact for r in second if r.HasField("artifact")]
    assert (artifact.type, artifact.name) == (
        "report",
        f"{kept(workdir)['run_id']}-report",
    )
    (entry,) = artifact.manifest.contents
    assert pathlib.Path(entry.local_path).read_bytes().startswith(b"{")
    row = read_rows(second)[5]
    assert (row["loss"], row["knn/accuracy"], row["big"]) == (0.2, 0.5, 1e300)
    assert row["a+b/*"] != row["a+b/*"]
    for records, code in ((first, 1), (second, 1)):
        (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
        assert (run.project, run.display_name) == ("my runs", "toy")
        config = {i.key: json.loads(i.value_json) for i in run.config.update}
        assert config["optim"] == {"lr": 1e-3}
        assert config["paths"] == background.paths(workdir)
        (end,) = [r.exit for r in records if r.WhichOneof("record_type") == "exit"]
        assert end.exit_code == code
