"""Weights & Biases runs, written beside the loop; offline unless the user is logged in."""

from collections.abc import Sequence
import functools
import importlib.util
import itertools
import pathlib
import re
import tempfile
from typing import Any

from mvjax.core import atomic
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.tracking import background

OLDEST = (0, 31)  # Before, an offline run that resumes loses its first part.
NAME_LENGTH = 128  # W&B's limit.


class WandB(background.Tracker):
    """Metrics and config of a run, when the extra `wandb` is installed.

    The project is named after the folder that holds the workdir, the run after the
    workdir, which in a chain is the stage. W&B's files lie in `wandb/` in the workdir,
    or, as it writes no object stores, in a temporary folder of this machine;
    `wandb.json` in the workdir holds the run's id. A run that resumes goes on in the same
    W&B run and leaves out steps that are there already; offline it adds a folder with
    the same id, and `wandb sync` joins them. One that starts again from step 0 gets a
    new id.

    W&B uploads only where the user has logged in and `WANDB_MODE` does not say
    otherwise; it never asks. `WANDB_MODE=disabled` turns this writer off. Where
    workdir, checkpoints and report lie is in the config, under `paths`. Config,
    evaluation, report and weights become artifacts `<run id>-<name>`, which W&B keeps
    in a folder of the user (`WANDB_DATA_DIR`) until they are uploaded.

    Args:
      workdir: Of the run; its config is there.
      step: Steps done before.
      library: The module `wandb`; None: import it when the first metrics come.
      period: Seconds between two writes.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        step: int,
        *,
        library: Any = None,
        period: float = background.PERIOD,
    ):
        workdir = storage.absolute(workdir)
        open_session = functools.partial(_Session, library, workdir, step)
        super().__init__("W&B", workdir, step, open_session, period)


class _Session:
    """An open W&B run; all that speaks to the library."""

    def __init__(self, library: Any, workdir: pathlib.Path, step: int) -> None:
        library = library or _import()
        self._library = library
        self._file = workdir / workdir_lib.WANDB_FILE
        known: dict[str, Any] = {}
        if step and self._file.exists():
            known = workdir_lib.read_json(self._file, {"run_id": str, "step": int})
        config = workdir_lib.read_json(workdir / workdir_lib.CONFIG_FILE)
        mode = _choose_mode(library)
        self._online = mode not in ("offline", "dryrun", "disabled")
        self._run = library.init(
            project=_project(workdir),
            name=workdir.name[:NAME_LENGTH],
            id=known.get("run_id"),
            resume="allow",
            dir=tempfile.mkdtemp() if storage.is_remote(workdir) else workdir,
            mode=mode,
            config=config | {"paths": background.paths(workdir)},
            allow_val_change=True,  # A resumed run may have another config.
            reinit="create_new",  # The caller may have a run of his own.
            settings=library.Settings(
                console="off",  # The progress bar is no metric.
                silent=True,
                finish_timeout=background.PATIENCE,
            ),
        )
        self._logged = known.get("step", -1)  # Last step of an earlier part.
        self._step = self._complete = self._logged
        self._save()

    def log(self, values: list[background.Value]) -> None:
        """Writes one row a step.

        W&B keeps the row of the latest step open, as an evaluation may add to it, so
        that step counts as written only when the next one comes.
        """
        for step, group in itertools.groupby(values, lambda value: value.step):
            if step <= self._logged:
                continue
            self._run.log({v.name: v.value for v in group}, step=step)
            if step > self._step:
                self._complete, self._step = self._step, step
        if values:
            self._save()

    def keep(
        self, name: str, files: Sequence[pathlib.Path], kind: str, patience: float
    ) -> None:
        """Makes a version of an artifact; online, waits until it has been uploaded."""
        name = re.sub(r"[^\w.-]", "_", f"{self._run.id}-{name or kind}", flags=re.ASCII)
        artifact = self._library.Artifact(name[:NAME_LENGTH], type=kind)
        for file in files:
            with artifact.new_file(file.name, mode="wb") as stream:
                stream.write(file.read_bytes())
        artifact = self._run.log_artifact(artifact)
        if self._online:
            artifact.wait(timeout=int(patience))

    def end(self, status: str) -> None:
        """Ends the run; W&B itself knows only finished and failed."""
        self._run.summary["status"] = status.lower()
        self._run.finish(exit_code=0 if status == background.FINISHED else 1)
        self._complete = self._step
        self._save()

    def _save(self) -> None:
        if not self._run.disabled:
            known = {"run_id": self._run.id, "step": self._complete}
            atomic.write_json(self._file, known)


def installed() -> bool:
    """Whether W&B can be imported; a folder that it left where we are does not count."""
    found = importlib.util.find_spec("wandb")
    return found is not None and found.origin is not None


def _import() -> Any:
    import wandb

    if tuple(map(int, wandb.__version__.split(".")[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ImportError(f"wandb {wandb.__version__} is older than {oldest}")
    return wandb


def _choose_mode(library: Any) -> str:
    """The user's mode; offline where W&B would have to ask who the user is."""
    mode = library.setup(settings=library.Settings(silent=True)).settings.mode
    if mode in ("offline", "dryrun", "disabled"):
        return mode
    return mode if library.login(prompt=False, verify=False) else "offline"


def _project(workdir: pathlib.Path) -> str:
    """The name of the folder of workdirs, without what W&B refuses."""
    return re.sub(r"[/\\#?%:]", "_", workdir.parent.name)[:NAME_LENGTH] or "mvjax"
