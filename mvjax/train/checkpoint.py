"""Checkpoints: orbax, asynchronous, the latest ones and the best one."""

from collections.abc import Sequence
from concurrent import futures
import math
import pathlib
from typing import Any

import orbax.checkpoint as ocp

from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import state as state_lib
from mvjax.core import storage
from mvjax.core import tree
from mvjax.core import workdir as workdir_lib
from mvjax.train import frozen
from mvjax.train import integrity
from mvjax.train import seeds


class Checkpoints:
    """The checkpoints of one workdir; a context manager.

    Nothing is written before the first `save`, but that the owner of a workdir tidies up
    after kills.

    Args:
      workdir: Folder of the run.
      keep: Number of latest checkpoints to keep.
      best: Metric of the one best checkpoint that is kept beside them; "" for none.
      best_mode: "min" or "max".
      still: What no step changes: it is saved once, beside the checkpoints.
      read_only: Whether only to read.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        keep: int = 2,
        best: str = "",
        best_mode: str = "min",
        still: frozen.Still = frozen.NOTHING,
        read_only: bool = False,
    ):
        if best_mode not in ("min", "max"):
            raise errors.unknown("checkpoint.best_mode", best_mode, ("min", "max"))
        self.folder = storage.absolute(workdir / workdir_lib.CHECKPOINTS)
        self._keep, self._best, self._mode = keep, best, best_mode
        self._still = still
        self._part: frozen.Part | None = None  # What this process may rely on.
        if read_only and not self.folder.is_dir():
            raise errors.UserError(f"{workdir} holds no checkpoints yet.")
        self.notes: list[str] = []  # About damaged checkpoints.
        if not read_only:
            self._tidy(workdir)
        self._opened: ocp.CheckpointManager | None = None
        self._signer = futures.ThreadPoolExecutor(1, "sign")
        self._signing: futures.Future | None = None  # Of what was saved last.

    def _tidy(self, workdir: pathlib.Path) -> None:
        if dist.is_main():
            self.notes = integrity.tidy(self.folder, workdir)
        dist.barrier("checkpoints")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *unused: object) -> None:
        try:
            self.wait()
        finally:
            self._signer.shutdown()
            if self._opened:
                self._opened.close()

    @property
    def _manager(self) -> ocp.CheckpointManager:
        """Orbax's view of the folder, which it makes."""
        if not self._opened:
            self._opened = ocp.CheckpointManager(self.folder, options=self._options())
        return self._opened

    def _options(self) -> ocp.CheckpointManagerOptions:
        return ocp.CheckpointManagerOptions(
            preservation_policy=_Kept(self._keep, self._best, self._mode),
            # Orbax stores the metrics only of managers that have such a function.
            best_fn=(lambda metrics: score(metrics, self._best))
            if self._best
            else None,
            best_mode=self._mode,
            # A kill in the middle of deleting leaves no half of a checkpoint here.
            todelete_subdir=integrity.DELETED,
            enable_async_checkpointing=True,
        )

    def _at(self, step: int) -> pathlib.Path:
        return self.folder / str(step)

    def steps(self) -> list[int]:
        """Steps that can be restored, in rising order."""
        return find_steps(self.folder.parent)

    def save(
        self,
        state: state_lib.TrainState,
        meta: dict,
        metrics: dict[str, float],
    ) -> None:
        """Starts to write a checkpoint; the state may be donated right afterwards.

        It waits for the one before, if that is not on disk and signed yet, and raises
        what went wrong with it.

        Args:
          state: State to write; its step names the checkpoint.
          meta: Plain values written beside it.
          metrics: Metrics of this very step, among which the best one is looked up; a
            checkpoint without it, as of a run that had to stop, is never the best.
        """
        step = state.steps_done
        if step in self._manager.all_steps():
            return
        self.wait()
        state, meta = self._without_frozen(state, meta)
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
            ),
            metrics=dict(metrics),  # Orbax keeps it; the caller goes on changing it.
        )
        if not saved:
            raise RuntimeError(f"orbax did not save step {step}")
        if dist.is_main():
            self._signing = self._signer.submit(self._sign, step)

    def _without_frozen(
        self, state: state_lib.TrainState, meta: dict
    ) -> tuple[state_lib.TrainState, dict]:
        """What a checkpoint holds: the state without the frozen part, which it names.

        That part is written before, unless this process has written it, or has restored
        the state from it. Another one, on which checkpoints rely, is left alone.
        """
        paths = frozen.select(state, self._still)
        others = (integrity.frozen_name(self._at(step)) for step in self.steps())
        if paths and not self._part and not any(others):
            part = frozen.split(state, paths)[1]
            self._part = frozen.write(self.folder.parent, part)
        if not self._part or not paths & self._part.paths:
            return state, meta
        moving, _ = frozen.split(state, paths & self._part.paths)
        return moving, meta | {"frozen": self._part.name}

    def _sign(self, step: int) -> None:
        """Signs a checkpoint once all of it is on disk; in a thread of its own.

        Orbax's own hook comes too early: files are still changed after it.
        """
        try:
            self._manager.wait_until_finished()
        except Exception:  # Whoever waits on the main thread gets it as well.
            return
        integrity.sign(self._at(step))
        integrity.empty_deleted(self.folder)

    def wait(self) -> None:
        """Waits until everything is on disk and signed; raises what went wrong."""
        if self._opened:
            self._opened.wait_until_finished()
        signing, self._signing = self._signing, None
        if signing:
            signing.result()

    def restore(self, target: Any, step: int) -> tuple[state_lib.TrainState, dict]:
        """Restores a whole state.

        Args:
          target: A state of `jax.ShapeDtypeStruct` with shardings.
          step: One of `steps()`.

        Raises:
          UserError: The checkpoint is of another model or damaged.
        """
        folder = self._at(step)
        try:
            if damage := integrity.find_frozen_damage(folder, arrays=False):
                raise ValueError(damage)
            part = frozen.find(folder)
            misfit = tree.find_misfit(
                frozen.stored_shapes(folder), frozen.shapes(target)
            )
            if not misfit:
                own, lent = frozen.split(target, part.paths if part else ())
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(own),
                        meta=ocp.args.JsonRestore(),
                    ),
                )
                state = restored.state
                if lent:
                    state = frozen.restore(state, lent, folder)
        except frozen.BROKEN as error:
            older = [s for s in self._others(step) if s < step]
            advice = (
                f" Remove {folder} to go on from step {older[-1]}." if older else ""
            )
            raise errors.UserError(
                f"Checkpoint {folder} is damaged: {frozen.first_line(error)}{advice}"
            ) from error
        if misfit:
            raise errors.UserError(
                f"Checkpoint {folder} does not fit the config: {misfit}. Choose another "
                "--workdir, or the settings that it was trained with."
            )
        self._part = part
        return state, restored.meta

    def variables(
        self,
        step: int | None = None,
        *,
        replica: int | None = 0,
        run: Any = None,
    ) -> tuple[dict[str, Any], int]:
        """Restores what `predict` needs, as NumPy arrays, on any topology.

        Args:
          step: One of `steps()`; None: the latest.
          replica: Number of the seed, where the run has several; None: all of them,
            along a leading axis.
          run: A `Run` whose method and number of seeds they must fit; None: anything.

        Returns:
          Variables with averaged parameters where the run keeps them, and the step.

        Raises:
          UserError: No checkpoint, no such step or seed, a damaged one, or one of
            another model.
        """
        steps = self.steps()
        if not steps:
            raise errors.UserError(f"{self.folder} holds no complete checkpoint.")
        step = steps[-1] if step is None else step
        if step not in steps:
            raise errors.UserError(
                f"No checkpoint of step {step}. Choices: {', '.join(map(str, steps))}."
            )
        folder = self._at(step)
        variables, number = self._read(step)
        if replica is not None and not 0 <= replica < (number or 1):
            raise errors.UserError(
                f"No replica {replica}: {folder} holds {number or 1} of them, from 0."
            )
        one = seeds.pick(variables, replica or 0) if number else variables
        misfit = ""
        if run and replica is None and (number or 1) != run.config.seeds:
            misfit = f"config.seeds: {number or 1} there, {run.config.seeds} here"
        elif run:
            misfit = tree.find_misfit(_flat_shapes(one), _flat_shapes(run.shapes))
        if misfit:
            raise errors.UserError(
                f"Checkpoint {folder} does not fit the config: {misfit}."
            )
        return variables if replica is None else one, step

    def _read(self, step: int) -> tuple[dict[str, Any], int | None]:
        """The variables of a checkpoint, and its number of seeds if they have an axis."""
        folder = self._at(step)
        if damage := integrity.find_damage(folder):
            raise self._damaged(step, damage)
        try:
            restored = frozen.read(folder)
            params = restored.get("ema") or restored["params"]
            state = restored.get("model_state") or {}
            return {"params": params, **state}, seeds.count(restored)
        except frozen.BROKEN as error:
            raise self._damaged(step, frozen.first_line(error)) from error

    def _damaged(self, step: int, damage: str) -> errors.UserError:
        others = ", ".join(map(str, self._others(step)))
        return errors.UserError(
            f"Checkpoint {self._at(step)} is damaged: {damage}. Others: "
            f"--step={others or 'none'}"
        )

    def _others(self, step: int) -> list[int]:
        """Other steps, without those that rely on a damaged frozen part."""
        return [
            other
            for other in self.steps()
            if other != step and not integrity.find_frozen_damage(self._at(other))
        ]

    def best_step(self) -> int | None:
        """Step of the best checkpoint; None if none has the metric of the best.

        Raises:
          UserError: Some checkpoint is damaged, so that its metrics cannot be trusted.
        """
        if not self._best:
            return None
        found = {}
        for step in self.steps():
            folder = self._at(step)
            if damage := integrity.find_damage(folder, arrays=False):
                raise self._damaged(step, damage)
            found[step] = integrity.read(folder / integrity.METRICS) or {}
        return choose_best(found, self._best, self._mode)


