"""What a config describes, assembled: method, data, mesh, optimisers, state, step."""

from collections.abc import Callable, Sequence
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import method as method_lib
from mvjax.data import batch as batch_lib
from mvjax.data import inputs
from mvjax.data import order
from mvjax.data import pipeline
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import suite
from mvjax.train import checkpoint
from mvjax.train import constants
from mvjax.train import health
from mvjax.train import optim
from mvjax.train import replicated
from mvjax.train import seeds
from mvjax.train import sharding
from mvjax.train import state as state_lib
from mvjax.train import step as step_lib
from mvjax.train import warm_start

CONFIG_FILE = config_lib.FILE
EVALUATION_FILE = "evaluation.json"
_MOST_STEPS = 2**31 - 1  # The state counts them in int32.


class Run:
    """Everything that follows from a resolved config; parts are made when asked for.

    Args:
      config: A complete config.
      cache: Folder of downloaded data.
      devices: Devices of the mesh; None: all.
      data_needed: Without it, steps per epoch are taken as 1: enough to look at a
        config or to convert weights.
    """

    def __init__(
        self,
        config: Any,
        *,
        cache: pathlib.Path | None = None,
        devices: Any = None,
        data_needed: bool = True,
    ):
        self.config = config
        self._cache = cache
        self._devices = devices
        self.data_needed = data_needed
        self.inputs = inputs.Inputs(config.data, cache)
        self._constant: dict[str, Any] = {}  # Sources with constants, by split.

    @classmethod
    def open(
        cls,
        workdir: pathlib.Path,
        overrides: Sequence[str] = (),
        *,
        cache: pathlib.Path | None = None,
        allow_code: Sequence[str] = (),
    ) -> "Run":
        """The run whose resolved config lies in a workdir; see `config.read`."""
        config = config_lib.read(
            workdir / CONFIG_FILE, overrides, allow_code=allow_code
        )
        return cls(config, cache=cache)

    @functools.cached_property
    def method(self) -> method_lib.Method:
        """The method, checked against the data set's views."""
        fields = self.config.method
        module = lookup.find("methods", fields.name)
        method = config_lib.build(module.Method, "config.method", fields)
        method.check(self.train_spec)
        if self.spec != self.train_spec:
            method.check(self.spec)
        return method

    @property
    def spec(self) -> batch_lib.Spec:
        """Shapes, types and ranges of what `predict` sees."""
        return self.inputs.spec

    @property
    def train_spec(self) -> batch_lib.Spec:
        """Shapes, types and ranges of what `loss` sees."""
        return self.inputs.train_spec

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the data set."""
        return self.inputs.splits

    def source(self, split: str) -> Any:
        """The records of a split as evaluation reads them."""
        return self.inputs.source(split)

    @functools.cached_property
    def constant_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of what the method keeps of a training batch; `{}`: nothing.

        Where policies or transforms change the records, there are no constants of them.
        """
        if not self.inputs.is_plain:
            return {}
        frozen = tuple(self.config.freeze)
        return jax.eval_shape(
            functools.partial(self.method.constants, frozen=frozen),
            constants.select(self.shapes, frozen),
            self.example(),
        )

    def keep_constants(
        self, variables: method_lib.Variables, *, store: bool = True
    ) -> None:
        """Computes what frozen components make of each record, once for this run.

        Several seeds share it; where their frozen components differ, nothing is kept.
        """
        frozen = tuple(self.config.freeze)
        if len(self.seeds) > 1:
            variables = seeds.common(constants.select(variables, frozen))
            if variables is None:
                return
        for split in self.splits:
            self._constant[split] = constants.attach(
                self.method,
                variables,
                self.source(split),
                frozen=frozen,
                batch_size=self.eval_batch_size,
                cache=self._cache if store else None,
            )

    def training_source(self, split: str) -> Any:
        """The records of a split, with the constants that were kept."""
        return self._constant.get(split) or self.source(split)

    @property
    def train_records(self) -> Any:
        """The training split as it is before the policy of training."""
        return self._constant.get("train") or self.inputs.records("train")

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The mesh of `config.mesh`."""
        mesh = sharding.make_mesh(self.config.mesh, self._devices)
        sharding.check_batch(mesh, self.config.data.batch_size, self.config.accumulate)
        return mesh

    @property
    def eval_batch_size(self) -> int:
        """Records that evaluation looks at together; a multiple of the processes."""
        size = self.config.data.get("eval_batch_size") or self.batch_size
        return -(-size // jax.process_count()) * jax.process_count()

    @property
    def batch_size(self) -> int:
        """Global batch size."""
        return self.config.data.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch: whole ones, and the short last one if that is kept."""
        return self.epoch_batches[0]

    @functools.cached_property
    def epoch_batches(self) -> tuple[int, int]:
        """Batches of an epoch, and rows of the last one."""
        if not self.data_needed:
            return 1, self.batch_size
        return order.epoch_batches(
            len(self.source("train")), self.batch_size, self.config.data.last_batch
        )

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        if self.config.get("steps"):
            return self.config.steps
        steps = self.config.epochs * self.steps_per_epoch
        if steps > _MOST_STEPS:
            raise errors.UserError(f"config.epochs means {steps:,} steps, too many.")
        return steps

    def example(self, batch_size: int | None = None) -> batch_lib.Record:
        """A batch of zeros as `predict` sees it."""
        return batch_lib.example(self.spec, batch_size or self.batch_size)

    def example_input(self) -> batch_lib.Record:
        """A batch of zeros as the training step takes it."""
        batch = batch_lib.example(self.inputs.train_batch_spec, self.batch_size)
        if self.inputs.beside:
            batch["beside"] = {
                label: batch_lib.example(stream.spec, stream.batch_size)
                for label, stream in self.inputs.beside.items()
            }
        return batch

    @functools.cached_property
    def shapes(self) -> method_lib.Variables:
        """Shapes of the method's variables."""
        return jax.eval_shape(self.method.init, jax.random.key(0), self.example(2))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs that are trained at once."""
        return tuple(range(self.config.seed, self.config.seed + self.config.seeds))

    @functools.cached_property
    def root_keys(self) -> jax.Array:
        """Root key of the run, or `[S]` those of its seeds."""

        def make() -> jax.Array:
            keys = [jax.random.key(seed) for seed in self.seeds]
            return jnp.stack(keys) if len(keys) > 1 else keys[0]

        return jax.jit(make, out_shardings=sharding.replicated(self.mesh))()

    def fresh_variables(self, seed: int | None = None) -> method_lib.Variables:
        """Untrained variables of a seed, by default the run's, the same each time."""
        seed = self.config.seed if seed is None else seed
        return warm_start.init(self.method, seed, self.example(2))

    @functools.cached_property
    def optimizers(self) -> dict[str, optim.Optimizer]:
        """Optimiser of each of the method's updates."""
        made: dict[str, optim.Optimizer] = {}
        optim.check_groups(self.config.optim, self.shapes["params"])
        for update in self.method.updates:
            part = step_lib.trainable(
                update, self.shapes["params"], tuple(self.config.freeze)
            )
            if not part:
                raise errors.UserError(
                    f"config.freeze leaves nothing to train in update {update.name!r}."
                )
            made.setdefault(
                update.name,
                optim.make(
                    self.config.optim,
                    part,
                    steps_per_epoch=self.steps_per_epoch,
                    epochs=self.total_steps / self.steps_per_epoch,
                ),
            )
        return made

    def make_state(self, variables: method_lib.Variables) -> state_lib.TrainState:
        """State of step 0 for variables; traceable."""
        params = variables["params"]
        opt_state = {}
        for update in self.method.updates:
            part = step_lib.trainable(update, params, tuple(self.config.freeze))
            opt_state[update.name] = self.optimizers[update.name].transform.init(part)
        return state_lib.TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            model_state={k: v for k, v in variables.items() if k != "params"},
            opt_state=opt_state,
            # A copy: donated buffers must not be shared.
            ema=jax.tree.map(jnp.copy, params) if self.config.ema_decay else {},
            lr_scale=jnp.ones((), jnp.float32),
        )

    @functools.cached_property
    def state_target(self) -> state_lib.TrainState:
        """Shapes of the state with the sharding of each leaf."""
        shapes = jax.eval_shape(self.make_state, self.shapes)
        shardings = sharding.state_shardings(self.mesh, shapes)
        if self.config.parallel == "pmap":
            shardings = replicated.state_shardings(self.mesh, shapes)
        if len(self.seeds) == 1:
            return jax.tree.map(_target, shapes, shardings)
        return jax.tree.map(
            lambda leaf, s: _target(
                leaf.update(shape=(len(self.seeds), *leaf.shape)),
                sharding.behind_seeds(s),
            ),
            shapes,
            shardings,
        )

    @property
    def state_shardings(self) -> state_lib.TrainState:
        """Sharding of each leaf of the state."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.state_target)

    def initial_state(self) -> state_lib.TrainState:
        """State of step 0, warm-started as the config says, sharded from birth."""
        sharding.check_memory(self.state_target, self.mesh.local_devices)
        for label, entry in self.config.warm_start.items():
            warm_start.check(label, entry)
        variables = [
            warm_start.apply(
                self.config.warm_start,
                self.method,
                self.fresh_variables(seed),
                replica=i,
            )
            for i, seed in enumerate(self.seeds)
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
        return rows if len(self.seeds) == 1 else sharding.behind_seeds(rows)

    @functools.cached_property
    def plain_step(self) -> step_lib.Step:
        """The training step `(state, batch, root keys) -> (state, metrics)`."""
        step = step_lib.make_step(
            self.method,
            {name: made.transform for name, made in self.optimizers.items()},
            steps_per_epoch=self.steps_per_epoch,
            accumulate=self.config.accumulate,
            freeze=tuple(self.config.freeze),
            ema_decay=self.config.ema_decay,
            skip_nonfinite=self.config.nonfinite == "skip",
            replicate=replicated.wrapper(self.config, self.mesh),
            transform=self.inputs.transform,
        )
        return step if len(self.seeds) == 1 else jax.vmap(step)

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

    def checkpoints(
        self, workdir: pathlib.Path, *, read_only: bool = False
    ) -> checkpoint.Checkpoints:
        """The checkpoints of a workdir, kept as the config says."""
        c = self.config.checkpoint
        return checkpoint.Checkpoints(
            workdir,
            keep=c.keep,
            best=c.best,
            best_mode=c.best_mode,
            read_only=read_only,
        )

    def evaluated_step(self, checkpoints: checkpoint.Checkpoints) -> int | None:
        """Step of the checkpoint that evaluations are of; None: the latest."""
        best = self.config.checkpoint.evaluate == "best"
        return checkpoints.best_step() if best else None

    def predictor(self, variables: method_lib.Variables) -> features_lib.Predict:
        """`predict` with variables bound: NumPy batch to named NumPy arrays."""
        predict = self._jitted_predict
        mesh = sharding.evaluation_mesh(self.mesh)
        whole, rows = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        variables = jax.device_put(variables, whole)

        def call(batch: dict[str, Any]) -> dict[str, np.ndarray]:
            size = len(jax.tree.leaves(batch)[0])
            place = whole if size % mesh.size else rows
            return jax.device_get(predict(variables, jax.device_put(batch, place)))

        return call

    @functools.cached_property
    def _jitted_predict(self) -> Callable[..., dict[str, jax.Array]]:
        method, transform = self.method, self.inputs.transform

        def predict(variables: method_lib.Variables, batch: method_lib.Batch) -> Any:
            batch = transform(batch, None) if transform else batch
            return method.predict(variables, batch)

        return jax.jit(predict)

    @functools.cached_property
    def _untrained(self) -> features_lib.Predict:
        predict = self.predictor(self.fresh_variables())
        return lambda batch: predict(constants.detach(batch))

    def features(self, variables: method_lib.Variables) -> features_lib.Features:
        """Features of the splits, with those of untrained variables as baseline."""
        return features_lib.Features(
            self.predictor(variables),
            {split: self.training_source(split) for split in self.splits},
            batch_size=self.eval_batch_size,
            baseline=self._untrained,
            threads=self.config.data.threads,
            workers=self.config.data.workers,
        )

    def evaluators(self) -> dict[str, Any]:
        """The evaluators of `config.evals` by label."""
        return suite.make(self.config.evals)

    def health(self, state: state_lib.TrainState) -> dict[str, float]:
        """How the codes of the first training records spread, see `health.measure`."""
        variables = state.eval_variables
        if jax.process_count() > 1:
            variables = self.fetch(variables)
        if len(self.seeds) > 1:
            variables = seeds.pick(variables, 0)
        outputs = self.predictor(variables)(self._probe)
        figures = {k: float(v) for k, v in _measure(outputs).items()}
        return {k: v for k, v in figures.items() if np.isfinite(v)}

    @functools.cached_property
    def _probe(self) -> batch_lib.Record:
        source = self.training_source("train")
        rows = np.arange(self.eval_batch_size) % len(source)
        return pipeline.gather(source, rows)


_measure = jax.jit(health.measure)


def _target(leaf: Any, place: jax.sharding.NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)
