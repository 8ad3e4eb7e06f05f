"""The program of a run: its mesh, its optimisers, its state and its training step."""

from collections.abc import Callable, Collection, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import method as method_lib
from mvjax.core import notice
from mvjax.core import state as state_lib
from mvjax.core import storage
from mvjax.train import constants
from mvjax.train import optim
from mvjax.train import replicated
from mvjax.train import run as run_lib
from mvjax.train import seeds
from mvjax.train import sharding
from mvjax.train import step as step_lib
from mvjax.train import warm_start


class Program:
    """What a run computes with on the devices; parts are made when asked for.

    Args:
      run: The run.
      devices: Devices of the mesh; None: all.
    """

    def __init__(self, run: run_lib.Run, *, devices: Any = None):
        self.run = run
        self._devices = devices
        self._start: list[list[Any]] | None = None  # What `read_start` has found.

    def fresh(self) -> "Program":
        """The same program, of which nothing is traced or compiled."""
        return Program(self.run, devices=self._devices)

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The mesh of `config.mesh`."""
        mesh = sharding.make_mesh(self.run.config.mesh, self._devices)
        sharding.check_batch(
            mesh, self.run.config.data.batch_size, self.run.config.accumulate
        )
        return mesh

    @functools.cached_property
    def root_keys(self) -> jax.Array:
        """Root key of the run, or `[S]` those of its seeds."""

        def make() -> jax.Array:
            keys = [jax.random.key(seed) for seed in self.run.seeds]
            return jnp.stack(keys) if len(keys) > 1 else keys[0]

        return jax.jit(make, out_shardings=sharding.replicated(self.mesh))()

    @functools.cached_property
    def optimizers(self) -> dict[str, optim.Optimizer]:
        """Optimiser of each of the method's updates."""
        made: dict[str, optim.Optimizer] = {}
        optim.check_groups(self.run.config.optim, self.run.shapes["params"])
        for update in self.run.method.updates:
            part = step_lib.trainable(
                update, self.run.shapes["params"], tuple(self.run.config.freeze)
            )
            if not part:
                raise errors.UserError(
                    f"config.freeze leaves nothing to train in update {update.name!r}."
                )
            made.setdefault(
                update.name,
                optim.make(
                    self.run.config.optim,
                    part,
                    steps_per_epoch=self.run.steps_per_epoch,
                    epochs=self.run.total_steps / self.run.steps_per_epoch,
                ),
            )
        return made

    def make_state(self, variables: method_lib.Variables) -> state_lib.TrainState:
        """State of step 0 for variables; traceable."""
        params = variables["params"]
        opt_state = {}
        for update in self.run.method.updates:
            part = step_lib.trainable(update, params, tuple(self.run.config.freeze))
            opt_state[update.name] = self.optimizers[update.name].transform.init(part)
        return state_lib.TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state={k: v for k, v in variables.items() if k != "params"},
            opt_state=opt_state,
            # A copy: donated buffers must not be shared.
            ema=jax.tree.map(jnp.copy, params) if self.run.config.ema_decay else {},
            lr_scale=jnp.ones((), jnp.float32),
        )

    @functools.cached_property
    def state_target(self) -> state_lib.TrainState:
        """Shapes of the state with the sharding of each leaf."""
        shapes = jax.eval_shape(self.make_state, self.run.shapes)
        shardings = sharding.state_shardings(self.mesh, shapes)
        if self.run.config.parallel == "pmap":
            shardings = replicated.state_shardings(self.mesh, shapes)
        if len(self.run.seeds) == 1:
            return jax.tree.map(_target, shapes, shardings)
        return jax.tree.map(
            lambda leaf, s: _target(
                leaf.update(shape=(len(self.run.seeds), *leaf.shape)),
                sharding.behind_seeds(s),
            ),
            shapes,
            shardings,
        )

    @property
    def state_shardings(self) -> state_lib.TrainState:
        """Sharding of each leaf of the state."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.state_target)

    def read_start(self, *, but: Collection[str] = ()) -> None:
        """Reads and checks what the warm start takes; no data are opened for that.

        It is kept for `initial_state`.

        Args:
          but: Sources that are left out, as they are yet to be trained; then nothing is
            kept.

        Raises:
          UserError: A source is missing, damaged or of something else.
        """
        entries = {
            label: entry
            for label, entry in self.run.config.warm_start.items()
            if entry["source"] not in but
        }
        for label, entry in entries.items():
            warm_start.check(label, entry)
        if not entries:  # Nothing need be known of the method.
            self._start = None if but else [[] for _ in self.run.seeds]
            return
        method, shapes = self.run.method, self.run.shapes
        names = self.run.spec.channel_names
        found = [
            warm_start.read(entries, method, shapes, replica=i, names=names)
            for i in range(len(self.run.seeds))
        ]
        self._start = None if but else found
        for label, entry in entries.items():
            self._tell_of_channels(label, entry["source"])

    def _tell_of_channels(self, label: str, source: str) -> None:
        """Warns where the weights of a workdir were trained on channels in other places."""
        if other := self.run.find_other_channels(storage.path(source)):
            notice.warn(
                f"config.warm_start.{label}: the channels of a view are others than those "
                f"that the weights of {source} were trained with, {other}"
            )

    def initial_state(self) -> state_lib.TrainState:
        """State of step 0, warm-started as the config says, sharded from birth."""
        sharding.check_memory(self.state_target, self.mesh.local_devices)
        if self._start is None:
            self.read_start()
        start, self._start = self._start, None
        variables = [
            warm_start.put(self.run.fresh_variables(seed), found)
            for seed, found in zip(self.run.seeds, start, strict=True)
        ]
        return self.place_state(variables)

    def place_state(
        self, variables: Sequence[method_lib.Variables]
    ) -> state_lib.TrainState:
        """State of step 0 for the variables of each seed, sharded from birth."""
        if len(variables) == 1:
            make, given = self.make_state, variables[0]
        else:
            make, given = jax.vmap(self.make_state), seeds.stack(list(variables))
        return jax.jit(make, out_shardings=self.state_shardings)(given)

    def fetch(self, tree: Any) -> Any:
        """Arrays of the mesh as NumPy arrays, wherever their parts are."""
        whole = sharding.replicated(self.mesh)
        if jax.process_count() > 1:
            tree = jax.jit(lambda x: x, out_shardings=whole)(tree)
        return jax.tree.map(np.asarray, jax.device_get(tree))

    @property
    def batch_sharding(self) -> jax.sharding.NamedSharding:
        """Where the rows of a batch live."""
        rows = sharding.batch_sharding(self.mesh)
        return rows if len(self.run.seeds) == 1 else sharding.behind_seeds(rows)

    @functools.cached_property
    def plain_step(self) -> step_lib.Step:
        """The training step `(state, batch, root keys) -> (state, metrics)`."""
        step = step_lib.make_step(
            self.run.method,
            {name: made.transform for name, made in self.optimizers.items()},
            steps_per_epoch=self.run.steps_per_epoch,
            accumulate=self.run.config.accumulate,
            freeze=tuple(self.run.config.freeze),
            ema_decay=self.run.config.ema_decay,
            skip_nonfinite=self.run.config.nonfinite == "skip",
            wrap=replicated.wrapper(self.run.config, self.mesh)
            or sharding.gather_wrapper(self.mesh),
            transform=self.run.inputs.transform,
        )
        return step if len(self.run.seeds) == 1 else jax.vmap(step)

    @functools.cached_property
    def step(self) -> Callable[..., Any]:
        """`plain_step`, jitted; the state is donated."""
        whole = sharding.replicated(self.mesh)
        return jax.jit(
            self.plain_step,
            in_shardings=(self.state_shardings, self.batch_sharding, whole),
            out_shardings=(self.state_shardings, whole),
            donate_argnums=(0,),
        )

    def step_arguments(self) -> tuple[Any, Any, Any]:
        """Shapes and shardings of what the step takes: state, batch, root keys."""
        batch = self.run.example_input()
        if self.run.constant_shapes:
            batch = batch | {constants.KEY: self.run.constant_shapes}
        several = (len(self.run.seeds),) if len(self.run.seeds) > 1 else ()
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                (*several, *x.shape), x.dtype, sharding=self.batch_sharding
            ),
            batch,
        )
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), several))
        return self.state_target, batch, keys


def _target(leaf: Any, place: jax.sharding.NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