class _Kept(ocp.checkpoint_managers.preservation_policy.PreservationPolicy):
    """Tells orbax which checkpoints to keep: the latest ones and the best one."""

    def __init__(self, keep: int, best: str, mode: str):
        self._keep, self._best, self._mode = keep, best, mode

    def should_preserve(self, checkpoints, *, context) -> Sequence[bool]:
        del context
        found = {info.step: info.metrics or {} for info in checkpoints}
        kept = {*sorted(found, reverse=True)[: self._keep]}
        if self._best:
            kept.add(choose_best(found, self._best, self._mode))
        return [info.step in kept for info in checkpoints]


def score(metrics: dict[str, Any], name: str) -> float:
    """The metric by which checkpoints are compared; NaN where there is none."""
    value = metrics.get(name)
    return float(value) if isinstance(value, (int, float)) else math.nan


def choose_best(metrics: dict[int, dict], name: str, mode: str) -> int | None:
    """The step with the best value of a metric, the earliest of equal ones.

    Args:
      metrics: By step.
      name: Of the metric; steps that have none, or NaN, are out of the question.
      mode: "min" or "max".
    """
    sign = 1 if mode == "min" else -1
    scores = {step: sign * score(found, name) for step, found in metrics.items()}
    ranked = [(value, step) for step, value in scores.items() if not math.isnan(value)]
    return min(ranked)[1] if ranked else None


def find_steps(workdir: pathlib.Path) -> list[int]:
    """Steps of the complete checkpoints of a workdir, in rising order."""
    names = ocp.path.step.standard_name_format()
    return sorted(
        found.step for found in names.find_all(workdir / workdir_lib.CHECKPOINTS)
    )


def _flat_shapes(variables: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(x.shape) for path, x in tree.flatten(variables).items()}
