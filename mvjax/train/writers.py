"""Where metrics go: `metrics.jsonl`, TensorBoard, MLflow, W&B, the progress bar."""

import json
import pathlib
import sys
import time
from typing import Any, Protocol

from mvjax.core import atomic
from mvjax.core import storage
from mvjax.train import board
from mvjax.train import mlflow_writer
from mvjax.train import wandb_writer

PERIOD = 30.0  # Seconds between two uploads, or writes to the disk.


class Writer(Protocol):
    """Takes the metrics of a step."""

    def write(self, step: int, metrics: dict[str, float]) -> None: ...

    def artifact(self, name: str, path: pathlib.Path) -> None:
        """Keeps a copy of a file, or of a folder's content, where the writer can."""

    def keep(self) -> None:
        """Has what was written outlive this process, as a checkpoint is about to."""

    def close(self) -> None: ...


class JsonLines(Writer):
    """One JSON object a line, flushed at once; a resumed run drops later lines."""

    def __init__(self, file: pathlib.Path, step: int):
        kept = [m for m in read_lines(file) if m["step"] <= step]
        text = "".join(json.dumps(m) + "\n" for m in kept)
        with atomic.replace(file) as stream:
            stream.write(text.encode())
        self._file = file.open("a")

    def write(self, step: int, metrics: dict[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class RemoteLines(Writer):
    """The same lines in an object store, where a file can only be replaced as a whole.

    That happens every 30 seconds, before each checkpoint and at the end.
    """

    def __init__(self, file: pathlib.Path, step: int):
        self._file = file
        kept = [m for m in read_lines(file) if m["step"] <= step]
        self._lines = [json.dumps(m) + "\n" for m in kept]
        self.keep()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        self._lines.append(json.dumps({"step": step, **metrics}) + "\n")
        if time.monotonic() - self._kept > PERIOD:
            self.keep()

    def keep(self) -> None:
        with atomic.replace(self._file) as stream:
            stream.write("".join(self._lines).encode())
        self._kept = time.monotonic()

    def close(self) -> None:
        self.keep()


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
    """Reads `metrics.jsonl`; a last line that a crash cut short is left out."""
    lines = []
    if file.exists():
        for line in file.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return lines


def make_writers(workdir: pathlib.Path, step: int) -> list[Writer]:
    """The writers of a run that starts after `step` steps.

    TensorBoard and MLflow write local folders only and have no part in a run whose
    workdir is in an object store.
    """
    writers: list[Writer] = []
    if storage.is_remote(workdir):
        writers.append(RemoteLines(workdir / "metrics.jsonl", step))
        if board.installed("tensorboardX") or board.installed("mlflow"):
            print(
                f"mvjax: TensorBoard and MLflow cannot write to {workdir}; metrics.jsonl "
                "there has the curves, and `mvjax report` draws them",
                file=sys.stderr,
            )
    else:
        writers += _local_writers(workdir, step)
    if wandb_writer.installed():
        writers.append(wandb_writer.WandB(workdir, step))
    return writers


def _local_writers(workdir: pathlib.Path, step: int) -> list[Writer]:
    writers: list[Writer] = [JsonLines(workdir / "metrics.jsonl", step)]
    try:
        writers.append(TensorBoard(workdir / "tensorboard", step))
    except ModuleNotFoundError:
        pass  # The extra is not installed.
    if board.installed("mlflow"):
        writers.append(mlflow_writer.MLflow(workdir, step))
    return writers


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
