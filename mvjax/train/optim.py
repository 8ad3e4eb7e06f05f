"""Optimisers with PyTorch's conventions, as optax chains with groups by component."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import schema
from mvjax.core import tree
from mvjax.train import schedules

_COMMON = limits.declared(schema.Optim)


class Optimizer(NamedTuple):
    """A gradient transformation with what is worth showing of it."""

    transform: optax.GradientTransformation
    schedules: dict[str, schedules.Schedule]  # By group.


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Scales gradients by `min(1, limit / (norm + 1e-6))`, as PyTorch does."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        factor = jnp.minimum(1.0, limit / (optax.tree.norm(grads) + 1e-6))
        return jax.tree.map(lambda g: g * factor, grads), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _is_matrix(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def adam(
    *,
    weight_decay: limits.Weight = 0.0,
    b1: limits.Rate = 0.9,
    b2: limits.Rate = 0.999,
    eps: limits.Part = 1e-8,
) -> list[optax.GradientTransformation]:
    """Adam; the decay passes through the moments, as in PyTorch."""
    decay = optax.add_decayed_weights(weight_decay)
    return [decay, optax.scale_by_adam(b1=b1, b2=b2, eps=eps)]


def adamw(
    *,
    weight_decay: limits.Weight = 0.0,
    b1: limits.Rate = 0.9,
    b2: limits.Rate = 0.999,
    eps: limits.Part = 1e-8,
) -> list[optax.GradientTransformation]:
    """Adam with decoupled weight decay."""
    decay = optax.add_decayed_weights(weight_decay)
    return [optax.scale_by_adam(b1=b1, b2=b2, eps=eps), decay]


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


def check_groups(config: Any, params: Any) -> None:
    """Raises `UserError` for a group of `config.optim` that fits no component.

    Args:
      config: See `make`.
      params: Of all components, also of those that are not trained.
    """
    for name, group in dict(config.get("groups") or {}).items():
        if group.get("match"):
            where = f" of config.optim.groups.{name}.match"
            tree.select(params, (group["match"],), where=where)


def _labels(params: Any, groups: dict[str, Any]) -> Any:
    """Group of each leaf, as a tree like `params`."""
    rest = [name for name, group in groups.items() if "match" not in group]
    if len(rest) != 1:
        raise errors.UserError(
            f"config.optim.groups: exactly one group must lack 'match'; {rest} do."
        )
    flat = {}
    for path in tree.flatten(params):
        component = path.split("/")[0]
        claims = [
            name
            for name, group in groups.items()
            if "match" in group and tree.matches(component, [group["match"]])
        ]
        if len(claims) > 1:
            raise errors.UserError(
                f"config.optim.groups {claims} all match component {component!r}."
            )
        flat[path] = claims[0] if claims else rest[0]
    return tree.unflatten(flat)


def make(config: Any, params: Any, *, steps_per_epoch: int, epochs: float) -> Optimizer:
    """Builds the optimiser of `config.optim` for the trainable parameters.

    Args:
      config: Mapping with `name`, one of `OPTIMIZERS`, its arguments, what
        `schema.Optim` adds, and optionally `groups` {name: {match: component pattern,
        field: value}}; a group's fields replace those above, and exactly one group has
        no `match`.
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
    _check("config.optim", top, find(top["name"]))
    transforms, rates = {}, {}
    for group, own in groups.items():
        own.pop("match", None)
        fields = top | own
        function = find(fields["name"])
        _check(f"config.optim.groups.{group}", own, function)
        rates[group] = schedules.make(
            fields.get("schedule") or {},
            fields.get("lr", _COMMON["lr"].default),
            steps_per_epoch=steps_per_epoch,
            total=epochs,
        )
        # What all groups share may be for the optimiser of another group.
        known = limits.declared(function)
        chain = function(**{k: v for k, v in fields.items() if k in known})
        transforms[group] = optax.chain(
            *chain, optax.scale_by_learning_rate(rates[group])
        )
    transform = optax.partition(transforms, labels)
    if clip_norm is not None:
        transform = optax.chain(clip_by_global_norm(clip_norm), transform)
    return Optimizer(transform, rates)


def _check(where: str, fields: dict[str, Any], function: Callable[..., Any]) -> None:
    """Refuses settings that an optimiser does not take."""
    limits.check_all(where, fields, limits.declared(function) | _COMMON)
