"""Optimisers with PyTorch's conventions, as optax chains with groups of parameters.

And what a plateau of a metric does to their rates.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mvjax.convert import torch_optimizer
from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import schema
from mvjax.core import state as state_lib
from mvjax.core import tree
from mvjax.train import schedules
from mvjax.train import sharding

_COMMON = limits.declared(schema.Optim)
_GROUP = limits.declared(schema.Group)


class Treatment(NamedTuple):
    """What an optimiser does to a parameter beside following its gradient."""

    group: str
    decay: float  # 0: none.
    trust: float  # Coefficient of the trust ratio; 0: the rate does not adapt to norms.


class Optimizer(NamedTuple):
    """A gradient transformation with what is worth showing of it."""

    transform: optax.GradientTransformation
    schedules: dict[str, schedules.Schedule]  # By group.
    treatments: dict[str, Treatment]  # By path.


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Scales gradients by `min(1, limit / (norm + 1e-6))`, as PyTorch does."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        factor = jnp.minimum(1.0, limit / (optax.tree.norm(grads) + 1e-6))
        return jax.tree.map(lambda g: g * factor, grads), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _is_matrix(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def scale_by_adam(*, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam's direction; optax's state, with the corrections of PyTorch's precision.

    In the first steps `1 - b2**t` loses four of seven digits in float32, which optax
    accepts and PyTorch, which takes it on the host, does not.
    """
    init = optax.scale_by_adam(b1=b1, b2=b2, eps=eps).init

    def correction(rate: float, count: jax.Array) -> jax.Array:
        return -jnp.expm1(count * math.log(rate)) if rate else jnp.ones(())

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        mu = optax.tree.update_moment(grads, state.mu, b1, 1)
        nu = optax.tree.update_moment(grads, state.nu, b2, 2)
        first, second = correction(b1, count), correction(b2, count)
        steps = jax.tree.map(
            lambda m, v: m / first / (jnp.sqrt(v / second) + eps), mu, nu
        )
        return steps, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def adam(
    *,
    weight_decay: limits.Weight = 0.0,
    b1: limits.Rate = 0.9,
    b2: limits.Rate = 0.999,
    eps: limits.Part = 1e-8,
) -> list[optax.GradientTransformation]:
    """Adam; the decay passes through the moments, as in PyTorch."""
    decay = optax.add_decayed_weights(weight_decay)
    return [decay, scale_by_adam(b1=b1, b2=b2, eps=eps)]


def adamw(
    *,
    weight_decay: limits.Weight = 0.0,
    b1: limits.Rate = 0.9,
    b2: limits.Rate = 0.999,
    eps: limits.Part = 1e-8,
) -> list[optax.GradientTransformation]:
    """Adam with decoupled weight decay."""
    decay = optax.add_decayed_weights(weight_decay)
    return [scale_by_adam(b1=b1, b2=b2, eps=eps), decay]


def sgd(
    *, weight_decay: limits.Weight = 0.0, momentum: limits.Rate = 0.9
) -> list[optax.GradientTransformation]:
    """Stochastic gradient descent with momentum."""
    return [optax.add_decayed_weights(weight_decay), optax.trace(decay=momentum)]


def lars(
    *,
    weight_decay: limits.Weight = 0.0,
    momentum: limits.Rate = 0.9,
    trust: limits.Positive = 1e-3,
) -> list[optax.GradientTransformation]:
    """Layer-wise adaptive rates of matrices; vectors get plain momentum."""
    decay = optax.add_decayed_weights(weight_decay)
    scaled = optax.chain(decay, optax.scale_by_trust_ratio(trust_coefficient=trust))
    return [optax.masked(scaled, _is_matrix), optax.trace(decay=momentum)]


OPTIMIZERS = {f.__name__: f for f in (adam, adamw, sgd, lars)}


