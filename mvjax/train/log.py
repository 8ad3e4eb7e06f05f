"""What a run tells while it goes: metrics, rates, warnings, figures that went bad."""

from collections.abc import Mapping, Sequence
import contextlib
import datetime
from importlib import metadata
import pathlib
import platform
import time
from typing import Any, Self

import jax
import numpy as np

from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import text
from mvjax.tracking import writers as writers_lib
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import step as step_lib

AHEAD = 2  # Batches of steps that the host may be ahead of the device.


class Log:
    """Collects metrics on the device; fetches them only when they are written."""

    def __init__(
        self,
        program: program_lib.Program,
        workdir: pathlib.Path,
        step: int,
        meta: dict[str, Any],
        progress: bool,
    ):
        # Newest value of every metric.
        self.latest: dict[str, float] = dict(meta.get("metrics", {}))
        self._found: tuple[int, dict[str, float]] = (step, {})  # Those of one step.
        self.writers: list[writers_lib.Writer] = []
        if dist.is_main():
            names = program.run.method.published_settings()
            self.writers = writers_lib.make_writers(workdir, step, names)
        self._run = program.run
        self._optimizers = program.optimizers
        self._pending: list[tuple[dict[str, jax.Array | np.ndarray], int]] = []
        if held := meta.get("pending"):  # Of a run that had to stop.
            values = {k: np.array(v, np.float32) for k, v in held.items()}
            self._pending.append((values, len(values["loss"])))
        self._bar = writers_lib.Progress(
            step=step,
            total=program.run.total_steps,
            batch_size=program.run.batch_size,
            show=progress and dist.is_main(),
        )
        self._time = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        """Ends the bar's line where an error is to be told."""
        if kind:
            self._bar.close()
            for writer in self.writers:
                # The first trouble is told; a full disk makes more of them.
                with contextlib.suppress(errors.UserError, OSError):
                    writer.keep()

    def add(self, metrics: dict[str, jax.Array], steps: int = 1) -> None:
        """Takes the metrics of some steps, see `feed`."""
        self._pending.append((metrics, steps))
        if len(self._pending) > AHEAD:
            jax.block_until_ready(self._pending[-AHEAD - 1][0])
        self._bar.advance(steps)

    def flush(self, step: int) -> None:
        """Writes the mean of the metrics since the last time.

        Raises:
          UserError: Some metric is NaN or infinite.
        """
        if not self._pending:
            return
        values = self._fetch()  # [steps, seeds] each.
        count = len(values["loss"])
        self._refuse_nonfinite(values, step)
        with np.errstate(invalid="ignore"):
            means = {k: float(np.nanmean(v)) for k, v in values.items()}
        if self._run.config.seeds > 1:
            means["loss_std"] = float(np.std(values["loss"].mean(axis=0), ddof=1))
        now = time.monotonic()
        rate = count * self._run.batch_size / (now - self._time)
        self._time = now
        self._take(step, means)
        self._write(
            step,
            {
                "epoch": step / self._run.steps_per_epoch,
                **means,
                **self._learning_rates(step),
                "items_per_second": rate,
            },
        )
        self._bar.show(means)

    def hold(self, step: int) -> dict[str, list]:
        """What `flush` would take the mean of, as plain values.

        Raises:
          UserError: Some metric is NaN or infinite.
        """
        if not self._pending:
            return {}
        values = self._fetch()
        self._refuse_nonfinite(dict(values), step)
        return {name: array.tolist() for name, array in values.items()}

    def found_at(self, step: int) -> dict[str, float]:
        """What was flushed and evaluated at a step, if that is the newest one."""
        return self._found[1] if self._found[0] == step else {}

    def _take(self, step: int, metrics: dict[str, float]) -> None:
        self._found = step, self.found_at(step) | metrics
        self.latest |= metrics

    def _fetch(self) -> dict[str, np.ndarray]:
        """All metrics since the last time, `[steps, seeds]`."""
        counts = [count for _, count in self._pending]
        fetched = jax.device_get([metrics for metrics, _ in self._pending])
        self._pending = []
        seeds = self._run.config.seeds
        return {
            name: np.concatenate(
                [
                    np.reshape(metrics[name], (-1, seeds))[:count]
                    for metrics, count in zip(fetched, counts, strict=True)
                ]
            )
            for name in fetched[0]
        }

    def _refuse_nonfinite(self, values: dict[str, np.ndarray], step: int) -> None:
        """Stops the run at the first bad step; skipped steps become blanks."""
        good = {k: np.isfinite(v).all(axis=1) for k, v in values.items()}
        bad = [name for name, steps in good.items() if not steps.all()]
        if not bad:
            return
        count = len(values["loss"])
        skipped = ~np.all([good[name] for name in bad], axis=0)
        if self._run.config.nonfinite == "skip" and not skipped.all():
            for name in bad:
                values[name] = np.where(np.isfinite(values[name]), values[name], np.nan)
            self.warn(f"step {step}: {skipped.sum()} of {count} steps were skipped")
            return
        first = step - count + 1 + int(np.flatnonzero(skipped)[0])
        found = f"{', '.join(bad)} is not finite at step {first}"
        advice = "lower config.optim.lr, or look at the data with `mvjax data check`"
        if self._run.config.nonfinite == "skip":
            raise errors.UserError(
                f"{found}, so config.nonfinite=skip left out all {count} steps since the "
                f"last line of the log (config.log_every_steps): {advice}."
            )
        raise errors.UserError(
            f"{found}. Checkpoints are kept; {advice}, or leave such steps out with "
            "--config.nonfinite=skip."
        )

    def _learning_rates(self, step: int) -> dict[str, float]:
        rates = {
            name: float(schedule(step - 1))
            for made in self._optimizers.values()
            for name, schedule in made.schedules.items()
        }
        return {
            f"lr/{name}" if len(rates) > 1 else "lr": v for name, v in rates.items()
        }

    def evaluation(
        self,
        step: int,
        results: dict[str, dict[str, float]],
        names: Mapping[str, Sequence[str]],
    ) -> None:
        """Writes and shows what evaluators found; `names` are those of classes."""
        flat = {f"{e}/{k}": v for e, m in results.items() for k, v in m.items()}
        self._take(step, flat)
        self._write(step, flat)
        for line in _evaluation_lines(step, results, names):
            self.say(line)
        self._time = time.monotonic()  # Evaluation is not training time.

    def health(self, step: int, figures: dict[str, float], warnings: list[str]) -> None:
        """Writes how the codes spread, and shows what is wrong with them."""
        self._write(step, figures)
        for warning in warnings:
            self.warn(warning)

    def say(self, text: str) -> None:
        """Shows a line clear of the bar; one process speaks for all."""
        if dist.is_main():
            self._bar.say(text)

    def warn(self, text: str) -> None:
        """Shows a line that is not about progress."""
        self.say(f"mvjax: {text}")

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        for writer in self.writers:
            writer.write(step, metrics)

    def keep(self) -> None:
        """Has all that was written outlive this process."""
        for writer in self.writers:
            writer.keep()

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        writers, self.writers = self.writers, []  # Nothing can be kept after this.
        for writer in writers:
            writer.close()


