"""The MLflow writer: complete, resumed in place, and never in the way of a run."""

import contextlib
import importlib.machinery
import json
import pathlib
import sqlite3
import subprocess
import sys
import threading
import time
import types

import jax
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import mlruns
from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import atomic
from mvjax.core import config as config_lib
from mvjax.core import method as method_lib
from mvjax.core import workdir as workdir_lib
from mvjax.methods import sdim
from mvjax.report import run_page
from mvjax.tracking import artifacts
from mvjax.tracking import background
from mvjax.tracking import mlflow
from mvjax.tracking import serve
from mvjax.tracking import writers
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import torch_weights

CONFIG = str(pathlib.Path(__file__).parents[1] / "toy" / "config.py")


def make_library() -> types.ModuleType:
    """A stand-in for `mlflow` that keeps what it is told in `runs` and `calls`."""
    library = types.ModuleType("mlflow")
    library.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
    space = types.SimpleNamespace

    class Metric:
        def __init__(self, key, value, timestamp, step):
            self.key, self.value, self.step = key, value, step

    class Param:
        def __init__(self, key, value):
            self.key, self.value = key, value

    class MlflowClient:
        def __init__(self, tracking_uri):
            library.uri = tracking_uri

        def get_experiment_by_name(self, name):
            return library.experiments.get(name)

        def create_experiment(self, name, artifact_location):
            library.experiments[name] = space(experiment_id=name)
            return name

        def create_run(self, experiment_id, start_time, tags, run_name):
            name = f"run{len(library.runs)}"
            info = space(run_id=name, status="RUNNING", lifecycle_stage="active")
            data = space(metrics={}, params={}, tags=tags)
            library.runs[name] = space(info=info, data=data, name=run_name)
            return library.runs[name]

        def get_run(self, run_id):
            return library.runs[run_id]

        def get_metric_history(self, run_id, key):
            return library.runs[run_id].data.metrics[key]

        def update_run(self, run_id, status):
            library.runs[run_id].info.status = status

        def set_terminated(self, run_id, status):
            library.runs[run_id].info.status = status

        def set_tag(self, run_id, key, value):
            library.runs[run_id].data.tags[key] = value

        def log_batch(self, run_id, metrics=(), params=(), *, synchronous):
            library.calls.append((len(metrics), len(params)))
            library.fail(metrics)
            for m in metrics:
                library.runs[run_id].data.metrics.setdefault(m.key, []).append(m)
            for p in params:
                assert p.key not in library.runs[run_id].data.params
                library.runs[run_id].data.params[p.key] = p.value

        def log_artifact(self, run_id, path, name):
            library.artifacts.append((run_id, pathlib.Path(path), name))

    library.entities = space(Metric=Metric, Param=Param)
    library.MlflowClient = MlflowClient
    library.experiments, library.runs = {}, {}
    library.calls, library.artifacts = [], []
    library.fail = lambda metrics: None
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
    whole = {"data": {"batch_size": 16}, "optim": {"lr": 1e-3}, "freeze": [], **config}
    atomic.write_json(path / workdir_lib.CONFIG_FILE, whole)
    return path


def open_writer(workdir, library, step=0, period=60.0):
    return mlflow.MLflow(workdir, step, library=library, period=period)


def finish(workdir, step):
    atomic.write_json(workdir / workdir_lib.EVALUATION_FILE, {"step": step})


def train(workdir, *overrides):
    config = config_lib.load(CONFIG, overrides)
    run = run_lib.Run(config)
    program = program_lib.Program(run, devices=jax.devices()[:1])
    return loop.train(program, workdir, progress=False)


def steps(library, run, name):
    return [m.step for m in library.runs[run].data.metrics[name]]


def test_metrics_of_a_period_go_in_one_call(workdir, library):
    writer = open_writer(workdir, library)
    for step in range(1, 11):
        writer.write(step, {"loss": 1.0 / step, "knn/acc": 0.5})
    writer.close()
    assert [metrics for metrics, _ in library.calls if metrics] == [20]
    assert steps(library, "run0", "loss") == list(range(1, 11))


def test_metrics_appear_while_the_run_goes_on(workdir, library):
    writer = open_writer(workdir, library, period=0.01)
    writer.write(1, {"loss": 1.0})
    end = time.monotonic() + 20
    while not (library.runs and library.runs["run0"].data.metrics):
        assert time.monotonic() < end
        time.sleep(0.01)
    writer.close()


