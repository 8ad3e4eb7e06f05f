"""Optimisers with PyTorch's conventions, as optax chains with groups by component."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mvjax.core import errors
from mvjax.core import tree
from mvjax.train import schedules

FIELDS = {
    "lr": 1e-3,
    "weight_decay": 0.0,
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "momentum": 0.9,
    "trust": 1e-3,  # LARS.
    "clip_norm": None,  # Global norm of the gradient; None: no clipping.
}


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


def _core(name: str, f: dict[str, Any]) -> list[optax.GradientTransformation]:
    decay = optax.add_decayed_weights(f["weight_decay"])
    adam = optax.scale_by_adam(b1=f["b1"], b2=f["b2"], eps=f["eps"])
    momentum = optax.trace(decay=f["momentum"])
    lars = optax.chain(decay, optax.scale_by_trust_ratio(trust_coefficient=f["trust"]))
    chains = {
        "adam": [decay, adam],  # The decay passes through the moments, as in torch.
        "adamw": [adam, decay],
        "sgd": [decay, momentum],
        "lars": [optax.masked(lars, _is_matrix), momentum],
    }
    if name not in chains:
        raise errors.unknown("optimizer", name, chains)
    return chains[name]


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
      config: Mapping with `name` (adam, adamw, sgd, lars), fields as in `FIELDS`,
        `schedule` and optionally `groups` {name: {match: component pattern, field:
        value}}; a group's fields replace those above, and exactly one group has no
        `match`.
      params: Parameters by component, arrays or their shapes.
      steps_per_epoch: Steps of an epoch.
      epochs: Length of the run.

    Raises:
      UserError: Unknown names, overlapping groups.
    """
    top = {k: v for k, v in dict(config).items() if k != "groups"}
    groups = {k: dict(v) for k, v in dict(config.get("groups", None) or {}).items()}
    groups = groups or {"all": {}}
    labels = _labels(params, groups)
    transforms, rates = {}, {}
    for group, fields in groups.items():
        fields = top | {k: v for k, v in fields.items() if k != "match"}
        name, schedule = (
            fields.pop("name"),
            fields.pop("schedule", {"name": "constant"}),
        )
        for key in fields:
            if key not in FIELDS:
                raise errors.unknown("key of config.optim", key, {*FIELDS, "groups"})
        fields = FIELDS | fields
        rates[group] = schedules.make(
            schedule, fields["lr"], steps_per_epoch=steps_per_epoch, total=epochs
        )
        chain = _core(name, fields)
        transforms[group] = optax.chain(
            *chain, optax.scale_by_learning_rate(rates[group])
        )
    transform = optax.partition(transforms, labels)
    clip_norm = top.get("clip_norm")
    if clip_norm is not None:
        transform = optax.chain(clip_by_global_norm(clip_norm), transform)
    return Optimizer(transform, rates)
