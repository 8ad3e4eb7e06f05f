"""The one training loop: step, log, evaluate, save."""

import datetime
from importlib import metadata
import pathlib
import platform
import signal
import sys
import time
from typing import Any

import jax
import numpy as np

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import pipeline
from mvjax.train import checkpoint as checkpoint_lib
from mvjax.train import control as control_lib
from mvjax.train import mlflow_writer
from mvjax.train import run as run_lib
from mvjax.train import sharding
from mvjax.train import state as state_lib
from mvjax.train import summary
from mvjax.train import writers as writers_lib

RUN_FILE = "run.json"
# What a resumed run must share with its checkpoints, beside the shapes.
FIXED = ("seed", "method", "accumulate")


class Interrupted(Exception):
    """The run was asked to stop and has saved; `code` is the exit code."""

    def __init__(self, step: int, code: int):
        super().__init__(f"Stopped and saved at step {step}; run again to resume.")
        self.code = code


class _Signals:
    """Turns SIGINT and SIGTERM into a wish that the loop fulfils between two steps."""

    def __init__(self) -> None:
        self.code = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        del frame
        self.code = 128 + number
        signal.signal(number, self._old[number])  # A second one ends at once.


def train(
    run: run_lib.Run, workdir: pathlib.Path, *, progress: bool = True
) -> state_lib.TrainState:
    """Trains a run to its end, from its own last checkpoint if it has one.

    Args:
      run: The run; its config is written to the workdir.
      workdir: Folder of the run, made if need be.
      progress: Whether to show the progress bar and tables.

    Returns:
      The final state; the final evaluation lies in `evaluation.json`.

    Raises:
      UserError: The config does not fit the data, or the workdir is of another run.
      Interrupted: SIGINT or SIGTERM; everything is saved.
    """
    workdir = workdir.absolute()
    _claim(run, workdir)
    config = run.config
    with run.checkpoints(workdir) as checkpoints, _Signals() as signals:
        state, meta, started = _start(run, checkpoints)
        if progress:
            print(summary.run_table(run, started), file=sys.stderr)
        step, total = int(state.step), run.total_steps
        run_lib.write_json(workdir / RUN_FILE, _describe(run, step))
        log = _Log(run, workdir, step, meta.get("metrics", {}), progress)
        control = control_lib.Control.make(config.control, meta.get("control"))
        rng = jax.random.key(config.seed)
        rows = sharding.batch_sharding(run.mesh)
        if run.has_constants:
            if progress:
                print("looks at every record with what is frozen", file=sys.stderr)
            run.keep_constants(_host(state))
        with _batches(run, step) as batches:
            while step < total and not control.stopped:
                batch = sharding.put_batch(next(batches), rows)
                state, metrics = run.step(state, batch, rng)
                step += 1
                log.add(metrics)
                last = signals.code or step == total
                due = _due_evaluations(run, step)
                if last or due or step % config.log_every_steps == 0:
                    log.flush(step)
                if due:
                    results = run.evaluate(_host(state), due)
                    log.evaluation(step, results)
                    control.observe(results)
                    state = control.apply(state)
                if last or control.stopped or _due_checkpoint(run, step):
                    log.flush(step)
                    meta = _meta(run, log) | {"control": control.seen}
                    checkpoints.save(state, meta, log.latest)
                if signals.code:
                    checkpoints.wait()
                    log.close()
                    raise Interrupted(step, signals.code)
        checkpoints.wait()
        _finish(run, workdir, checkpoints, state, log)
    return state


def _claim(run: run_lib.Run, workdir: pathlib.Path) -> None:
    """Makes the workdir and writes the config, unless another run lives there."""
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / run_lib.CONFIG_FILE
    if file.exists() and (workdir / checkpoint_lib.FOLDER).is_dir():
        old, new = config_lib.read(file).to_dict(), run.config.to_dict()
        for key in FIXED:
            if _plain(old.get(key)) != _plain(new[key]):
                raise errors.UserError(
                    f"{workdir} holds a run with another config.{key}; choose another "
                    "--workdir, or remove that one."
                )
    config_lib.save(run.config, file)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _start(
    run: run_lib.Run, checkpoints: checkpoint_lib.Checkpoints
) -> tuple[state_lib.TrainState, dict, str]:
    """State to go on from: own checkpoint, else warm start, else scratch."""
    steps = checkpoints.steps()
    if not steps:
        start = "starts from scratch"
        if run.config.warm_start:
            sources = [entry["source"] for entry in run.config.warm_start.values()]
            start = f"starts, warm from {', '.join(sources)}"
        return run.initial_state(), {}, start
    state, meta = checkpoints.restore(run.state_target, steps[-1])
    for key, value in _fixed_meta(run).items():
        if meta.get(key, value) != value:  # A converted workdir has none of them.
            raise errors.UserError(
                f"The checkpoint of step {steps[-1]} was trained with {key} "
                f"{meta.get(key)}, this run has {value}; the order of the data would "
                "differ."
            )
    done = steps[-1] >= run.total_steps
    what = "is finished at" if done else "resumes from"
    return state, meta, f"{what} step {steps[-1]}"


def _fixed_meta(run: run_lib.Run) -> dict[str, Any]:
    """What must not change within a run, because the data's order hangs on it."""
    return {
        "seed": run.config.seed,
        "batch_size": run.batch_size,
        "data": run.source("train").fingerprint(),
    }


