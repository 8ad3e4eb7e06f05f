"""MLflow runs: one store for all workdirs of a folder, written beside the loop."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import fcntl
import functools
import json
import logging
import pathlib
import re
import sqlite3
import tempfile
import time
from typing import Any

from mvjax.core import atomic
from mvjax.core import workdir as workdir_lib
from mvjax.tracking import background
from mvjax.tracking import serve

LOCK_PATIENCE = 15.0  # Seconds until a store that another program writes is given up.
METRICS_A_CALL, PARAMETERS_A_CALL = 1000, 100  # MLflow's limits.
KEY_LENGTH, VALUE_LENGTH = 250, 6000
# Every run has these settings; MLflow shows them under these names too.
COMMON = {"Batch size": "data.batch_size", "Learning rate": "optim.lr"}
REPLACED = {"+": "-and-", "*": "all"}


class MLflow(background.Tracker):
    """Metrics, config and artifacts of a run, when the extra `mlflow` is installed.

    The run is named after the workdir, which in a chain is the stage. It lies in
    `mlflow.db` beside the workdir, in an experiment named after the folder of both;
    `mlflow.json` in the workdir holds its id. A run that resumes goes on in the same
    MLflow run and leaves out steps that are there already; one that starts again from
    step 0 gets a new one.

    The config becomes its parameters; where workdir, checkpoints and report lie, its
    tags. Artifacts are copied to `mlartifacts/` beside the store.

    Args:
      workdir: Of the run; its config is there.
      step: Steps done before.
      settings: Further names of settings, see `Method.published_settings`.
      ended: Whether the run has ended and only gets artifacts.
      library: The module `mlflow`; None: import it when the first metrics come.
      period: Seconds between two writes.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        step: int,
        *,
        settings: Mapping[str, str] | None = None,
        ended: bool = False,
        library: Any = None,
        period: float = background.PERIOD,
    ):
        workdir = workdir.absolute()
        started = int(time.time() * 1000)
        names = COMMON | dict(settings or {})
        session = functools.partial(_Session, library, workdir, step, started)
        open_session = functools.partial(session, settings=names)
        if ended:
            open_session = functools.partial(_Shelf, library, workdir)
        super().__init__("MLflow", workdir, step, open_session, period)


class _Shelf:
    """A run that has ended; its artifacts alone change."""

    def __init__(self, library: Any, workdir: pathlib.Path) -> None:
        self._client = _open_store(library or _import(), workdir.parent)
        run = _find(self._client, workdir)
        if run is None:
            raise LookupError("its store has lost the run")
        self._id = run.info.run_id

    def log(self, values: list[background.Value]) -> None:
        """Writes nothing."""

    def keep(
        self, name: str, files: Sequence[pathlib.Path], kind: str, patience: float
    ) -> None:
        """Copies files to where the experiment keeps artifacts."""
        del kind, patience
        for file in files:
            self._client.log_artifact(self._id, str(file), clean(name) or None)

    def end(self, status: str) -> None:
        """Leaves the run as it was."""


