"""Checkpoints: orbax, asynchronous, the latest ones and the best one."""

import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import storage
from mvjax.train import integrity
from mvjax.train import seeds
from mvjax.train import state as state_lib

FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one workdir; a context manager.

    Args:
      workdir: Folder of the run.
      keep: Number of latest checkpoints to keep.
      best: Metric of the one best checkpoint that is kept beside them; "" for none.
      best_mode: "min" or "max".
      read_only: Whether only to read.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        keep: int = 2,
        best: str = "",
        best_mode: str = "min",
        read_only: bool = False,
    ):
        if best_mode not in ("min", "max"):
            raise errors.unknown("checkpoint.best_mode", best_mode, ("min", "max"))
        self.folder = storage.absolute(workdir / FOLDER)
        self._best = best
        if read_only and not self.folder.is_dir():
            raise errors.UserError(f"{workdir} holds no checkpoints yet.")
        self.notes: list[str] = []  # About damaged checkpoints.
        if not read_only:
            self._move_damaged(workdir)
        self._manager = ocp.CheckpointManager(
            self.folder, options=_options(keep, best, best_mode, read_only)
        )

    def _move_damaged(self, workdir: pathlib.Path) -> None:
        if dist.is_main():
            self.notes = integrity.move_damaged(self.folder, workdir)
        dist.barrier("checkpoints")

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *unused: object) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps that can be restored, in rising order."""
        return sorted(self._manager.all_steps())

    def save(
        self,
        state: state_lib.TrainState,
        meta: dict,
        metrics: dict[str, float],
        *,
        interrupted: bool = False,
    ) -> None:
        """Starts to write a checkpoint; the state may be donated right afterwards.

        Args:
          state: State to write; its step names the checkpoint.
          meta: Plain values written beside it.
          metrics: Metrics so far, among which the best one is looked up.
          interrupted: The run had to stop, perhaps before its first evaluation: a
            checkpoint without the metric is the worst one then.

        Raises:
          UserError: The metric of the best checkpoint does not exist.
        """
        if self._best and self._best not in metrics and not interrupted:
            raise errors.unknown(
                "metric in config.checkpoint.best", self._best, metrics
            )
        step = state.steps_done
        if step in self._manager.all_steps():
            return
        self.wait()
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta)
            ),
            metrics=dict(metrics),  # Orbax keeps it; the caller goes on changing it.
        )
        if not saved:
            raise RuntimeError(f"orbax did not save step {step}")

    def wait(self) -> None:
        """Waits until everything is on disk, and signs it."""
        self._manager.wait_until_finished()
        self._sign()

    def _sign(self) -> None:
        if dist.is_main():
            for step in self._manager.all_steps():
                integrity.sign(self.folder / str(step))

    def restore(self, target: Any, step: int) -> tuple[state_lib.TrainState, dict]:
        """Restores a whole state.

        Args:
          target: A state of `jax.ShapeDtypeStruct` with shardings.
          step: One of `steps()`.

        Raises:
          UserError: The checkpoint is of another model or damaged.
        """
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore()
                ),
            )
        except (ValueError, KeyError, FileNotFoundError, OSError) as error:
            folder = self.folder / str(step)
            older = [s for s in self.steps() if s < step]
            advice = (
                f" Remove {folder} to go on from step {older[-1]}." if older else ""
            )
            raise errors.UserError(
                f"Checkpoint {folder} does not fit the config or is damaged: "
                f"{_first_line(error)}{advice}"
            ) from error
        return restored.state, restored.meta

    def variables(
        self, step: int | None = None, *, replica: int | None = 0
    ) -> tuple[dict[str, Any], int]:
        """Restores what `predict` needs, as NumPy arrays, on any topology.

        Args:
          step: One of `steps()`; None: the latest.
          replica: Number of the seed, where the run has several; None: all of them,
            along a leading axis.

        Returns:
          Variables with averaged parameters where the run keeps them, and the step.

        Raises:
          UserError: No checkpoint, no such step or seed, or a damaged one.
        """
        steps = self.steps()
        if not steps:
            raise errors.UserError(f"{self.folder} holds no complete checkpoint.")
        step = steps[-1] if step is None else step
        if step not in steps:
            raise errors.UserError(
                f"No checkpoint of step {step}. Choices: {', '.join(map(str, steps))}."
            )
        folder = self.folder / str(step)
        damage = integrity.find_damage(folder)
        try:
            restored = {} if damage else _read_arrays(folder / "state")
        except (ValueError, KeyError, FileNotFoundError, OSError) as error:
            damage = _first_line(error)
        if damage:
            raise errors.UserError(
                f"Checkpoint {folder} is damaged: {damage}. Others: --step="
                + (", ".join(str(s) for s in steps if s != step) or "none")
            )
        number = seeds.count(restored)
        if replica is not None and not 0 <= replica < (number or 1):
            raise errors.UserError(
                f"No replica {replica}: {folder} holds {number or 1} of them, from 0."
            )
        if number and replica is not None:
            restored = seeds.pick(restored, replica)
        params = restored["ema"] if "ema" in restored else restored["params"]
        state = restored.get("model_state") or {}
        return {"params": params, **state}, step

    def best_step(self) -> int | None:
        """Step of the best checkpoint, if the run keeps one."""
        return self._manager.best_step() if self._best else None


def _read_arrays(folder: pathlib.Path) -> dict[str, Any]:
    """What `predict` needs of a saved state, whatever devices it was saved from.

    The optimiser's part, twice as large as the parameters, stays on disk.
    """
    checkpointer = ocp.PyTreeCheckpointer()
    saved = checkpointer.metadata(folder).item_metadata.tree
    names = ("step", "ema" if saved.get("ema") else "params", "model_state")
    wanted = {name: saved[name] for name in names if saved.get(name)}
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    return checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
            item=wanted, restore_args=arguments, partial_restore=True
        ),
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _options(
    keep: int, best: str, best_mode: str, read_only: bool
) -> ocp.CheckpointManagerOptions:
    policies = ocp.checkpoint_managers.preservation_policy
    # A checkpoint that was converted, or interrupted early, lacks it: it is the worst.
    worst = float("inf") if best_mode == "min" else -float("inf")

    def measure(metrics: dict[str, float]) -> float:
        return metrics.get(best, worst)

    best_fn = measure if best else None
    if read_only:
        return ocp.CheckpointManagerOptions(
            read_only=True, best_fn=best_fn, best_mode=best_mode
        )
    kept = [policies.LatestN(keep)]
    if best:
        kept.append(
            policies.BestN(
                get_metric_fn=measure,
                reverse=best_mode == "min",
                n=1,
            )
        )
    return ocp.CheckpointManagerOptions(
        preservation_policy=policies.AnyPreservationPolicy(kept),
        best_fn=best_fn,
        best_mode=best_mode,
        enable_async_checkpointing=True,
    )
