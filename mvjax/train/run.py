"""What a config describes: the method, the data, and how long it trains."""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import jax

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import lookup
from mvjax.core import method as method_lib
from mvjax.core import tree
from mvjax.core import workdir as workdir_lib
from mvjax.data import batch as batch_lib
from mvjax.data import epoch_order
from mvjax.data import inputs
from mvjax.data import policies
from mvjax.train import checkpoint
from mvjax.train import constants
from mvjax.train import frozen
from mvjax.train import seeds
from mvjax.train import step as step_lib
from mvjax.train import warm_start

_MOST_STEPS = 2**31 - 1  # The state counts them in int32.


class Run:
    """Everything that follows from a resolved config; parts are made when asked for.

    Args:
      config: A complete config.
      cache: Folder of downloaded data.
      data_needed: Without it, steps per epoch are taken as 1: enough to look at a
        config or to convert weights.
      tuned: What was found for this run before it trains, kept in `run.json`.
    """

    def __init__(
        self,
        config: Any,
        *,
        cache: pathlib.Path | None = None,
        data_needed: bool = True,
        tuned: dict[str, Any] | None = None,
    ):
        self.config = config
        self.tuned = tuned or {}
        self._cache = cache
        self.data_needed = data_needed
        self.inputs = inputs.Inputs(config.data, cache)
        self._constant: dict[str, Any] = {}  # Sources with constants, by split.
        self._records: Any = None  # Stored records with constants, below a policy.

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
            workdir / workdir_lib.CONFIG_FILE, overrides, allow_code=allow_code
        )
        return cls(config, cache=cache)

    def changed(self, config: Any) -> "Run":
        """A run of another config whose records are the same; no file is opened again."""
        other = Run(config, cache=self._cache, data_needed=self.data_needed)
        other.inputs = self.inputs
        return other

    @functools.cached_property
    def method(self) -> method_lib.Method:
        """The method, checked against the data set's views."""
        fields = self.config.method
        module = lookup.find("methods", fields.name)
        method = config_lib.build(module.Method, "config.method", fields)
        method.check(self.train_spec)
        if self.spec != self.train_spec:
            method.check(self.spec)
        return dataclasses.replace(method, frozen=self._frozen(method))

    def _frozen(self, method: method_lib.Method) -> tuple[str, ...]:
        """Patterns of components that the config freezes or no update trains."""
        freeze = tuple(self.config.freeze)
        trained = [update.trains for update in method.updates]
        if None in trained:
            return freeze
        shapes = jax.eval_shape(method.init, jax.random.key(0), self.example(2))
        patterns = [pattern for some in trained for pattern in some]
        idle = (n for n in shapes["params"] if not tree.matches(n, patterns))
        return (*freeze, *idle)

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

        Where a policy changes the records, it is made of the views that chance leaves
        alone; where a transform does, there is none.
        """
        frozen, inputs = tuple(self.config.freeze), self.inputs
        if inputs.is_plain:
            example = self.example()
        elif inputs.transform or not policies.steady(
            inputs.train_policy, inputs.stored_spec
        ):
            return {}
        else:
            spec = policies.keep_steady(inputs.stored_spec, inputs.train_policy)
            example = batch_lib.example(spec, self.batch_size)
        return jax.eval_shape(
            functools.partial(self.method.constants, frozen=frozen),
            constants.select(self.shapes, frozen),
            example,
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
        settings = dict(
            frozen=frozen,
            batch_size=self.eval_batch_size,
            cache=self._cache if store else None,
        )
        if self.inputs.is_plain:
            for split in self.splits:
                self._constant[split] = constants.attach(
                    self.method, variables, self.source(split), **settings
                )
        elif self.constant_shapes:
            stored = self.inputs.records("train")
            steady = policies.Steady(stored, self.inputs.train_policy)
            attached = constants.attach(self.method, variables, steady, **settings)
            self._records = constants.Source(stored, attached.arrays)

    def training_source(self, split: str) -> Any:
        """The records of a split, with the constants that were kept."""
        return self._constant.get(split) or self.source(split)

    @property
    def train_records(self) -> Any:
        """The training split as it is before the policy of training."""
        held = self._records or self._constant.get("train")
        return held or self.inputs.records("train")

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
        return epoch_order.epoch_batches(
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

    def fresh_variables(self, seed: int | None = None) -> method_lib.Variables:
        """Untrained variables of a seed, by default the run's, the same each time."""
        seed = self.config.seed if seed is None else seed
        return warm_start.init(self.method, seed, self.example(2))

    def checkpoints(
        self, workdir: pathlib.Path, *, read_only: bool = False
    ) -> checkpoint.Checkpoints:
        """The checkpoints of a workdir, kept as the config says."""
        c, still = self.config.checkpoint, frozen.Still()
        if not read_only:
            freeze = tuple(self.config.freeze)
            statistics = step_lib.still_statistics(self.method, freeze)
            still = frozen.Still(self.method.frozen, statistics)
        return checkpoint.Checkpoints(
            workdir,
            keep=c.keep,
            best=c.best,
            best_mode=c.best_mode,
            still=still,
            read_only=read_only,
        )

    def evaluated_step(self, checkpoints: checkpoint.Checkpoints) -> int | None:
        """Step of the checkpoint that evaluations are of; None: the latest."""
        best = self.config.checkpoint.evaluate == "best"
        return checkpoints.best_step() if best else None

    def find_other_channels(self, workdir: pathlib.Path) -> str:
        """The first view with other channels than in the run of a workdir, or "".

        Data name their channels, such as the bands of an image, and a first layer has
        a kernel for each by its place: as many others, or the same in another order, fit
        in and mean nothing. Views of which nothing is named, or another number of
        channels, are passed over, as is a workdir whose data cannot be described.
        """
        ours, data = self.spec.channel_names, self.config.data
        if not ours:
            return ""
        try:
            theirs = config_lib.read(workdir / workdir_lib.CONFIG_FILE).data
            if all(theirs.get(key) == data.get(key) for key in ("name", "options")):
                return ""
            there = inputs.Inputs(theirs, self._cache).spec.channel_names
        except errors.UserError:
            return ""
        for view, names in ours.items():
            others = there.get(view, ())
            if len(others) == len(names) and tuple(others) != tuple(names):
                return f"{view}: {', '.join(others)} there, {', '.join(names)} here"
        return ""

    def describe_data(self) -> dict[str, Any]:
        """What identifies the data: name, sizes and fingerprints of the splits."""
        return {
            "name": self.config.data.name,
            "synthetic": bool(self.config.data.get("synthetic", False)),
            "views": {n: list(v.shape) for n, v in self.spec.views.items()},
            "records": {s: len(self.source(s)) for s in self.splits},
            "fingerprint": {s: self.source(s).fingerprint() for s in self.splits},
        }