def find(name: str) -> Callable[..., list[optax.GradientTransformation]]:
    """The optimiser that a config names; its arguments are settings.

    Raises:
      UserError: There is none.
    """
    if name not in OPTIMIZERS:
        raise errors.unknown("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def _treat(group: str, fields: dict[str, Any], leaf: Any) -> Treatment:
    """What the optimiser of a group with these settings does to a parameter."""
    function = find(fields["name"])
    settings = {k: f.default for k, f in limits.declared(function).items()} | fields
    if function is lars and leaf.ndim <= 1:
        return Treatment(group, 0.0, 0.0)
    trust = settings["trust"] if function is lars else 0.0
    return Treatment(group, settings["weight_decay"], trust)


def check_groups(config: Any, params: Any) -> None:
    """Raises `UserError` for a group of `config.optim` that fits no parameter.

    Args:
      config: See `make`.
      params: Of all components, also of those that are not trained.
    """
    for name, group in dict(config.get("groups") or {}).items():
        pattern = group.get("match") or ""
        where = f" of config.optim.groups.{name}.match"
        if "/" in pattern:
            paths = tree.flatten(params)
            if not any(tree.matches(path, [pattern]) for path in paths):
                raise errors.unknown(f"path pattern{where}", pattern, paths)
        elif pattern:
            tree.select(params, (pattern,), where=where)


def _claims(group: dict[str, Any], path: str, leaf: Any) -> bool:
    """Whether a group with `match` or `rank` takes a parameter."""
    pattern, rank = group.get("match"), group.get("rank")
    name = path if pattern and "/" in pattern else path.split("/")[0]
    if pattern and not tree.matches(name, [pattern]):
        return False
    return not rank or (rank == "matrix") == (leaf.ndim > 1)


def _labels(params: Any, groups: dict[str, Any]) -> Any:
    """Group of each leaf, as a tree like `params`."""
    special = {n: g for n, g in groups.items() if g.get("match") or g.get("rank")}
    rest = [name for name in groups if name not in special]
    if len(rest) != 1:
        raise errors.UserError(
            "config.optim.groups: exactly one group must lack both 'match' and 'rank', "
            f"for what the others leave; {rest} do."
        )
    flat = {}
    for path, leaf in tree.flatten(params).items():
        claims = [n for n, group in special.items() if _claims(group, path, leaf)]
        if len(claims) > 1:
            raise errors.UserError(
                f"config.optim.groups {claims} all claim {path!r}; groups are disjoint."
            )
        flat[path] = claims[0] if claims else rest[0]
    return tree.unflatten(flat)


def make(config: Any, params: Any, *, steps_per_epoch: int, epochs: float) -> Optimizer:
    """Builds the optimiser of `config.optim` for the trainable parameters.

    Args:
      config: Mapping with `name`, one of `OPTIMIZERS`, its arguments, what
        `schema.Optim` adds, and optionally `groups` {name: {match: pattern, rank:
        "vector" or "matrix", field: value}}; a group's fields replace those above. A
        pattern with a `/` is one of whole paths, `encoder/*/bias`, others are of
        components; "vector" are parameters of at most one axis. Exactly one group has
        neither and takes what the others leave.
      params: Parameters by component, arrays or their shapes.
      steps_per_epoch: Steps of an epoch.
      epochs: Length of the run.

    Raises:
      UserError: Unknown names, settings that the optimiser does not take or cannot
        have, overlapping groups.
    """
    top = dict(config)
    clip_norm = top.pop("clip_norm", None)
    groups = {k: dict(v) for k, v in dict(top.pop("groups", None) or {}).items()}
    groups = groups or {"all": {}}
    labels = _labels(params, groups)
    limits.check_all("config.optim", top, limits.declared(find(top["name"])) | _COMMON)
    transforms, rates, settings = {}, {}, {}
    for group, own in groups.items():
        fields = top | {k: v for k, v in own.items() if v is not None}
        settings[group] = fields
        function = find(fields["name"])
        known = limits.declared(function)
        limits.check_all(f"config.optim.groups.{group}", own, known | _GROUP)
        rates[group] = schedules.make(
            fields.get("schedule") or {},
            fields.get("lr", _COMMON["lr"].default),
            steps_per_epoch=steps_per_epoch,
            total=epochs,
        )
        # What all groups share may be for the optimiser of another group.
        chain = function(**{k: v for k, v in fields.items() if k in known})
        transforms[group] = optax.chain(
            *chain, optax.scale_by_learning_rate(rates[group])
        )
    transform = optax.partition(transforms, labels)
    if clip_norm is not None:
        transform = optax.chain(clip_by_global_norm(clip_norm), transform)
    group_of = tree.flatten(labels)
    treatments = {
        path: _treat(group_of[path], settings[group_of[path]], leaf)
        for path, leaf in tree.flatten(params).items()
    }
    return Optimizer(transform, rates, treatments)


def with_moments(opt_state: Any, moments: torch_optimizer.Moments, step: int) -> Any:
    """State of optimisers that goes on from what others have gathered.

    Args:
      opt_state: State of any optimisers of `OPTIMIZERS`.
      moments: By path of the parameters, as numbers of the same shapes.
      step: How many steps the schedules have done.

    Raises:
      UserError: They are of another kind of optimiser.
    """
    adam, momentum = optax.ScaleByAdamState, optax.TraceState

    def take(held: Any, values: Any) -> Any:
        flat = tree.flatten(values)
        return jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.broadcast_to(
                flat["/".join(entry.key for entry in path)], x.shape
            ),
            held,
        )

    def fill(state: Any) -> Any:
        if isinstance(state, adam | momentum) and bool(moments.second) != isinstance(
            state, adam
        ):
            theirs = "Adam" if moments.second else "an optimiser with momentum alone"
            raise errors.UserError(
                f"The state is that of {theirs}, which config.optim is not."
            )
        if isinstance(state, adam):
            mu, nu = take(state.mu, moments.first), take(state.nu, moments.second)
            return adam(jnp.full_like(state.count, moments.steps), mu, nu)
        if isinstance(state, momentum):
            return momentum(take(state.trace, moments.first))
        if isinstance(state, optax.ScaleByScheduleState):
            return optax.ScaleByScheduleState(jnp.full_like(state.count, step))
        return state

    kinds = (adam, momentum, optax.ScaleByScheduleState)
    return jax.tree.map(fill, opt_state, is_leaf=lambda x: isinstance(x, kinds))


