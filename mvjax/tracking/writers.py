"""Where metrics go: `metrics.jsonl`, TensorBoard, MLflow, W&B, the progress bar."""

from collections.abc import Mapping, Sequence
import json
import pathlib
import sys
import time
from typing import Any, Protocol

import numpy as np

from mvjax.core import atomic
from mvjax.core import file_kind
from mvjax.core import json_value
from mvjax.core import notice
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.tracking import mlflow
from mvjax.tracking import serve
from mvjax.tracking import wandb

PERIOD = 30.0  # Seconds between two uploads, or writes to the disk.


class Writer(Protocol):
    """Takes the metrics of a step."""

    def write(self, step: int, metrics: dict[str, float]) -> None: ...

    def artifacts(self, name: str, files: Sequence[pathlib.Path], *, kind: str) -> None:
        """Keeps copies of files under a name, "" for none, where the writer can.

        Args:
          name: Of the copies together.
          files: The files.
          kind: What they are, in a word.
        """

    def keep(self) -> None:
        """Has what was written outlive this process, as a checkpoint is about to."""

    def close(self) -> None: ...


class Lines(Writer):
    """One JSON object a line; a resumed run drops later lines, and repeats none."""

    def __init__(self, file: pathlib.Path, step: int):
        kept = [m for m in read_lines(file) if m["step"] <= step]
        self._step, self._kept = step, [json.dumps(m) + "\n" for m in kept]

    def write(self, step: int, metrics: dict[str, float]) -> None:
        text = json.dumps({"step": step, **metrics}) + "\n"
        # A kill may have come between an evaluation's line and its end.
        if step != self._step or text not in self._kept:
            self._add(text)

    def _add(self, text: str) -> None:
        """Takes a new line."""
        raise NotImplementedError