def test_calls_stay_below_the_limits(tmp_path, library):
    workdir = make_workdir(tmp_path / "w", method={f"k{i}": i for i in range(250)})
    writer = open_writer(workdir, library)
    writer.write(1, {f"m{i}": 0.0 for i in range(2500)})
    writer.close()
    assert [m for m, _ in library.calls if m] == [1000, 1000, 500]
    assert [p for _, p in library.calls if p] == [100, 100, 55]


def test_parameters_are_the_config_and_the_published_names(tmp_path):
    method = {
        "name": "x",
        "local_mutual_loss_coeff": 1.0,
        "global_mutual_loss_coeff": 0.5,
        "shared_loss_coeff": 0.1,
        "text": "t" * 9000,
    }
    names = mlflow.COMMON | sdim.SETTINGS
    workdir = make_workdir(tmp_path / "w", method=method)
    found = mlflow.read_parameters(workdir, names)
    assert found["optim.lr"] == found["Learning rate"] == "0.001"
    assert found["Batch size"] == "16" and found["freeze"] == "[]"
    assert (found["Local mutual weight"], found["L1 weight"]) == ("1.0", "0.1")
    assert found["Global mutual weight"] == "0.5"
    assert "Discriminator weight" not in found
    assert len(found["method.text"]) == 6000 and found["method.text"].endswith("...")


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("knn/shared/accuracy", "knn/shared/accuracy"),
        ("knn/shared+private/*/acc", "knn/shared-and-private/all/acc"),
        ("a//b/../c/", "a/b/c"),
        ("untrained:x é(1)", "untrained:x é_1_"),
        ("n" * 300, "n" * 250),
    ],
)
def test_names_fit_mlflow(name, cleaned):
    assert mlflow.clean(name) == cleaned


@pytest.mark.parametrize(
    ("evaluated", "status"), [(5, "FINISHED"), (3, "KILLED"), (None, "KILLED")]
)
def test_status_tells_whether_the_run_came_to_its_end(
    workdir, library, evaluated, status
):
    writer = open_writer(workdir, library)
    writer.write(5, {"loss": 1.0})
    if evaluated:
        finish(workdir, evaluated)
    writer.close()
    run = library.runs["run0"]
    assert (run.info.status, run.name) == (status, "stage")
    assert list(library.experiments) == ["digits"]


def test_a_writer_that_nobody_closed_has_failed(workdir, library):
    writer = open_writer(workdir, library)
    writer.write(1, {"loss": 1.0})
    del writer
    assert library.runs["run0"].info.status == "FAILED"
    assert steps(library, "run0", "loss") == [1]


def test_resume_goes_on_in_the_same_run(workdir, library):
    writer = open_writer(workdir, library)
    for step in (2, 4, 6):
        writer.write(step, {"loss": 1.0})
    writer.close()
    # The last checkpoint was that of step 4, so step 6 comes again; `optim.lr` changed.
    make_workdir(workdir, optim={"lr": 1e-4}, new=1)
    writer = open_writer(workdir, library, step=4)
    for step in (6, 8):
        writer.write(step, {"loss": 1.0, "late": 0.0})
    finish(workdir, 8)
    writer.close()
    assert list(library.runs) == ["run0"]
    assert steps(library, "run0", "loss") == [2, 4, 6, 8]
    assert steps(library, "run0", "late") == [6, 8]
    run = library.runs["run0"]
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "0.001" and run.data.params["new"] == "1"
    assert "optim.lr=0.0001" in run.data.tags["changed at step 4"]


def test_a_start_from_scratch_is_a_new_run(workdir, library):
    for _ in range(2):
        writer = open_writer(workdir, library)
        writer.write(2, {"loss": 1.0})
        writer.close()
    assert list(library.runs) == ["run0", "run1"]
    assert json.loads((workdir / workdir_lib.MLFLOW_FILE).read_text()) == {
        "run_id": "run1"
    }


@pytest.mark.parametrize("lost", ["gone", "deleted"])
def test_a_run_that_the_store_lost_is_begun_anew(workdir, library, lost):
    writer = open_writer(workdir, library)
    writer.write(2, {"loss": 1.0})
    writer.close()
    library.runs["run0"].info.lifecycle_stage = "deleted"
    if lost == "gone":
        (workdir / workdir_lib.MLFLOW_FILE).write_text('{"run_id": "unknown"}')
    writer = open_writer(workdir, library, step=2)
    writer.write(4, {"loss": 1.0})
    writer.close()
    assert steps(library, "run1", "loss") == [4]


