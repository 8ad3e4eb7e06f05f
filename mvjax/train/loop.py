"""The one training loop: step, log, evaluate, save."""

from collections.abc import Iterator
import contextlib
import pathlib
import sys
from typing import Any

from mvjax.core import atomic
from mvjax.core import config as config_lib
from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import interrupt
from mvjax.core import json_value
from mvjax.core import older
from mvjax.core import process_settings
from mvjax.core import state as state_lib
from mvjax.core import storage
from mvjax.core import workdir as workdir_lib
from mvjax.evaluators.common import suite
from mvjax.tracking import artifacts
from mvjax.train import checkpoint as checkpoint_lib
from mvjax.train import feed as feed_lib
from mvjax.train import health
from mvjax.train import log as log_lib
from mvjax.train import optim
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import scoring as scoring_lib
from mvjax.train import seeds
from mvjax.train import torch_weights

# What a resumed run must share with its checkpoints, beside the shapes.
FIXED = ("seed", "seeds", "method", "accumulate", "data.device_policy")


class Interrupted(Exception):
    """The run was asked to stop, and what it did is saved; `code` is the exit code."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.code = code


class _Signals(interrupt.Signals):
    """Turns SIGINT and SIGTERM into a wish that the loop heeds between two steps."""

    def __init__(self) -> None:
        super().__init__()
        self._agreement = dist.Agreement()

    def hear(self, metrics: dict[str, Any]) -> int:
        """Exit code that this or another process was told, at the same step on all; or 0."""
        return self._agreement.hear(self.code, metrics)

    def obey(self, text: str) -> None:
        """Raises `Interrupted` if any process was told, where all are at one place."""
        if code := dist.greatest(self.code):
            raise Interrupted(text, code)


def train(
    program: program_lib.Program, workdir: pathlib.Path, *, progress: bool = True
) -> state_lib.TrainState:
    """Trains a run to its end, from its own last checkpoint if it has one.

    Args:
      program: Of the run, whose config is written to the workdir.
      workdir: Folder of the run, made if need be.
      progress: Whether to show the progress bar and tables.

    Returns:
      The final state; the final evaluation lies in `evaluation.json`.

    Raises:
      UserError: The config does not fit the data, or the workdir cannot be used.
      Interrupted: SIGINT or SIGTERM; everything is saved.
    """
    run, workdir = program.run, storage.absolute(workdir)
    refuse_other_run(run.config, workdir)  # Before anything there is touched.
    with (
        dist.end_together(Interrupted),
        _Signals() as signals,
        storage.own(workdir, main=dist.is_main()),
        _begin(program, workdir) as (checkpoints, state, meta, started),
        process_settings.Holes() as holes,
        dist.end_together(Interrupted),  # Before anything waits for other processes.
    ):
        begin = step = state.steps_done
        if dist.is_main():
            text = log_lib.run_table(program, started) if progress else f"run {started}"
            print(text, file=sys.stderr)
            about = log_lib.describe(program, step)
            atomic.write_json(workdir / workdir_lib.RUN_FILE, about)
        log = log_lib.Log(program, workdir, step, meta, progress)
        for note in checkpoints.notes:
            log.warn(note)
        if run.constant_shapes:
            log.warn("computing frozen features of all records")
            run.keep_constants(program.fetch(state.eval_variables))
        signals.obey(f"Stopped at step {step}; run again to go on.")
        observers = _Observers(program, log, meta)
        with feed_lib.make(program, step) as feed, log:
            while step < run.total_steps and not observers.stopped:
                limit = _next_stop(run, step) - step
                state, metrics, count = feed.advance(state, limit, signals.code)
                step += count
                stop = signals.hear(metrics)
                log.add(metrics, count)
                due = _due_evaluations(run, step)
                if due or step % run.config.log_every_steps == 0:
                    log.flush(step)
                observers.look(state, step)
                if due:
                    state = observers.evaluate(state, step, due)
                if due or step == begin + count:  # Something was compiled.
                    step = state.steps_done  # This waits until it has been done.
                    holes.fill()
                planned = observers.stopped or _due_checkpoint(run, step)
                if planned or stop:
                    _save(run, checkpoints, state, step, log, observers, planned)
                if stop:
                    checkpoints.wait()
                    log.close()
                    text = f"Stopped and saved at step {step}; run again to resume."
                    raise Interrupted(text, stop)
        checkpoints.wait()
        _finish(observers.scoring, workdir, checkpoints, state, log, signals)
    return state


class _Observers:
    """What looks at a run on its way: evaluators, the plateau, the health of the codes."""

    def __init__(
        self, program: program_lib.Program, log: log_lib.Log, meta: dict[str, Any]
    ):
        self.scoring = scoring_lib.Scoring(program)
        self._program, self._log = program, log
        control = program.run.config.control
        self._plateau = optim.Plateau.make(control, meta.get("control"))
        self._watch = health.Watch.make(meta.get("health"))

    @property
    def stopped(self) -> bool:
        """Whether the plateau has ended the run."""
        return self._plateau.stopped

    @property
    def seen(self) -> dict[str, Any]:
        """What belongs into a checkpoint, as JSON."""
        return {"control": self._plateau.seen, "health": self._watch.seen}

    def look(self, state: state_lib.TrainState, step: int) -> None:
        """Measures how the codes spread, at the steps that the config says."""
        if _every(self._program.run.config.health_every_steps, step):
            figures = self.scoring.health(state)
            known = self._log.latest | figures
            self._log.health(step, figures, self._watch.observe(step, known))

    def evaluate(
        self, state: state_lib.TrainState, step: int, labels: list[str]
    ) -> state_lib.TrainState:
        """Runs evaluators; returns the state with the plateau's learning rate."""
        variables = self._program.fetch(state.eval_variables)
        results = self.scoring.evaluate_seeds(variables, labels)["results"]
        self._log.evaluation(step, results, self.scoring.class_names())
        self._plateau.observe({label: results.get(label, {}) for label in labels})
        return self._plateau.apply(state)


