"""Workdirs in object stores: against a stand-in, and against an emulator if there is one.

The stand-in takes the place of the file system below `epath.Path`; orbax writes arrays
past it, so that the runs here keep their checkpoints in a local folder. The emulator
takes those too: `pip install gcsfs gcp-storage-emulator`, then `-m slow`.
"""

import importlib.util
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from etils.epath import backend
from etils.epath import gpath
import fsspec
import pytest

from mvjax.core import atomic
from mvjax.core import errors
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.report import page
from mvjax.tracking import artifacts
from mvjax.tracking import wandb
from mvjax.tracking import writers
from mvjax.train import chain
from mvjax.train import checkpoint
from mvjax.train import integrity
from mvjax.train import warm_start
from tests.tracking import test_wandb
from tests.train import test_loop

ROOT = pathlib.Path(__file__).parents[2]
EMULATOR = "gcp_storage_emulator"


class _Upload(io.BytesIO):
    """An object that appears when it is closed."""

    def __init__(self, store: "Store", path: str):
        super().__init__()
        self._store, self._path = store, path

    def close(self) -> None:
        if not self.closed:
            self._store.uploads += 1
            self._store.objects[self._path] = self.getvalue()
        super().close()


class Store(fsspec.AbstractFileSystem):
    """Objects by path: no folders, locks, renames or appending."""

    protocol = ("gs", "gcs")
    cachable = False

    def __init__(self):
        super().__init__()
        self.objects: dict[str, bytes] = {"bucket/other": b""}
        self.uploads = 0

    def ls(self, path, detail=True, **unused):
        path = self._strip_protocol(path)
        if path in self.objects:
            size = len(self.objects[path])
            found = {path: {"name": path, "size": size, "type": "file"}}
        else:
            found, above = {}, f"{path}/" if path else ""
            for name in self.objects:
                if name.startswith(above):
                    child = above + name.removeprefix(above).partition("/")[0]
                    kind = "file" if child == name else "directory"
                    found[child] = {"name": child, "size": 0, "type": kind}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else list(found)

    def _open(self, path, mode="rb", **unused):
        if mode == "wb":
            return _Upload(self, path)
        assert mode == "rb", f"no object can be opened with {mode}"
        if path not in self.objects:
            raise FileNotFoundError(path)
        return io.BytesIO(self.objects[path])

    def makedirs(self, path, exist_ok=False):
        raise AssertionError("gcsfs would make a bucket of a mistyped name")

    mkdir = makedirs


@pytest.fixture
def store(monkeypatch) -> Store:
    made = Store()
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: made)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setitem(storage.SCHEMES, "gs", "json")  # Which is installed.
    return made


@pytest.fixture
def workdir(store) -> pathlib.Path:
    return storage.path("gs://bucket/runs/c")


def test_a_bucket_is_asked_for_and_never_made(store, workdir):
    storage.make(workdir)
    with pytest.raises(errors.UserError, match="no bucket gs://typo"):
        storage.make(storage.path("gs://typo/runs/c"))
    with pytest.raises(errors.UserError, match="no bucket gs://typo"):
        with storage.own(storage.path("gs://typo/runs/c")):
            pass
    assert list(store.objects) == ["bucket/other"]


def test_a_store_that_refuses_is_one_line(store, workdir, monkeypatch):
    def refuse(path, **unused):
        raise RuntimeError("401, Anonymous caller\nand much more")

    monkeypatch.setattr(store, "ls", refuse)
    with pytest.raises(errors.UserError) as caught:
        storage.reach(workdir)
    assert str(caught.value).startswith("Cannot reach gs://bucket: 401, Anonymous")
    assert "much more" not in str(caught.value)


def test_an_object_appears_whole_or_not_at_all(store, workdir):
    with atomic.replace(workdir / "a.json") as stream:
        stream.write(b"first")
        assert not (workdir / "a.json").exists()
    assert (workdir / "a.json").read_text() == "first"
    with pytest.raises(KeyError):
        with atomic.replace(workdir / "a.json") as stream:
            stream.write(b"half")
            raise KeyError
    assert (workdir / "a.json").read_text() == "first"
    assert set(store.objects) == {"bucket/other", "bucket/runs/c/a.json"}