def test_tags_say_where_results_lie_even_after_a_move(workdir, library):
    writer = open_writer(workdir, library)
    writer.write(2, {"loss": 1.0})
    writer.close()
    tags = library.runs["run0"].data.tags
    assert tags == background.paths(workdir)
    assert tags["checkpoints"] == str(workdir / "checkpoints")
    moved = workdir.rename(workdir.with_name("moved"))
    writer = open_writer(moved, library, step=2)
    writer.write(4, {"loss": 1.0})
    writer.close()
    assert list(library.runs) == ["run0"] and tags == background.paths(moved)


def test_nothing_is_opened_before_there_are_metrics(workdir, library):
    open_writer(workdir, library, step=7).close()
    assert not library.runs and not (workdir / workdir_lib.MLFLOW_FILE).exists()


def test_artifacts_are_copied_before_the_call_returns(workdir, library, tmp_path):
    writer = open_writer(workdir, library)
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(b"x")
    writer.artifacts("e+x", files, kind=artifacts.MODEL)
    writer.artifacts("", files[:1], kind=artifacts.RUN)
    assert library.artifacts == [
        ("run0", files[0], "e-and-x"),
        ("run0", files[1], "e-and-x"),
        ("run0", files[0], None),
    ]
    writer.close()


def warnings(capsys, start="MLflow is off") -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if f"mvjax: warning: {start}" in line]


def keep_weights(library) -> dict[str, dict]:
    """Has the library read files at once, as it would copy them; returns by name."""
    kept = {}

    def log_artifact(self, run_id, path, name):
        if name:
            assert name not in kept and pathlib.Path(path).name == "state_dict.pth"
            kept[name] = files.read(path)

    library.MlflowClient.log_artifact = log_artifact
    return kept


def make_run(tables, trains=None, freeze=()):
    """A run of a method with these tables and one update."""
    update = method_lib.Update("main", None, trains)
    tables = {name: torch_table.Table(leaves) for name, leaves in tables.items()}
    method = types.SimpleNamespace(
        torch_tables=lambda: tables,
        torch_notes=dict,
        updates=(update,),
        artifact_names=lambda: sdim.ARTIFACTS,
    )
    return types.SimpleNamespace(
        method=method, config=types.SimpleNamespace(freeze=freeze)
    )


@pytest.mark.parametrize(
    ("trains", "freeze", "left_out"),
    [
        (None, (), ()),
        (("private_x", "private_y"), (), ("sh_encoder_x", "sh_encoder_y")),
        (None, ("*_y",), ("sh_encoder_y", "ex_encoder_y")),
    ],
)
def test_trained_encoders_are_kept_under_their_published_names(
    workdir, library, trains, freeze, left_out
):
    kept = keep_weights(library)
    rng = np.random.default_rng(0)
    kernels = {
        f"{kind}_{view}": rng.normal(size=(3, 2)).astype(np.float32)
        for kind in ("shared", "private")
        for view in "xy"
    }
    leaves = {name: torch_map.linear(name, name, bias=False) for name in kernels}
    tables = {"whole": [leaf for part in leaves.values() for leaf in part], **leaves}
    params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
    writer = open_writer(workdir, library)
    run = make_run(tables, trains, freeze)
    torch_weights.keep_weights([writer], run, {"params": params})
    writer.close()
    names = ("whole", "sh_encoder_x", "sh_encoder_y", "ex_encoder", "ex_encoder_y")
    assert tuple(kept) == tuple(name for name in names if name not in left_out)
    for name, table in zip(names, tables, strict=True):
        for key, value in kept.get(name, {}).items():
            assert key.partition(".")[0] in (table, *kernels)
            np.testing.assert_array_equal(value, kernels[key.removesuffix(".weight")].T)