def _save(
    run: run_lib.Run,
    checkpoints: checkpoint_lib.Checkpoints,
    state: state_lib.TrainState,
    step: int,
    log: log_lib.Log,
    observers: _Observers,
    planned: bool,
) -> None:
    """Saves a checkpoint; where a run had to stop it is no candidate for the best."""
    if planned:
        log.flush(step)
        _check_best(run, log, step)
    log.keep()
    meta = _meta(run, log, step) | observers.seen
    checkpoints.save(state, meta, log.found_at(step) if planned else {})


def build(program: program_lib.Program) -> dict[str, str]:
    """Makes all that a run consists of but its state, so that mistakes show at once.

    Returns:
      What the evaluation will leave out, see `suite.Found`.

    Raises:
      UserError: The config does not fit itself or the data.
    """
    run = program.run
    for split in run.splits:
        run.source(split)
    left_out = scoring_lib.Scoring(program).check_training()
    feed_lib.check(program)
    _ = program.state_target, run.constant_shapes, program.step
    return left_out


@contextlib.contextmanager
def _begin(program: program_lib.Program, workdir: pathlib.Path) -> Iterator[tuple]:
    """Opens the checkpoints of a workdir; see `_start` for what comes with them.

    Nothing is written before everything has been made.
    """
    if not checkpoint_lib.find_steps(workdir):  # Else nothing starts from there.
        program.read_start()
    suite.warn_of(build(program), "will be")
    refuse_other_run(program.run.config, workdir)
    with program.run.checkpoints(workdir) as checkpoints:
        yield checkpoints, *_start(program, workdir, checkpoints)


def refuse_other_run(config: Any, workdir: pathlib.Path) -> None:
    """Raises `UserError` if a workdir cannot be that of a run with this config.

    Its checkpoints must be of the same one; without a complete one it is nobody's.
    """
    workdir_lib.check(workdir)
    file = workdir / workdir_lib.CONFIG_FILE
    if not (file.exists() and checkpoint_lib.find_steps(workdir)):
        return
    old, new = workdir_lib.read_json(file), config.to_dict()
    held = json_value.held
    if held(old, "method.name") == config.method.name:  # Code that may be imported.
        older.renew(old)
    for key in FIXED:
        parts = held(old, key), held(new, key)
        found = json_value.find_difference(*parts, f"config.{key}")
        if found:
            raise errors.UserError(
                f"{workdir} holds a run with another config: {found}. Choose another "
                "--workdir, or remove that one."
            )


def _start(
    program: program_lib.Program,
    workdir: pathlib.Path,
    checkpoints: checkpoint_lib.Checkpoints,
) -> tuple[state_lib.TrainState, dict, str]:
    """Makes the state to go on from, and the workdir the run's own.

    Returns:
      The state of the last checkpoint, else of the warm start, else from scratch; what
      was written beside it; and where that starts, in words.
    """
    run, steps = program.run, checkpoints.steps()
    if steps:
        state, meta = _resume(program, checkpoints, steps[-1])
    else:
        state, meta = program.initial_state(), {}
    dist.barrier("config read")
    if dist.is_main():
        config_lib.save(run.config, workdir / workdir_lib.CONFIG_FILE)
        old = workdir / workdir_lib.EVALUATION_FILE
        if not steps and old.exists():  # Of checkpoints that somebody has removed.
            old.unlink()
    if steps:
        done = steps[-1] >= run.total_steps
        what = "is finished at" if done else "resumes from"
        return state, meta, f"{what} step {steps[-1]}"
    sources = [entry["source"] for entry in run.config.warm_start.values()]
    started = f"starts, warm from {', '.join(sources)}" if sources else ""
    return state, meta, started or "starts from scratch"


