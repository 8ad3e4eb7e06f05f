"""The settings that every config has, with defaults and limits; methods add their own.

Each class is a part of a config. A field without a default must stand in the config
file; one of type `dict` is a part of its own.
"""

import dataclasses
from typing import Annotated

from mvjax.core import limits


@dataclasses.dataclass(frozen=True)
class Run:
    """The top of a config. It holds exactly one of `epochs` and `steps`."""

    method: dict
    data: dict
    optim: dict
    evals: dict
    epochs: limits.Count | None = None
    steps: limits.Count | None = None
    seed: limits.Natural = 0
    # Runs that are trained at once, with seed, seed + 1, ...
    seeds: Annotated[int, limits.Range(1, 1024)] = 1
    accumulate: limits.Count = 1  # Micro-batches of a step.
    freeze: limits.AnyNames = ()  # Component patterns that are not trained.
    warm_start: dict = dataclasses.field(default_factory=dict)
    ema_decay: limits.Rate = 0.0  # 0: no moving average of the parameters.
    log_every_steps: limits.Count = 20
    health_every_steps: limits.Natural = 100  # Looks at the codes' spread; 0: never.
    # "skip": a step with NaN or inf changes nothing; where all steps between two lines of
    # the log are such, the run stops.
    nonfinite: limits.one_of("stop", "skip") = "stop"
    # "pmap": statistics and losses of each device's own rows.
    parallel: limits.one_of("jit", "pmap") = "jit"
    control: dict = dataclasses.field(default_factory=dict)
    mesh: dict = dataclasses.field(default_factory=dict)
    checkpoint: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Method:
    """What every method has; the named one adds its own."""

    name: limits.Text


@dataclasses.dataclass(frozen=True)
class Data:
    """Which records, and how they are read."""

    name: limits.Text
    batch_size: limits.Size
    options: dict = dataclasses.field(default_factory=dict)
    eval_batch_size: limits.Size | None = None  # None: batch_size.
    limit: limits.Count | None = None  # Records of each split; None: all.
    synthetic: bool = False  # Made-up records of the same shapes.
    # What is done to a record on the host, by files of `data/augment`; {}: nothing.
    train_policy: dict = dataclasses.field(default_factory=dict)
    eval_policy: dict = dataclasses.field(default_factory=dict)
    # What is done to a batch on the device, by a file of `transforms`; {}: nothing.
    device_policy: dict = dataclasses.field(default_factory=dict)
    subset: dict = dataclasses.field(default_factory=dict)  # Of the training split.
    beside: dict = dataclasses.field(default_factory=dict)  # Other streams, by label.
    # Threads that read ahead, in this process or in each worker; 0: none.
    threads: Annotated[int, limits.Range(0, 256)] = 2
    workers: Annotated[int, limits.Range(0, 256)] = 0  # Processes that read ahead.
    shuffle: bool = True  # False: each epoch in the order of the file.
    # What an epoch leaves: "carry" into the next, or "keep" as a short batch.
    last_batch: limits.one_of("carry", "keep") = "carry"
    # A training record that cannot be read ends the run, or the next one stands in for it.
    damaged: limits.one_of("stop", "skip") = "stop"
    device_resident: bool = False  # True: the training split lies on each device.


@dataclasses.dataclass(frozen=True)
class Policy:
    """What every policy has; the named one adds its own."""

    name: limits.Text | None = None  # None: there is none.


@dataclasses.dataclass(frozen=True)
class Subset:
    """Which records of the training split are used, see `data/subset.py`."""

    share: limits.Part = 1.0  # Of each class, where there are labels.
    seed: limits.Natural = 0
    replace: bool = False  # Whether a record may be drawn more than once.
    stratified: bool = True  # False: a share of all, whatever their classes.


@dataclasses.dataclass(frozen=True)
class Beside:
    """Another stream of the step, `batch["beside"][label]`."""

    batch_size: limits.Size
    split: limits.Text = "train"
    policy: dict = dataclasses.field(default_factory=dict)  # On the host.


@dataclasses.dataclass(frozen=True)
class Control:
    """What the evaluations may do to the run; see `Plateau` in `train/optim.py`."""

    metric: str = ""  # Such as "scores/valid/mae"; "": nothing.
    mode: limits.one_of("min", "max") = "min"
    # Share of the best value by which a better one must beat it.
    threshold: limits.Weight = 1e-4
    lower_after: limits.Natural = 0  # Evaluations without improvement; 0: all.
    factor: limits.Share = 0.1  # Of the learning rate, after that.
    stop_after: limits.Natural = 0  # Evaluations without improvement; 0: all.


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis; one of them may be -1 and takes what the others leave."""

    data: Annotated[int, limits.Range(-1, 2**20)] = -1
    fsdp: Annotated[int, limits.Range(-1, 2**20)] = 1
    model: Annotated[int, limits.Range(-1, 2**20)] = 1


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is kept of a run, and which state the final evaluation is of."""

    every_epochs: limits.Count = 1
    keep: limits.Count = 2
    best: str = "loss"  # Metric of the best checkpoint; "" keeps the latest only.
    best_mode: limits.one_of("min", "max") = "min"
    evaluate: limits.one_of("last", "best") = "last"


@dataclasses.dataclass(frozen=True)
class Optim:
    """What all optimisers have; `train/optim.py` adds those of the named one."""

    name: limits.Text
    lr: limits.LearningRate = 1e-3
    clip_norm: limits.Positive | None = None  # Global norm of the gradient.
    schedule: dict = dataclasses.field(default_factory=dict)
    groups: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Group:
    """An optimiser group: which parameters, and what differs for them.

    The one group with neither `match` nor `rank` takes what the others leave.
    """

    # Pattern of components or, with a `/` in it, of whole paths: "encoder/*/bias".
    match: limits.Text | None = None
    # Only parameters of one axis or none (norms, biases), or only the others.
    rank: limits.one_of("vector", "matrix") | None = None
    name: limits.Text | None = None
    lr: limits.LearningRate | None = None
    schedule: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What all learning-rate schedules have; the named function adds its own."""

    name: limits.Text = "constant"
    unit: limits.one_of("epoch", "step", "fraction") = "epoch"
    length: limits.Positive | None = None  # In that unit; None: the run's.


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What all evaluations have; the named evaluator adds its own."""

    name: limits.Text
    every_epochs: limits.Natural = 0  # 0: at the end only.


@dataclasses.dataclass(frozen=True)
class WarmStart:
    """Where components come from, see `train/warm_start.py`."""

    source: limits.Text
    take: dict = dataclasses.field(default_factory=dict)
    optional: limits.AnyNames = ()  # Those of `take` that the source may lack.
    # Fields of the method that the run it comes from may have had otherwise, with a dot
    # what lies in them: "backbone.head".
    differ: tuple[limits.Text, ...] = ()
    table: limits.Text | None = None  # Of the method, where several describe a file.
    part: limits.Text | None = None  # Of a file that holds several sets of weights.
    # Patterns of leaves that keep their initial values: ("backbone/conv1/kernel",).
    fresh: limits.AnyNames = ()
    # Patterns of kernels whose input in the source is only some channels of a view, and the
    # names of these in the source's order: ("backbone/conv1/kernel",), "optical" and
    # ("B4", "B3", "B2").
    spread: limits.AnyNames = ()
    view: limits.Text | None = None
    channels: tuple[limits.Text, ...] = ()
    # Patterns of leaves of a workdir that are not taken: ("backbone/head/*",).
    drop: limits.AnyNames = ()