def test_weights_that_cannot_be_written_cost_one_warning(workdir, library, capsys):
    kept = keep_weights(library)
    run = make_run({"whole": torch_map.linear("part/absent", "dense")})
    writer = open_writer(workdir, library)
    writer.write(3, {"loss": 1.0})
    variables = {"params": {"part": {"dense": {"kernel": np.zeros((2, 2))}}}}
    torch_weights.keep_weights([writer], run, variables)
    finish(workdir, 3)
    writer.close()
    (line,) = warnings(capsys, "trackers got no weights")
    assert "absent" in line and not kept
    assert library.runs["run0"].info.status == "FINISHED"


def test_a_writer_that_is_off_converts_nothing(workdir, library, capsys):
    def fail(metrics):
        raise OSError("disk full")

    library.fail = fail
    writer = open_writer(workdir, library)
    files = [workdir / workdir_lib.CONFIG_FILE]
    artifacts.keep_run([writer], files)  # It is off before the weights.
    torch_weights.keep_weights([writer], None, {})
    assert len(warnings(capsys, "MLflow")) == 1


def test_files_that_cannot_be_kept_cost_one_warning(workdir, library, capsys):
    def log_artifact(self, run_id, path, name):
        raise OSError("no space left")

    library.MlflowClient.log_artifact = log_artifact
    writer = open_writer(workdir, library)
    writer.write(3, {"loss": 1.0})
    for _ in range(2):
        artifacts.keep_run([writer], [workdir / workdir_lib.CONFIG_FILE])
    writer.write(4, {"loss": 1.0})
    finish(workdir, 4)
    writer.close()
    (line,) = warnings(capsys, "MLflow keeps no more files")
    assert line.endswith("OSError: no space left")
    assert steps(library, "run0", "loss") == [3, 4]
    assert library.runs["run0"].info.status == "FINISHED"


def test_a_failing_store_costs_one_warning(workdir, library, capsys, tmp_path):
    def fail(metrics):
        if metrics:
            raise OSError("database is locked\nlong story")

    library.fail = fail
    writer = open_writer(workdir, library, period=0.0)
    for step in range(1, 20):
        writer.write(step, {"loss": 1.0})
        time.sleep(0.005)
    writer.artifacts("encoder", [], kind=artifacts.MODEL)
    writer.close()
    (line,) = warnings(capsys)
    assert line.endswith("OSError: database is locked")
    assert sum(1 for metrics, _ in library.calls if metrics) == 1