def run_table(program: program_lib.Program, started: str) -> str:
    """What a run prints before its first step."""
    run, config = program.run, program.run.config
    made_up = " (synthetic)" if config.data.get("synthetic") else ""
    records = f"{len(run.source('train'))} training records"
    batches = f"{run.batch_size} items, {run.steps_per_epoch} an epoch"
    rows = [
        ("run", started),
        ("devices", f"{jax.device_count()} x {jax.devices()[0].device_kind}"),
        ("mesh", " x ".join(f"{k} {v}" for k, v in program.mesh.shape.items())),
        ("data", f"{config.data.name}{made_up}, {records}"),
        ("steps", f"{run.total_steps} of {batches}"),
    ]
    return "\n".join([*text.align(rows), component_table(run)])


def component_table(run: run_lib.Run) -> str:
    """Parameters of each component, and whether it is trained."""
    trained = trained_components(run)
    lines = [("component", "leaves", "parameters", "")]
    total = 0
    for name, leaves in sorted(run.shapes["params"].items()):
        sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(leaves)]
        total += sum(sizes)
        state = "trained" if name in trained else "frozen"
        lines.append((name, str(len(sizes)), f"{sum(sizes):,}", state))
    lines.append(("total", "", f"{total:,}", ""))
    return "\n".join(text.align(lines, right=(1, 2)))


def trained_components(run: run_lib.Run) -> set[str]:
    """Names of the components that some update trains."""
    params, freeze = run.shapes["params"], tuple(run.config.freeze)
    parts = (step_lib.trainable(u, params, freeze) for u in run.method.updates)
    return {name for part in parts for name in part}


def _evaluation_lines(
    step: int,
    results: dict[str, dict[str, float]],
    names: Mapping[str, Sequence[str]],
) -> list[str]:
    """One line for each evaluator."""
    lines = []
    for label, metrics in results.items():
        values = ", ".join(
            f"{_named(k, names.get(label, ()))} {v:.4g}"
            for k, v in metrics.items()
            if not k.endswith("_std") and not k.startswith(("raw", "untrained"))
        )
        lines.append(f"step {step}, {label}: {values}")
    return lines


def _named(score: str, names: Sequence[str]) -> str:
    """The name of a score, that of a numbered class with the name of the class."""
    row, _, last = score.rpartition("/")
    if not (row and last.isdecimal() and int(last) < len(names)):
        return score
    return f"{row}/{names[int(last)]}"


def describe(program: program_lib.Program, step: int) -> dict[str, Any]:
    """Environment and data of a run, for the report."""
    run = program.run
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from_step": step,
        "total_steps": run.total_steps,
        "steps_per_epoch": run.steps_per_epoch,
        "environment": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "devices": ", ".join(sorted({d.device_kind for d in jax.devices()})),
            "device_count": jax.device_count(),
            "processes": jax.process_count(),
            "mesh": dict(program.mesh.shape),
            **{name: metadata.version(name) for name in packages},
        },
        "data": run.describe_data(),
        **run.tuned,
    }