class JsonLines(Lines):
    """A file of this machine, flushed at once."""

    def __init__(self, file: pathlib.Path, step: int):
        super().__init__(file, step)
        with atomic.replace(file) as stream:
            stream.write("".join(self._kept).encode())
        self._file = file.open("a")

    def _add(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class RemoteLines(Lines):
    """The same lines in an object store, where a file can only be replaced as a whole.

    That happens every 30 seconds, before each checkpoint and at the end.
    """

    def __init__(self, file: pathlib.Path, step: int):
        super().__init__(file, step)
        self._file, self._lines = file, list(self._kept)
        self.keep()

    def _add(self, text: str) -> None:
        self._lines.append(text)
        if time.monotonic() - self._time > PERIOD:
            self.keep()

    def keep(self) -> None:
        with atomic.replace(self._file) as stream:
            stream.write("".join(self._lines).encode())
        self._time = time.monotonic()

    def close(self) -> None:
        self.keep()


class Pictures(Writer):
    """The pictures of a report as an event file, which takes the last one's place."""

    SUFFIX = ".pictures"

    def __init__(self, folder: pathlib.Path, step: int):
        import tensorboardX

        for old in folder.glob(f"*{self.SUFFIX}"):
            old.unlink()
        self._writer = tensorboardX.SummaryWriter(
            str(folder), filename_suffix=self.SUFFIX
        )
        self._step = step

    def artifacts(self, name: str, files: Sequence[pathlib.Path], *, kind: str) -> None:
        import PIL.Image

        for file in files:
            if file.suffix == ".png":
                with PIL.Image.open(file) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                self._writer.add_image(
                    f"{name}/{file.stem}", pixels, self._step, dataformats="HWC"
                )

    def close(self) -> None:
        self._writer.close()


class TensorBoard(Writer):
    """Event files, when the extra `tensorboard` is installed.

    They are written here and not by the thread of `tensorboardX.SummaryWriter`, which
    tells of a full disk by tracebacks and then blocks whoever goes on.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        from tensorboardX import event_file_writer
        from tensorboardX import summary
        from tensorboardX.proto import event_pb2

        folder.mkdir(exist_ok=True)
        self._scalar, self._event = summary.scalar, event_pb2.Event
        self._file = event_file_writer.EventsWriter(str(folder / "events"))
        # What comes after the step is of an earlier process, and no longer shown.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(step + 1, session_log=start)
        self.keep()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self._add(step, summary=self._scalar(name, value))
        if time.monotonic() - self._kept > PERIOD:
            self.keep()

    def _add(self, step: int, **content: Any) -> None:
        event = self._event(step=step, wall_time=time.time(), **content)
        self._file.write_event(event)

    def keep(self) -> None:
        self._file.flush()
        self._kept = time.monotonic()

    def close(self) -> None:
        self._file.close()


def read_lines(file: pathlib.Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl` up to a line that a crash cut short, or that is none."""
    lines = []
    if file.exists():
        file_kind.refuse_special(file)
        for text in file.read_bytes().splitlines():
            try:
                line = json_value.parse(text)
            except (ValueError, RecursionError):
                break
            if json_value.find_fault(line, {"step": int, str: (float, None)}):
                break
            lines.append(line)
    return lines


def make_writers(
    workdir: pathlib.Path, step: int, settings: Mapping[str, str] | None = None
) -> list[Writer]:
    """The writers of a run that starts after `step` steps.

    TensorBoard and MLflow write local folders only and have no part in a run whose
    workdir is in an object store.

    Args:
      workdir: Of the run.
      step: Steps done before.
      settings: Further names of settings, see `Method.published_settings`.
    """
    writers: list[Writer] = []
    if storage.is_remote(workdir):
        writers.append(RemoteLines(workdir / workdir_lib.METRICS_FILE, step))
        if serve.installed("tensorboardX") or serve.installed("mlflow"):
            print(
                f"mvjax: TensorBoard and MLflow cannot write to {workdir}; metrics.jsonl "
                "there has the curves, and `mvjax report` draws them",
                file=sys.stderr,
            )
    else:
        writers += _local_writers(workdir, step, settings)
    if wandb.installed():
        writers.append(wandb.WandB(workdir, step))
    return writers


def _local_writers(
    workdir: pathlib.Path, step: int, settings: Mapping[str, str] | None
) -> list[Writer]:
    writers: list[Writer] = [JsonLines(workdir / workdir_lib.METRICS_FILE, step)]
    try:
        writers.append(TensorBoard(workdir / workdir_lib.EVENTS_FOLDER, step))
    except ModuleNotFoundError:
        pass  # The extra is not installed.
    if serve.installed("mlflow"):
        writers.append(mlflow.MLflow(workdir, step, settings=settings))
    return writers


def reopen(workdir: pathlib.Path, step: int) -> list[Writer]:
    """Those writers of a run that has ended which keep files.

    Args:
      workdir: Of the run.
      step: The last one.
    """
    found: list[Writer] = []
    events, store = (
        workdir / workdir_lib.EVENTS_FOLDER,
        workdir.parent / serve.STORE_FILE,
    )
    if not storage.is_remote(workdir):
        if events.is_dir() and serve.installed("tensorboardX"):
            try:
                found.append(Pictures(events, step))
            except OSError as error:
                notice.warn(f"TensorBoard gets no pictures: {error}")
        known = (workdir / workdir_lib.MLFLOW_FILE).is_file() and store.is_file()
        if known and serve.installed("mlflow"):
            found.append(mlflow.MLflow(workdir, step, ended=True))
    if (workdir / workdir_lib.WANDB_FILE).exists() and wandb.installed():
        found.append(wandb.WandB(workdir, step))
    return found


class Progress:
    """Progress bar with loss, items/s and time left."""

    def __init__(self, *, step: int, total: int, batch_size: int, show: bool):
        import tqdm

        self._bar = tqdm.tqdm(
            total=total,
            initial=step,
            unit=" steps",
            disable=not show,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 10,
        )
        self._batch_size = batch_size
        self._loss = "?"

    def advance(self, steps: int) -> None:
        """Counts finished steps."""
        self._bar.update(steps)
        rate = self._bar.format_dict["rate"] or 0.0
        self._bar.set_postfix_str(
            f"loss {self._loss}, {rate * self._batch_size:.0f} items/s", refresh=False
        )

    def show(self, metrics: dict[str, float]) -> None:
        """Shows the loss of the latest log."""
        self._loss = f"{metrics['loss']:.4g}"

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