def test_a_failed_upload_is_one_line(store, workdir, monkeypatch):
    def fail(path, **unused):
        raise RuntimeError("503")

    monkeypatch.setattr(store, "open", fail)
    with pytest.raises(errors.UserError, match="Cannot write gs://bucket/.*: 503"):
        with atomic.replace(workdir / "a.json"):
            pass


def test_lines_are_uploaded_now_and_then(store, workdir, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = writers.RemoteLines(workdir / "metrics.jsonl", 0)
    before = store.uploads
    for step in range(1, 101):
        now += 1.0
        lines.write(step, {"loss": 1.0})
    assert store.uploads - before == 3
    lines.keep()
    assert len(writers.read_lines(workdir / "metrics.jsonl")) == 100
    lines.write(101, {"loss": 1.0})
    lines.close()
    assert len(writers.read_lines(workdir / "metrics.jsonl")) == 101
    writers.RemoteLines(workdir / "metrics.jsonl", 40)  # Resumes there.
    steps = [m["step"] for m in writers.read_lines(workdir / "metrics.jsonl")]
    assert steps == list(range(1, 41))


def test_what_needs_a_folder_is_left_out(workdir, monkeypatch, capsys):
    monkeypatch.setattr(writers.serve, "installed", lambda module: True)
    monkeypatch.setattr(wandb, "installed", lambda: True)
    kinds = [type(w).__name__ for w in writers.make_writers(workdir, 0)]
    assert kinds == ["RemoteLines", "WandB"]
    assert "TensorBoard and MLflow cannot write to gs://" in capsys.readouterr().err


def test_wandb_gets_a_folder_of_this_machine(store, workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    atomic.write_json(workdir / "config.json", {})
    run = test_wandb.write(workdir, test_wandb.make_library(), [1])
    assert pathlib.Path(run.options["dir"]).parent == tmp_path
    assert run.options["config"]["paths"]["report"].startswith("gs://bucket/runs/c/")
    assert (workdir / workdir_lib.WANDB_FILE).exists()


def test_checkpoints_get_no_digests(store, workdir):
    (workdir / "3" / "state").write_bytes(b"x")
    integrity.sign(workdir / "3")
    assert list((workdir / "3").iterdir()) == [workdir / "3" / "state"]
    (workdir / "3" / integrity.FILE).write_text("{")  # Of a copied local run.
    assert not integrity.find_damage(workdir / "3")
    assert not integrity.tidy(workdir, workdir.parent)


def test_stages_are_linked_by_address(workdir):
    first, second = test_loop.make_run().config, test_loop.make_run().config
    with second.unlocked():
        second.warm_start.a = dict(source="previous", take={"left": "left"})
    stages = {"first": first, "second": second}
    chain.link(stages, workdir)
    workdir_lib.write_stages(stages, workdir)
    assert second.warm_start.a.source == "gs://bucket/runs/c/first"
    assert workdir_lib.stages(workdir)["second"] == workdir / "second"


def test_weights_in_a_store_are_refused(store):
    run = test_loop.make_run()
    entry = {"source": "gs://bucket/c.pth", "take": {}}
    with pytest.raises(errors.UserError, match="no workdir gs://bucket/c.pth"):
        warm_start.apply({"a": entry}, run.method, run.fresh_variables())


def test_a_page_is_written_there(store, workdir):
    stage = page.Stage("toy", {}, {"loss": ([1, 2], [3.0, 2.0])}, {}, {}, "{}", {}, {})
    path = page.write(workdir / "report", title="toy", stages=[stage]).page
    assert str(path) == "gs://bucket/runs/c/report/index.html"
    assert path.read_text().startswith("<!doctype html>")
    names = {p.name for p in (workdir / "report").iterdir()}
    assert names == {"index.html", "toy-curves.png", "toy-curves.pdf"}


def test_a_page_there_goes_to_the_run_of_wandb(store, workdir, monkeypatch):
    library = test_wandb.make_library()
    monkeypatch.setitem(sys.modules, "wandb", library)
    atomic.write_json(workdir / "config.json", {"seed": 0})
    assert writers.reopen(workdir, 3) == []
    atomic.write_json(workdir / workdir_lib.WANDB_FILE, {"run_id": "abc", "step": 3})
    files = [workdir / "config.json", workdir / "evaluation.json"]
    artifacts.keep_report(workdir, 3, files, files[:1])
    (run,) = library.runs
    assert run.id == "abc"
    content = {"config.json": files[0].read_bytes()}  # There is no evaluation.
    assert [a.files for a in run.artifacts] == [content, content]


def test_a_run_writes_and_resumes_as_in_a_folder(store, workdir, tmp_path, monkeypatch):
    class Local(checkpoint.Checkpoints):
        def __init__(self, folder, **settings):
            assert folder == workdir
            super().__init__(tmp_path / "kept", **settings)

        def save(self, state, meta, metrics, **options):
            # A kill after it must lose no lines.
            assert _training_losses(workdir)[-1][0] == state.steps_done
            super().save(state, meta, metrics, **options)

    test_loop.train(tmp_path / "folder")
    monkeypatch.setattr(checkpoint, "Checkpoints", Local)
    test_loop.train(workdir, "epochs=2")
    state = test_loop.train(workdir)
    assert state.steps_done == 12
    for file in ("config.json", "run.json", "evaluation.json", "metrics.jsonl"):
        assert (workdir / file).exists()
    got, wanted = _training_losses(workdir), _training_losses(tmp_path / "folder")
    assert got == wanted and len(got) == 8


def test_a_run_that_ends_in_an_error_keeps_its_lines(
    store, workdir, tmp_path, monkeypatch
):
    local = checkpoint.Checkpoints
    monkeypatch.setattr(
        checkpoint, "Checkpoints", lambda folder, **rest: local(tmp_path, **rest)
    )
    with pytest.raises(errors.UserError, match="not finite at step 6"):
        test_loop.train(workdir, "method.break_at=5")
    assert [step for step, _ in _training_losses(workdir)] == [2, 3, 4]


def _training_losses(workdir: pathlib.Path) -> list[tuple[int, float]]:
    text = (workdir / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [(m["step"], m["loss"]) for m in found if "loss" in m]


def _steps(workdir: pathlib.Path) -> set[str]:
    """Checkpoints with files; the emulator leaves empty folders."""
    files = [p for p in (workdir / "checkpoints").glob("*/**/*") if p.is_file()]
    return {p.relative_to(workdir / "checkpoints").parts[0] for p in files}


@pytest.fixture
def emulator(tmp_path):
    """Environment of a process for which gs://bucket is an emulator's."""
    for module in ("gcsfs", EMULATOR):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = f"from {EMULATOR}.__main__ import main; main()"
    options = ["--host=127.0.0.1", f"--port={port}", "--default-bucket=bucket"]
    server = subprocess.Popen(
        [sys.executable, "-c", start, "start", "--quiet", *options],
        env=os.environ | {"STORAGE_BASE": str(tmp_path)},
        stderr=subprocess.DEVNULL,  # It tells of every connection that is dropped.
    )
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield os.environ | {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",  # For gcsfs.
            "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}",  # For orbax.
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "GOOGLE_CLOUD_PROJECT": "none",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "NO_GCE_CHECK": "true",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
        }
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_a_killed_run_goes_on_in_an_emulator(emulator, tmp_path):
    def command(*words: str) -> list[str]:
        return [sys.executable, "-c", "from mvjax import cli; cli.main()", *words]

    def do(*words: str) -> str:
        done = subprocess.run(
            command(*words), env=emulator, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    train = ["train", f"--config={test_loop.CONFIG}:epochs=6", "--no-progress"]
    train += ["--config.checkpoint.keep=2"]
    bucket = tmp_path / ".cloudstorage" / "bucket"
    first = subprocess.Popen(
        command(*train, "--workdir=gs://bucket/c"),
        env=emulator,
        stderr=subprocess.DEVNULL,
    )
    while not (bucket / "c/checkpoints/9/commit_success.txt").exists():
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert "run resumes from step" in do(*train, "--workdir=gs://bucket/c")
    do(*train, f"--workdir={tmp_path / 'folder'}")
    got, wanted = _training_losses(bucket / "c"), _training_losses(tmp_path / "folder")
    assert got == wanted and got[-1][0] == 18
    assert _steps(bucket / "c") == _steps(tmp_path / "folder")
    for file in ("config.json", "evaluation.json"):
        wanted = (tmp_path / "folder" / file).read_text()
        assert (bucket / "c" / file).read_text() == wanted
    assert "accuracy" in do("evaluate", "--workdir=gs://bucket/c")
    assert "gs://bucket/c/report/index.html" in do("report", "gs://bucket/c")
    assert (bucket / "c/report/index.html").stat().st_size > 10_000