def _resume(
    program: program_lib.Program, checkpoints: checkpoint_lib.Checkpoints, step: int
) -> tuple[state_lib.TrainState, dict]:
    """The state of a checkpoint and what was written beside it."""
    state, meta = checkpoints.restore(program.state_target, step)
    for key, value in _fixed_meta(program.run).items():
        if meta.get(key, value) != value:  # A converted workdir has none of them.
            raise errors.UserError(
                f"The checkpoint of step {step} was trained with {key} {meta.get(key)}, "
                f"this run has {value}; the order of the data would differ."
            )
    return state, meta


def _fixed_meta(run: run_lib.Run) -> dict[str, Any]:
    """What must not change within a run, because the data's order hangs on it."""
    return {
        "seed": run.config.seed,
        "batch_size": run.batch_size,
        "last_batch": run.config.data.last_batch,
        "data": run.source("train").fingerprint(),
    }


def _meta(run: run_lib.Run, log: log_lib.Log, step: int) -> dict[str, Any]:
    return {**_fixed_meta(run), "metrics": dict(log.latest), "pending": log.hold(step)}


def _check_best(run: run_lib.Run, log: log_lib.Log, step: int) -> None:
    """Raises `UserError` if the metric of the best checkpoint does not exist.

    An evaluator that has found nothing at this step may find it at another.
    """
    best = run.config.checkpoint.best
    label = best.partition("/")[0]
    found = log.found_at(step)
    due = label in _due_evaluations(run, step)  # Losses may have names like a label's.
    silent = not due or not any(name.startswith(f"{label}/") for name in found)
    silent = silent and label in run.config.evals
    if best and best not in log.latest and not silent:
        raise errors.unknown("metric in config.checkpoint.best", best, found)


def _next_stop(run: run_lib.Run, step: int) -> int:
    """The next step at which the loop does more than train."""
    everies = (run.config.log_every_steps, run.config.health_every_steps)
    everies = [*everies, run.steps_per_epoch]
    stops = [step - step % every + every for every in everies if every]
    return min(*stops, run.total_steps)


def _every(steps: int, step: int) -> bool:
    return bool(steps) and step % steps == 0


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
    return step == run.total_steps or _every(every * run.steps_per_epoch, step)


def _finish(
    scoring: scoring_lib.Scoring,
    workdir: pathlib.Path,
    checkpoints: checkpoint_lib.Checkpoints,
    state: state_lib.TrainState,
    log: log_lib.Log,
    signals: _Signals,
) -> None:
    """Evaluates the final state, unless that was done before."""
    run = scoring.run
    file = workdir / workdir_lib.EVALUATION_FILE
    step = state.steps_done
    text = f"Stopped at the end, step {step}, which is saved; run again to "
    try:
        if not file.exists() or workdir_lib.read_evaluation(workdir)["step"] != step:
            variables = _final_variables(scoring.program, checkpoints, state)
            found = scoring.evaluate_seeds(
                variables, between=lambda: signals.obey(text + "evaluate it.")
            )
            log.evaluation(step, found["results"], scoring.class_names())
            if dist.is_main():
                best = {"step": step, "best_step": checkpoints.best_step()}
                atomic.write_json(file, best | found)
                first = seeds.pick(variables, 0) if run.config.seeds > 1 else variables
                names = (workdir_lib.CONFIG_FILE, workdir_lib.RUN_FILE)
                files = [*(workdir / name for name in names), file]
                artifacts.keep_run(log.writers, files)
                torch_weights.keep_weights(log.writers, run, first)
    except Interrupted:
        log.close()
        raise
    log.close()
    dist.barrier("finished")
    # It came with the last evaluator: what would follow this run is not to begin.
    signals.obey(f"Stopped after the evaluation of step {step}.")


def _final_variables(
    program: program_lib.Program,
    checkpoints: checkpoint_lib.Checkpoints,
    state: state_lib.TrainState,
) -> dict[str, Any]:
    """Variables of the final evaluation: of the last step, or of the best."""
    step = program.run.evaluated_step(checkpoints)
    if step is None:
        return program.fetch(state.eval_variables)
    return checkpoints.variables(step, replica=None)[0]