@dataclasses.dataclass
class Plateau:
    """What evaluations may do to a run: lower the learning rate, or end it.

    Both count evaluations without improvement of one metric, as `ReduceLROnPlateau` and
    the early stopping of PyTorch users do. It holds the settings and how the metric has
    fared; `seen` is all that a resume needs.
    """

    settings: dict[str, Any]
    best: float = math.nan
    waiting_to_lower: int = 0
    waiting_to_stop: int = 0
    scale: float = 1.0  # Of the learning rate.

    @classmethod
    def make(cls, config: Any, seen: dict[str, float] | None = None) -> "Plateau":
        """Starts, or goes on from what a checkpoint has `seen`."""
        defaults = {k: f.default for k, f in limits.declared(schema.Control).items()}
        settings = defaults | dict(config)
        made = cls(settings)
        for name, value in (seen or {}).items():
            setattr(made, name, math.nan if value is None else value)
        return made

    @property
    def seen(self) -> dict[str, Any]:
        """What belongs into a checkpoint, as JSON."""
        kept = {k: v for k, v in vars(self).items() if k != "settings"}
        return kept | {"best": None if math.isnan(self.best) else self.best}

    @property
    def stopped(self) -> bool:
        """Whether the run has waited long enough."""
        limit = self.settings["stop_after"]
        return bool(limit) and self.waiting_to_stop >= limit

    def observe(self, results: dict[str, dict[str, float]]) -> None:
        """Takes what evaluators found, `{label: {metric: value}}`.

        One that ran and has no value of the metric, or NaN, did not improve it.
        """
        label, _, metric = self.settings["metric"].partition("/")
        if metric and label in results:
            self._count(results[label].get(metric, math.nan))

    def _count(self, value: float) -> None:
        if self._is_better(value):
            self.best = value
            self.waiting_to_lower = self.waiting_to_stop = 0
            return
        self.waiting_to_stop += 1
        self.waiting_to_lower += 1
        limit = self.settings["lower_after"]
        if limit and self.waiting_to_lower > limit:
            self.scale *= self.settings["factor"]
            self.waiting_to_lower = 0

    def _is_better(self, value: float) -> bool:
        if math.isnan(value) or math.isnan(self.best):
            return not math.isnan(value)
        share = self.settings["threshold"]
        if self.settings["mode"] == "min":
            return value < self.best * (1 - share)
        return value > self.best * (1 + share)

    def apply(self, state: state_lib.TrainState) -> state_lib.TrainState:
        """The state with the learning rate's present scale."""
        old = state.lr_scale
        scale = np.full(old.shape, self.scale, np.float32)
        return state.replace(lr_scale=sharding.put_batch(scale, old.sharding))
