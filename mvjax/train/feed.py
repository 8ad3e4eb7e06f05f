"""How steps get their batches: streamed one by one, or from data that lie on the device.

Both give the same batches in the same order. Metrics of several steps or seeds have these
axes, in this order; rows beyond the steps that were done are zero.
"""

from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import dist
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import order as order_lib
from mvjax.data import pipeline
from mvjax.data import read_ahead
from mvjax.train import run as run_lib
from mvjax.train import sharding
from mvjax.train import state as state_lib

_MAIN = ""  # No label of a stream beside.
Advance = tuple[state_lib.TrainState, dict[str, jax.Array], int]


def make(run: run_lib.Run, step: int) -> "Streamed | Resident":
    """The feed that `config.data.device_resident` asks for, from `step` on."""
    kind = Resident if run.config.data.device_resident else Streamed
    return kind(run, step)


def check(run: run_lib.Run) -> None:
    """Raises `UserError` where the batches of an epoch do not fit the devices."""
    for label, stream in run.inputs.beside.items():
        sharding.check_batch(
            run.mesh,
            stream.batch_size,
            run.config.accumulate,
            f"config.data.beside.{label}.batch_size",
        )
    resident = run.config.data.device_resident
    for name, part in (
        ("train_policy", run.inputs.train_policy),
        ("beside", run.inputs.beside),
    ):
        if resident and part:
            raise errors.UserError(
                f"config.data.{name} is the host's work, but with config.data."
                "device_resident=True it has none; set one of them."
            )
    _, last = run.epoch_batches
    if last != run.batch_size:
        sharding.check_batch(
            run.mesh,
            last,
            run.config.accumulate,
            "config.data.last_batch=keep: the last batch of an epoch of",
        )
        if run.config.data.device_resident:
            raise errors.UserError(
                "config.data.device_resident=True reads whole batches only: "
                "--config.data.last_batch=carry."
            )


class Streamed:
    """One step at a time, with batches that are read ahead of it."""

    def __init__(self, run: run_lib.Run, step: int):
        self._run = run
        self._batches = [_streams(run, seed, step) for seed in run.seeds]
        self._rows = run.batch_sharding
        self._rng = run.root_keys

    def advance(
        self, state: state_lib.TrainState, limit: int, code: int = 0
    ) -> Advance:
        """Does the next step.

        Args:
          state: The state, which is donated.
          limit: Steps that may be done at once, at least 1.
          code: What this process wishes to stop with, see `dist.Agreement`.
        """
        del limit
        batch = self.read()
        batch = sharding.put_batch(
            batch | _wish(batch["index"].shape, code), self._rows
        )
        return *self._run.step(state, batch, self._rng), 1

    def read(self) -> batch_lib.Record:
        """This process's rows of the next batch, with a leading axis of seeds, if any."""
        batches = [_next(streams) for streams in self._batches]
        return batches[0] if len(batches) == 1 else _stack(batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        for streams in self._batches:
            for batches in streams.values():
                batches.close()


def _streams(run: run_lib.Run, seed: int, step: int) -> dict[str, read_ahead.Batches]:
    """The batches of a seed from a step on, and those beside them by label."""
    data = run.config.data
    part, parts = sharding.host_share(run.mesh)
    common = dict(step=step, host=part, hosts=parts)
    common |= dict(threads=data.threads, workers=data.workers)
    main = pipeline.train_batches(
        run.train_records,
        seed=seed,
        batch_size=run.batch_size,
        augment=run.inputs.train_policy,
        shuffle=data.shuffle,
        last_batch=data.last_batch,
        **common,
    )
    return {_MAIN: main} | {
        label: pipeline.train_batches(
            run.inputs.records(stream.split),
            seed=stream.seed | seed,
            batch_size=stream.batch_size,
            augment=stream.policy,
            **common,
        )
        for label, stream in run.inputs.beside.items()
    }


def _next(streams: dict[str, read_ahead.Batches]) -> batch_lib.Record:
    """The next batch of a seed with what belongs beside it."""
    read = {label: next(batches) for label, batches in streams.items()}
    batch = read.pop(_MAIN)
    return batch | {"beside": read} if read else batch


class Resident:
    """Many steps in one program, whose batches are gathered on the device.

    Every device holds the whole training split; only row numbers come from the host.
    """

    def __init__(self, run: run_lib.Run, step: int):
        self._run, self._step = run, step
        source = run.training_source("train")
        self._orders = [
            order_lib.Order(
                len(source),
                seed=seed,
                batch_size=run.batch_size,
                shuffle=run.config.data.shuffle,
            )
            for seed in run.seeds
        ]
        arrays = pipeline.gather(source, np.arange(len(source)))
        whole = sharding.replicated(run.mesh)
        try:
            self._data = sharding.put_batch(arrays, whole)
        except jax.errors.JaxRuntimeError as error:
            raise errors.UserError(
                "The training split does not fit on the device: "
                "--config.data.device_resident=False."
            ) from error
        self._capacity = max(1, run.config.log_every_steps)
        self._scan = _make_scan(run, self._capacity)
        self._rng = run.root_keys

    def advance(
        self, state: state_lib.TrainState, limit: int, code: int = 0
    ) -> Advance:
        """Does up to `limit` steps, see `Streamed.advance`."""
        count = min(limit, self._capacity)
        rows = np.zeros(
            (self._capacity, len(self._orders), self._run.batch_size), np.int32
        )
        for i in range(count):
            for s, order in enumerate(self._orders):
                rows[i, s] = order.indices(self._step + i)
        self._step += count
        whole = sharding.replicated(self._run.mesh)
        rows, number = sharding.put_batch((rows, np.int32(count)), whole)
        share = self._run.batch_size // sharding.host_share(self._run.mesh)[1]
        shape = (len(self._orders), share) if len(self._orders) > 1 else (share,)
        wish = sharding.put_batch(_wish(shape, code), self._run.batch_sharding)
        return *self._scan(state, self._data, rows, number, wish, self._rng), count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        del self._data


def _make_scan(run: run_lib.Run, capacity: int) -> Callable[..., Any]:
    """Jits up to `capacity` steps, so many as it is told: one program for all."""
    seeds = len(run.seeds)

    def scan(state, data, rows, count, wish, rng):
        def pick(i: jax.Array) -> Any:
            index = rows[i] if seeds > 1 else rows[i, 0]
            batch = jax.tree.map(lambda x: x[index], data) | wish
            return jax.lax.with_sharding_constraint(batch, run.batch_sharding)

        def body(i: jax.Array, carry: tuple) -> tuple:
            state, kept = carry
            state, metrics = run.plain_step(state, pick(i), rng)
            values = {k: v.reshape(seeds) for k, v in metrics.items()}
            return state, {k: kept[k].at[i].set(v) for k, v in values.items()}

        _, shapes = jax.eval_shape(run.plain_step, state, pick(0), rng)
        kept = {k: jnp.zeros((capacity, seeds), jnp.float32) for k in shapes}
        return jax.lax.fori_loop(0, count, body, (state, kept))

    whole = sharding.replicated(run.mesh)
    return jax.jit(
        scan,
        in_shardings=(
            run.state_shardings,
            whole,
            whole,
            whole,
            run.batch_sharding,
            whole,
        ),
        out_shardings=(run.state_shardings, whole),
        donate_argnums=(0,),
    )


def _wish(shape: tuple[int, ...], code: int) -> dict[str, np.ndarray]:
    """What this process's rows of a batch tell the others, if there are any."""
    if jax.process_count() == 1:
        return {}
    return {dist.STOP: np.full(shape, code, np.int32)}


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