def _meta(run: run_lib.Run, log: "_Log") -> dict[str, Any]:
    return {**_fixed_meta(run), "metrics": dict(log.latest)}


def _batches(run: run_lib.Run, step: int) -> pipeline.Batches:
    """This process's share of the batches from `step` on."""
    return pipeline.train_batches(
        run.training_source("train"),
        seed=run.config.seed,
        batch_size=run.batch_size,
        step=step,
        host=jax.process_index(),
        hosts=jax.process_count(),
        workers=run.config.data.get("workers", 0),
    )


def _host(state: state_lib.TrainState) -> dict[str, Any]:
    """Variables for evaluation."""
    return jax.tree.map(np.asarray, jax.device_get(state.eval_variables))


def _due_evaluations(run: run_lib.Run, step: int) -> list[str]:
    """Labels of the evaluators that run after this step.

    The last evaluation is `_finish`'s, but for the one that chooses the best checkpoint.
    """
    if step == run.total_steps:
        label = run.config.checkpoint.best.partition("/")[0]
        return [label] if label in run.config.evals else []
    if step % run.steps_per_epoch:
        return []
    epoch = step // run.steps_per_epoch
    return [
        label
        for label, fields in run.config.evals.items()
        if fields.get("every_epochs", 0) and epoch % fields.every_epochs == 0
    ]


def _due_checkpoint(run: run_lib.Run, step: int) -> bool:
    every = run.config.checkpoint.every_epochs
    return bool(every) and step % (every * run.steps_per_epoch) == 0


class _Log:
    """Collects metrics on the device; fetches them only when they are written."""

    def __init__(
        self,
        run: run_lib.Run,
        workdir: pathlib.Path,
        step: int,
        latest: dict[str, float],
        progress: bool,
    ):
        self.latest = dict(latest)  # Newest value of every metric.
        self._run = run
        self._pending: list[dict[str, jax.Array]] = []
        self._writers = writers_lib.make_writers(workdir, step)
        self._bar = writers_lib.Progress(
            step=step, total=run.total_steps, batch_size=run.batch_size, show=progress
        )
        self._time = time.monotonic()

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of one step."""
        self._pending.append(metrics)
        if len(self._pending) > 2:  # Let the host run at most two steps ahead.
            jax.block_until_ready(self._pending[-3])
        self._bar.advance()

    def flush(self, step: int) -> None:
        """Writes the mean of the metrics since the last time."""
        if not self._pending:
            return
        fetched = jax.device_get(self._pending)
        means = {k: float(np.mean([m[k] for m in fetched])) for k in fetched[0]}
        bad = [name for name, value in means.items() if not np.isfinite(value)]
        now = time.monotonic()
        rate = len(self._pending) * self._run.batch_size / (now - self._time)
        rates = {
            name: float(schedule(step - 1))
            for made in self._run.optimizers.values()
            for name, schedule in made.schedules.items()
        }
        extra = {
            f"lr/{name}" if len(rates) > 1 else "lr": v for name, v in rates.items()
        }
        self._pending, self._time = [], now
        self.latest |= means
        self._write(
            step,
            {
                "epoch": step / self._run.steps_per_epoch,
                **means,
                **extra,
                "items_per_second": rate,
            },
        )
        self._bar.show(means)
        if bad:
            raise errors.UserError(
                f"{', '.join(bad)} is not finite at step {step}. The last checkpoint is "
                "kept; lower config.optim.lr or look at the data with `mvjax data check`."
            )

    def evaluation(self, step: int, results: dict[str, dict[str, float]]) -> None:
        """Writes and shows what evaluators found."""
        flat = {f"{e}/{k}": v for e, m in results.items() for k, v in m.items()}
        self.latest |= flat
        self._write(step, flat)
        for text in summary.evaluation_lines(step, results):
            self._bar.say(text)
        self._time = time.monotonic()  # Evaluation is not training time.

    def _write(self, step: int, metrics: dict[str, float]) -> None:
        if jax.process_index() == 0:
            for writer in self._writers:
                writer.write(step, metrics)

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        for writer in self._writers:
            writer.close()


def _finish(
    run: run_lib.Run,
    workdir: pathlib.Path,
    checkpoints: checkpoint_lib.Checkpoints,
    state: state_lib.TrainState,
    log: _Log,
) -> None:
    """Evaluates the final state, unless that was done before."""
    file = workdir / run_lib.EVALUATION_FILE
    step = int(state.step)
    if not file.exists() or config_lib.read_json(file).get("step") != step:
        variables = _final_variables(run, checkpoints, state)
        results = run.evaluate(variables)
        log.evaluation(step, results)
        run_lib.write_json(
            file,
            {"step": step, "best_step": checkpoints.best_step(), "results": results},
        )
        mlflow_writer.log_weights(log._writers, run, variables)
    log.close()


def _final_variables(
    run: run_lib.Run,
    checkpoints: checkpoint_lib.Checkpoints,
    state: state_lib.TrainState,
) -> dict[str, Any]:
    """Variables of the final evaluation: of the last step, or of the best."""
    step = run.evaluated_step(checkpoints)
    return _host(state) if step is None else checkpoints.variables(step)[0]


def _describe(run: run_lib.Run, step: int) -> dict[str, Any]:
    """Environment and data of a run, for the report."""
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
            "mesh": dict(run.mesh.shape),
            **{name: metadata.version(name) for name in packages},
        },
        "data": run.data_report(),
    }
