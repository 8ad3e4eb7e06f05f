"""How steps get their batches: streamed one by one, or from data that lie on the device.

Both give the same batches in the same order. Metrics of several steps or seeds have these
axes, in this order; rows beyond the steps that were done are zero.
"""

from collections.abc import Callable
import time
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import dist
from mvjax.core import errors
from mvjax.core import state as state_lib
from mvjax.data import batch as batch_lib
from mvjax.data import damaged
from mvjax.data import epoch_order as order_lib
from mvjax.data import pipeline
from mvjax.data import read_ahead
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import sharding

MAIN = ""  # Key of the batches themselves among the streams.
Advance = tuple[state_lib.TrainState, dict[str, jax.Array], int]


def make(program: program_lib.Program, step: int) -> "Streamed | Resident":
    """The feed that `config.data.device_resident` asks for, from `step` on."""
    kind = Resident if program.run.config.data.device_resident else Streamed
    return kind(program, step)


def check(program: program_lib.Program) -> None:
    """Raises `UserError` where the batches of an epoch do not fit the devices."""
    run = program.run
    for label, stream in run.inputs.beside.items():
        setting = f"config.data.beside.{label}.batch_size"
        sharding.check_batch(
            program.mesh, stream.batch_size, run.config.accumulate, setting
        )
        records = len(run.inputs.records(stream.split))
        if records < stream.batch_size:
            raise errors.UserError(
                f"{setting} is {stream.batch_size}, but the split {stream.split!r} has "
                f"only {records} records."
            )
    works = dict(train_policy=run.inputs.train_policy, beside=run.inputs.beside)
    for name, work in works.items():
        if work and run.config.data.device_resident:
            raise errors.UserError(
                f"config.data.{name} is the host's work, but with config.data."
                "device_resident=True it has none; set one of them."
            )
    _, last = run.epoch_batches
    if last != run.batch_size:
        sharding.check_batch(
            program.mesh,
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

    def __init__(self, program: program_lib.Program, step: int):
        self._program, run = program, program.run
        share, data = sharding.host_share(program.mesh), run.config.data
        ahead = dict(threads=data.threads, workers=data.workers)
        self._batches = [
            streams(run, seed, step, share=share, **ahead) for seed in run.seeds
        ]
        self._rows = program.batch_sharding
        self._rng = program.root_keys

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
        _wait(state, self._program)
        batch = sharding.put_batch(
            batch | _wish(batch["index"].shape, code), self._rows
        )
        return *self._program.step(state, batch, self._rng), 1

    def read(self) -> batch_lib.Record:
        """This process's rows of the next batch, with a leading axis of seeds, if any."""
        batches = [_next(mine) for mine in self._batches]
        return batches[0] if len(batches) == 1 else _stack(batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        for mine in self._batches:
            for batches in mine.values():
                batches.close()


def _wait(state: state_lib.TrainState, program: program_lib.Program) -> None:
    """Waits on CPUs until the last step is done.

    A step that is queued there starts before the last one has given back its memory, so
    it takes as much again.
    """
    if program.mesh.devices.flat[0].platform == "cpu":
        start = time.perf_counter()
        jax.block_until_ready(jax.tree.leaves(state)[0])
        if time.perf_counter() - start > 0.2:
            time.sleep(0.002)  # The thread that did the step now frees its buffers.


def streams(
    run: run_lib.Run,
    seed: int,
    step: int,
    *,
    share: tuple[int, int],
    threads: int,
    workers: int,
) -> dict[str, read_ahead.Batches]:
    """The batches of a seed from a step on, and those beside them by label.

    Args:
      run: The run.
      seed: One of its seeds.
      step: The first batch.
      share: Which part of the rows, of how many, see `sharding.host_share`.
      threads: See `pipeline.train_batches`.
      workers: See there.
    """
    common = dict(step=step, host=share[0], hosts=share[1])
    common |= dict(threads=threads, workers=workers)
    choice = run.config.data.damaged
    main = pipeline.train_batches(
        damaged.treat(run.train_records, choice),
        seed=seed,
        batch_size=run.batch_size,
        augment=run.inputs.train_policy,
        shuffle=run.config.data.shuffle,
        last_batch=run.config.data.last_batch,
        **common,
    )
    return {MAIN: main} | {
        label: pipeline.train_batches(
            damaged.treat(run.inputs.records(stream.split), choice),
            seed=stream.seed | seed,
            batch_size=stream.batch_size,
            augment=stream.policy,
            **common,
        )
        for label, stream in run.inputs.beside.items()
    }


def _next(mine: dict[str, read_ahead.Batches]) -> batch_lib.Record:
    """The next batch of a seed with what belongs beside it."""
    read = {label: next(batches) for label, batches in mine.items()}
    batch = read.pop(MAIN)
    return batch | {"beside": read} if read else batch


class Resident:
    """Many steps in one program, whose batches are gathered on the device.

    Every device holds the whole training split; only row numbers come from the host.
    """

    def __init__(self, program: program_lib.Program, step: int):
        self._program, self._step = program, step
        self._run = run = program.run
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
        whole = sharding.replicated(program.mesh)
        try:
            self._data = sharding.put_batch(arrays, whole)
        except jax.errors.JaxRuntimeError as error:
            raise errors.UserError(
                "The training split does not fit on the device: "
                "--config.data.device_resident=False."
            ) from error
        self._capacity = max(1, run.config.log_every_steps)
        self._scan = _make_scan(program, self._capacity)
        self._rng = program.root_keys

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
        whole = sharding.replicated(self._program.mesh)
        rows, number = sharding.put_batch((rows, np.int32(count)), whole)
        share = self._run.batch_size // sharding.host_share(self._program.mesh)[1]
        shape = (len(self._orders), share) if len(self._orders) > 1 else (share,)
        wish = sharding.put_batch(_wish(shape, code), self._program.batch_sharding)
        _wait(state, self._program)
        return *self._scan(state, self._data, rows, number, wish, self._rng), count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        del self._data


def _make_scan(program: program_lib.Program, capacity: int) -> Callable[..., Any]:
    """Jits up to `capacity` steps, so many as it is told: one program for all."""
    seeds = len(program.run.seeds)

    def scan(state, data, rows, count, wish, rng):
        def pick(i: jax.Array) -> Any:
            index = rows[i] if seeds > 1 else rows[i, 0]
            batch = jax.tree.map(lambda x: x[index], data) | wish
            return jax.lax.with_sharding_constraint(batch, program.batch_sharding)

        def body(i: jax.Array, carry: tuple) -> tuple:
            state, kept = carry
            state, metrics = program.plain_step(state, pick(i), rng)
            values = {k: v.reshape(seeds) for k, v in metrics.items()}
            return state, {k: kept[k].at[i].set(v) for k, v in values.items()}

        _, shapes = jax.eval_shape(program.plain_step, state, pick(0), rng)
        kept = {k: jnp.zeros((capacity, seeds), jnp.float32) for k in shapes}
        return jax.lax.fori_loop(0, count, body, (state, kept))

    whole = sharding.replicated(program.mesh)
    return jax.jit(
        scan,
        in_shardings=(
            program.state_shardings,
            whole,
            whole,
            whole,
            program.batch_sharding,
            whole,
        ),
        out_shardings=(program.state_shardings, whole),
        donate_argnums=(0,),
    )


def _wish(shape: tuple[int, ...], code: int) -> dict[str, np.ndarray]:
    """What this process's rows of a batch tell the others, if there are any."""
    if jax.process_count() == 1:
        return {}
    return {dist.STOP: np.full(shape, code, np.int32)}


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