class _Session(_Shelf):
    """An open MLflow run; all that speaks to the library."""

    def __init__(
        self,
        library: Any,
        workdir: pathlib.Path,
        step: int,
        started: int,
        *,
        settings: Mapping[str, str],
    ) -> None:
        library = library or _import()
        self._entities = library.entities
        self._client = _open_store(library, workdir.parent)
        self._logged: dict[str, int] = {}  # Last step by metric, of an earlier part.
        parameters = read_parameters(workdir, settings)
        tags = background.paths(workdir)
        run = _find(self._client, workdir)
        if run and step:
            self._id = run.info.run_id
            for name, path in tags.items():  # The folder may have moved.
                self._client.set_tag(self._id, name, path)
            self._resume(run, parameters, step)
            return
        if run and run.info.status == "RUNNING":
            self._client.set_terminated(run.info.run_id, "KILLED")
        run = self._create(workdir, started, tags)
        self._id = run.info.run_id
        atomic.write_json(workdir / workdir_lib.MLFLOW_FILE, {"run_id": self._id})
        self._log_parameters(parameters)

    def _create(self, workdir: pathlib.Path, started: int, tags: dict[str, str]) -> Any:
        name = clean(workdir.parent.name) or "mvjax"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            artifacts = (workdir.parent / serve.ARTIFACTS_FOLDER).as_uri()
            try:
                number = self._client.create_experiment(name, artifacts)
            except Exception:  # Another process was faster, or it really fails.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return self._client.create_run(
            found.experiment_id if found else number,
            start_time=started,
            tags=tags,
            run_name=workdir.name,
        )

    def _resume(self, run: Any, parameters: dict[str, str], step: int) -> None:
        """Goes on in a run; parameters cannot be changed, so changes become a tag."""
        self._client.update_run(self._id, status="RUNNING")
        for name in run.data.metrics:
            history = self._client.get_metric_history(self._id, name)
            self._logged[name] = max(value.step for value in history)
        old = run.data.params
        self._log_parameters({k: v for k, v in parameters.items() if k not in old})
        changed = [f"{k}={v}" for k, v in parameters.items() if old.get(k, v) != v]
        if changed:
            text = ", ".join(changed)
            self._client.set_tag(self._id, f"changed at step {step}", cut(text))

    def _log_parameters(self, parameters: dict[str, str]) -> None:
        made = [self._entities.Param(k, v) for k, v in parameters.items()]
        for part in _split(made, PARAMETERS_A_CALL):
            self._client.log_batch(self._id, params=part, synchronous=True)

    def log(self, values: list[background.Value]) -> None:
        """Writes metrics in as few calls as MLflow allows."""
        cleaned = [v._replace(name=clean(v.name)) for v in values]
        new = [v for v in cleaned if v.step > self._logged.get(v.name, -1)]
        for part in _split([self._entities.Metric(*v) for v in new], METRICS_A_CALL):
            self._client.log_batch(self._id, metrics=part, synchronous=True)

    def end(self, status: str) -> None:
        """Ends the run with FINISHED, KILLED or FAILED."""
        self._client.set_terminated(self._id, status)


def _find(client: Any, workdir: pathlib.Path) -> Any:
    """The workdir's run, None if it has none in this store."""
    file = workdir / workdir_lib.MLFLOW_FILE
    if not file.exists():
        return None
    try:
        run = client.get_run(json.loads(file.read_text())["run_id"])
    except Exception:  # Moved or deleted; of a broken store we hear in `_create`.
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _import() -> Any:
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return mlflow


def _open_store(library: Any, folder: pathlib.Path) -> Any:
    """A client of the folder's store, which is made if need be.

    MLflow makes and updates its tables without a lock: two runs that start together, or
    one that is killed meanwhile, would leave a store that never opens again. Hence the
    lock, and a new store that is made elsewhere and copied in one transaction.
    """
    file = folder / serve.STORE_FILE
    with (folder / f".{serve.STORE_FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            with tempfile.TemporaryDirectory() as empty:
                library.MlflowClient(tracking_uri=serve.store_uri(pathlib.Path(empty)))
                _copy_store(pathlib.Path(empty) / serve.STORE_FILE, file)
        # Raises at once for a file that cannot be written; MLflow would try for minutes.
        with contextlib.closing(sqlite3.connect(file, timeout=LOCK_PATIENCE)) as store:
            store.execute("begin immediate")
        return library.MlflowClient(tracking_uri=serve.store_uri(folder))


def _copy_store(source: pathlib.Path, target: pathlib.Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def read_parameters(
    workdir: pathlib.Path, settings: Mapping[str, str]
) -> dict[str, str]:
    """The resolved config by dotted key, and some of it under the names of `settings`."""
    config = workdir_lib.read_json(workdir / workdir_lib.CONFIG_FILE)
    flat = dict(_flatten(config, ""))
    flat |= {name: flat[key] for name, key in settings.items() if key in flat}
    return {clean(key): cut(value) for key, value in flat.items()}


def _flatten(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flatten(item, f"{key}.{name}" if key else name)
    else:
        yield key, str(value)


def cut(text: str) -> str:
    """The text, shortened to what MLflow takes as a value."""
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 3] + "..."


def clean(name: str) -> str:
    """The name with what MLflow refuses in names replaced, `a+b/*` to `a-and-b/all`."""
    name = "".join(REPLACED.get(c, c) for c in name)
    name = re.sub(r"[^/\w.\- :]", "_", name)
    # Names are taken for paths: no empty part, no `.` and no `..`.
    parts = [part for part in name.split("/") if part.strip(".")]
    return "/".join(parts)[:KEY_LENGTH].rstrip("/")


def _split(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