def test_a_library_that_cannot_be_imported_costs_one_warning(
    workdir, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    writer = mlflow.MLflow(workdir, 0)
    writer.write(1, {"loss": 1.0})
    writer.close()
    (line,) = warnings(capsys)
    assert "mlflow" in line


def test_a_store_that_hangs_holds_nobody(workdir, library, capsys, monkeypatch):
    monkeypatch.setattr(background, "PATIENCE", 0.2)
    free = threading.Event()
    library.fail = lambda metrics: free.wait(30)
    writer = open_writer(workdir, library)
    start = time.monotonic()
    writer.write(1, {"loss": 1.0})
    writer.artifacts("encoder", [], kind=artifacts.MODEL)
    writer.close()
    assert time.monotonic() - start < 10
    assert len(warnings(capsys)) == 1
    free.set()


def test_training_uses_it_when_it_is_installed(tmp_path, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", library)
    names = {"Hidden width": "method.width"}
    monkeypatch.setattr(method_lib.Method, "published_settings", lambda self: names)
    train(tmp_path / "toy", "epochs=1")
    train(tmp_path / "toy", "epochs=2")
    (run,) = library.runs.values()
    assert run.info.status == "FINISHED"
    assert steps(library, "run0", "loss") == [2, 3, 4, 6]
    assert steps(library, "run0", "knn/shared/accuracy") == [3, 6]
    assert run.data.params["Batch size"] == "16"
    assert run.data.params["Hidden width"] == run.data.params["method.width"]
    assert run.data.tags["changed at step 3"] == "epochs=2"


def test_the_end_of_training_keeps_the_final_weights_once(
    tmp_path, library, monkeypatch
):
    kept = keep_weights(library)
    monkeypatch.setitem(sys.modules, "mlflow", library)
    workdir = tmp_path / "toy"
    train(workdir, "epochs=1")
    run = run_lib.Run.open(workdir, allow_code=["toy"])
    with run.checkpoints(workdir, read_only=True) as checkpoints:
        variables, _ = checkpoints.variables()
    assert set(kept) == set(run.method.torch_tables()) == {"toy", "left"}
    torch_weights.to_torch(run.method, variables, tmp_path / "wanted.npz")
    wanted = files.read(tmp_path / "wanted.npz")
    assert kept["toy"].keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(kept["toy"][key], value, err_msg=key)
    train(workdir, "epochs=1")  # Nothing is left to do or to keep.
    assert len(library.runs) == 1


@pytest.mark.slow
def test_the_page_is_kept_in_the_run_that_has_ended(
    tmp_path, library, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "mlflow", library)
    workdir = tmp_path / "toy"
    train(workdir, "epochs=1")
    own = [workdir / name for name in ("config.json", "run.json", "evaluation.json")]
    before = library.artifacts
    assert [path for _, path, name in before if name is None] == own
    library.artifacts = []
    page = run_page.write_page(workdir, allow_code=["toy"])
    kept = [path for _, path, name in library.artifacts if name == "report"]
    assert kept[0] == page and {p.suffix for p in kept[1:]} == {".png", ".pdf"}
    assert {p.name for p in kept} == {p.name for p in page.parent.iterdir()}
    assert {run for run, _, _ in library.artifacts} == {"run0"} == set(library.runs)
    assert library.runs["run0"].info.status == "FINISHED"
    library.runs["run0"].info.lifecycle_stage = "deleted"
    library.artifacts = []
    run_page.write_page(workdir, allow_code=["toy"])
    (line,) = warnings(capsys)
    assert "has lost the run" in line and not library.artifacts


def test_training_goes_on_without_the_store(tmp_path, library, monkeypatch, capsys):
    def fail(metrics):
        raise RuntimeError("disk full")

    library.fail = fail
    monkeypatch.setitem(sys.modules, "mlflow", library)
    train(tmp_path / "toy", "epochs=1")
    assert (tmp_path / "toy" / "evaluation.json").is_file()
    assert [m["step"] for m in writers.read_lines(tmp_path / "toy/metrics.jsonl")]
    assert len(warnings(capsys)) == 1


def test_a_run_that_breaks_has_failed(tmp_path, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", library)
    with pytest.raises(Exception, match="not finite"):
        train(tmp_path / "toy", "epochs=2", "method.break_at=3")
    monkeypatch.setattr(sys, "last_traceback", None, raising=False)
    end = time.monotonic() + 20
    while library.runs["run0"].info.status == "RUNNING" and time.monotonic() < end:
        time.sleep(0.05)
    assert library.runs["run0"].info.status == "FAILED"


def test_a_real_store_holds_everything(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    workdir = tmp_path / "my runs" / "toy"
    train(workdir, "epochs=1")
    first = json.loads((workdir / workdir_lib.MLFLOW_FILE).read_text())
    train(workdir, "epochs=2")
    assert json.loads((workdir / workdir_lib.MLFLOW_FILE).read_text()) == first
    client = mlflow.MlflowClient(serve.store_uri(serve.find_store(workdir)))
    experiment = client.get_experiment_by_name("my runs")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "toy")
    assert run.data.params["optim.lr"] == run.data.params["Learning rate"] == "0.01"
    assert run.data.tags["changed at step 3"] == "epochs=2"
    assert run.data.tags.items() >= background.paths(workdir).items()
    lines = writers.read_lines(workdir / "metrics.jsonl")
    names = [entry.path for entry in client.list_artifacts(run.info.run_id)]
    own = ["config.json", "evaluation.json", "run.json"]
    assert sorted(names) == sorted([*own, "left", "toy"])
    path = client.download_artifacts(run.info.run_id, "evaluation.json", str(tmp_path))
    assert json.loads(pathlib.Path(path).read_text())["step"] == 6
    assert_the_page_follows(workdir, client, run.info)
    (weights,) = mlruns.find(tmp_path / "my runs" / serve.ARTIFACTS_FOLDER, ["toy"])
    assert "bn.running_var" in files.read(weights)
    for name in ("loss", "knn/shared/accuracy", "epoch"):
        kept = {line["step"]: line[name] for line in lines if name in line}
        history = client.get_metric_history(run.info.run_id, name)
        assert {m.step: m.value for m in history} == kept
        assert len(history) == len(kept)


def assert_the_page_follows(workdir, client, info):
    """A report of the workdir is kept in its run, of which nothing else changes."""
    (workdir / "report").mkdir()
    (workdir / "report" / "of somebody else.png").write_bytes(b"")
    page = run_page.write_page(workdir, allow_code=["toy"])
    entries = {e.path for e in client.list_artifacts(info.run_id, "report")}
    pictures = {p.name for p in workdir.glob("report/toy-*.*")}
    assert entries == {f"report/{name}" for name in (page.name, *pictures)}
    assert {pathlib.Path(p).suffix for p in pictures} == {".png", ".pdf"}
    after = client.get_run(info.run_id).info
    assert (after.status, after.end_time) == (info.status, info.end_time)


def test_a_real_store_takes_odd_values_names_and_artifacts(workdir, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    make_workdir(workdir, method={f"k{i}": "t" * 7000 for i in range(120)})
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "state_dict.pth").write_bytes(b"weights")
    writer = mlflow.MLflow(workdir, 0)
    writer.write(1, {"a+b/*": float("nan"), "untrained:x": float("inf"), "y": -1.0})
    writer.write(2, {f"m/{i}": i for i in range(1100)})
    weights = [tmp_path / "encoder" / "state_dict.pth"]
    for name in ("ex_encoder", "sh_encoder_x"):
        writer.artifacts(name, weights, kind=artifacts.MODEL)
    writer.close()
    client = mlflow.MlflowClient(serve.store_uri(workdir.parent))
    run_id = json.loads((workdir / workdir_lib.MLFLOW_FILE).read_text())["run_id"]
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert len(run.data.metrics) == 1103 and run.data.metrics["a-and-b/all"] != 0
    assert len(run.data.params["method.k119"]) == 6000
    for name in ("ex_encoder", "sh_encoder_x"):
        (file,) = client.list_artifacts(run_id, name)
        assert file.path == f"{name}/state_dict.pth"
    copies = (workdir.parent / serve.ARTIFACTS_FOLDER).rglob("state_dict.pth")
    assert [copy.read_bytes() for copy in copies] == [b"weights"] * 2


@pytest.mark.parametrize("damage", ["broken", "folder", "locked"])
def test_a_store_that_cannot_be_written_costs_one_warning(
    workdir, library, capsys, monkeypatch, damage
):
    monkeypatch.setattr(mlflow, "LOCK_PATIENCE", 0.1)
    monkeypatch.setattr(background, "PATIENCE", 10.0)  # It is not needed.
    store = workdir.parent / serve.STORE_FILE
    if damage == "broken":
        store.write_bytes(b"no database at all" * 100)
    elif damage == "folder":
        store.mkdir()
    other = sqlite3.connect(store if damage == "locked" else ":memory:")
    with contextlib.closing(other):
        other.execute("begin exclusive")
        writer = open_writer(workdir, library)
        writer.write(1, {"loss": 1.0})
        writer.close()
    (line,) = warnings(capsys)
    assert "Error: " in line and "no answer" not in line
    assert not library.runs


@pytest.mark.slow
def test_runs_that_start_together_share_a_real_store(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    code = (
        "import pathlib, sys\n"
        "from mvjax.tracking import mlflow\n"
        "writer = mlflow.MLflow(pathlib.Path(sys.argv[1]), 0)\n"
        "writer.write(1, {'loss': 1.0})\n"
        "writer.close()\n"
    )
    names = ["r0", "r1", "r2"]
    together = [
        subprocess.Popen([sys.executable, "-c", code, make_workdir(tmp_path / name)])
        for name in names
    ]
    assert [process.wait(300) for process in together] == [0, 0, 0]
    client = mlflow.MlflowClient(serve.store_uri(tmp_path))
    experiment = client.get_experiment_by_name(tmp_path.name)
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == names
    assert all(run.data.metrics == {"loss": 1.0} for run in runs)


@pytest.mark.slow
def test_a_real_store_that_breaks_later_costs_one_warning(workdir, capsys):
    pytest.importorskip("mlflow")
    writer = mlflow.MLflow(workdir, 0, period=0.01)
    writer.write(1, {"loss": 1.0})
    files = [workdir / workdir_lib.CONFIG_FILE]
    writer.artifacts("", files, kind=artifacts.RUN)  # Now it is open.
    store = workdir.parent / serve.STORE_FILE
    with contextlib.closing(sqlite3.connect(store)) as other:
        other.execute("begin exclusive")
        writer.write(2, {"loss": 1.0})
        writer.close()
    assert len(warnings(capsys)) == 1
