"""Learning rates: schedules by name over epochs or steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import schema

_COMMON = limits.declared(schema.Schedule)

Schedule = Callable[[jax.Array | int], jax.Array]


def constant(t: jax.Array, total: float, base: float, /) -> jax.Array:
    """The base rate throughout."""
    del total
    return jnp.full_like(t, base)


def linear(
    t: jax.Array, total: float, base: float, /, *, end: limits.Weight = 0.1
) -> jax.Array:
    """From the base rate down to `end` times it."""
    return base * ((1 - t / total) * (1 - end) + end)


def cosine(
    t: jax.Array, total: float, base: float, /, *, end: limits.Weight = 0.0
) -> jax.Array:
    """Half a cosine from the base rate to `end` times it."""
    # Half of one plus the cosine, with all digits also where it is small.
    wave = jnp.square(jnp.sin(jnp.pi / 2 * jnp.maximum((total - t) / total, 0.0)))
    return base * (end + (1 - end) * wave)


def warmup_cosine(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    warmup: limits.Weight = 10.0,
    start: limits.Weight = 0.0,
    end: limits.Weight = 0.0,
) -> jax.Array:
    """A linear rise from `start` times the base over `warmup` units, then half a cosine.

    That ends at `end` times the base. With `start=1` the rate is held and then falls.
    """
    rise = base * (start + (1 - start) * t / max(warmup, 1e-8))
    fall = cosine(t - warmup, total - warmup, base, end=end)
    return jnp.where(t < warmup, rise, fall)


def multistep(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    milestones: tuple[limits.Weight, ...] = (),
    factor: limits.Positive = 0.1,
) -> jax.Array:
    """Multiplied by `factor` at each milestone."""
    del total
    passed = sum((t >= m).astype(jnp.float32) for m in milestones)
    return base * factor ** jnp.asarray(passed, jnp.float32)


def warmup_poly(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    warmup: limits.Weight = 0.0,
    power: limits.Positive = 0.9,
    lag: limits.Natural = 0,
) -> jax.Array:
    """A linear rise over `warmup` units, then `(1 - t / total) ** power` times the base.

    The released CMX sets the rate of a step after it: `lag=1`. Before a first rate is set,
    it is the base.
    """
    t = t - lag
    rise = t / max(warmup, 1e-8)
    fall = jnp.maximum((total - t) / total, 0.0) ** power
    return base * jnp.where(t < 0, 1.0, jnp.where(t < warmup, rise, fall))


def cosine_periodic(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    periods: limits.Count = 10,
    end: limits.Weight = 1e-3,
) -> jax.Array:
    """A cosine that falls in `total // periods` units, then rises as long, and so on.

    The released MRDD's schedule `consine` [sic]: it never restarts, so 200 epochs hold
    five full waves. Released, less than ten epochs divide by zero; here T is at least 1.
    """
    return cosine_wave(t, total, base, half=float(max(total // periods, 1)), end=end)


def cyclic(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    half: limits.Positive = 2000.0,
    top: limits.Weight = 100.0,
) -> jax.Array:
    """A triangle from the base rate to `top` times it in `half` units, and back."""
    del total
    place = jnp.abs(t / half - 2 * jnp.floor(1 + t / (2 * half)) + 1)
    return base * (1 + (top - 1) * jnp.maximum(0.0, 1 - place))


def warmup_step(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    warmup: limits.Positive = 5.0,
    size: limits.Positive = 10.0,
    factor: limits.Positive = 0.1,
) -> jax.Array:
    """A linear rise over `warmup` units, then multiplied by `factor` each `size`.

    The first fall comes `size + 1` units after the rise, as in RERD's scheduler.
    """
    del total
    falls = jnp.maximum(jnp.floor((t - warmup - 1) / size), 0)
    return base * jnp.minimum(t / warmup, 1.0) * factor**falls


def warmup_exponential(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    warmup: limits.Positive = 5.0,
    factor: limits.Positive = 0.1,
) -> jax.Array:
    """A linear rise over `warmup` units, then multiplied by `factor` each unit."""
    del total
    return base * jnp.minimum(t / warmup, 1.0) * factor ** jnp.maximum(t - warmup, 0)


def exponential(
    t: jax.Array, total: float, base: float, /, *, start: limits.Part = 1e-4
) -> jax.Array:
    """A rise by equal factors from `start` times the base rate to it.

    As PyTorch Lightning's range test has it, the very first step is at the low end and
    each later one a unit ahead, so that the last of `total` steps is at the base rate.
    """
    done = jnp.where(t == 0, 0.0, jnp.minimum(t + 1, total) / total)
    return base * start ** (1 - done)


def cosine_restarts(
    t: jax.Array, total: float, base: float, /, *, period: limits.Positive = 1000.0
) -> jax.Array:
    """Half a cosine from the base rate to zero in each `period`."""
    del total
    return base * 0.5 * (1 + jnp.cos(jnp.pi * jnp.mod(t, period) / period))


def _half_wave(t: jax.Array, half: float) -> jax.Array:
    """`(1 + cos(pi t / half)) / 2`, with all digits also where it is small."""
    return jnp.square(jnp.sin(jnp.pi / 2 * ((half - t) / half)))


def cosine_cycles(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    period: limits.Positive = 1000.0,
    warmup: limits.Weight = 0.0,
    growth: limits.Positive = 1.0,
    decay: limits.Positive = 1.0,
    end: limits.Weight = 0.0,
) -> jax.Array:
    """Cycles of a linear rise from `end` times the base and half a cosine back to it.

    The released MV-MR's `CosineAnnealingWarmupRestarts`: a cycle is `growth` times as long
    as the one before, apart from the `warmup` units of the rise, and rises to `decay` times
    its height; without a rise the very first step is at the low end all the same.
    """
    low, length, begin, height = base * end, float(period), 0.0, base
    rate = jnp.full_like(t, low)
    while begin <= total:
        s = t - begin
        rise = low + (height - low) * s / max(warmup, 1e-8)
        wave = _half_wave(s - warmup, length - warmup)
        now = jnp.where(s < warmup, rise, low + (height - low) * wave)
        rate = jnp.where(t >= begin, now, rate)
        begin, height = begin + length, height * decay
        length = float(int((length - warmup) * growth) + warmup)
    return rate if warmup else jnp.where(t == 0, low, rate)


def cosine_wave(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    half: limits.Positive = 1000.0,
    end: limits.Weight = 0.0,
) -> jax.Array:
    """A cosine that falls to `end` times the base in `half` units, rises as long, and on.

    PyTorch's `CosineAnnealingLR` beyond its end.
    """
    del total
    return base * (end + (1 - end) * _half_wave(jnp.mod(t, 2 * half), half))


def sawtooth(
    t: jax.Array,
    total: float,
    base: float,
    /,
    *,
    epoch: limits.Count | None = None,
    validation: limits.Natural = 0,
    hold: limits.Natural = 10,
) -> jax.Array:
    """What the released distillation of MV-MR makes of a cosine over one epoch.

    Its scheduler is moved at the end of each epoch and, from the epoch `hold` on, also at
    every batch of training and validation, in steps of a wave whose half is one epoch.

    Args:
      t: Step.
      total: Unused.
      base: Base rate.
      epoch: Batches of an epoch of training; None: those of the run.
      validation: Batches of a validation.
      hold: Epochs of nearly constant rate.
    """
    number, i = jnp.floor(t / epoch), jnp.mod(t, epoch)
    moved = hold + (number - hold) * (1 + epoch + validation) + i + 1
    calls = jnp.where(number < hold, number, moved)
    return cosine_wave(calls, total, base, half=float(epoch))


def epoch_wave(
    t: jax.Array, total: float, base: float, /, *, epoch: limits.Count | None = None
) -> jax.Array:
    """What the released fine-tuning of MV-MR makes of a cosine over one epoch.

    An epoch is one step of a wave whose half has as many steps as an epoch has batches,
    which `epoch` tells; None: those of the run.
    """
    return cosine_wave(jnp.floor(t / epoch), total, base, half=float(epoch))


SCHEDULES = {
    f.__name__: f
    for f in (
        constant,
        linear,
        cosine,
        warmup_cosine,
        multistep,
        warmup_poly,
        cosine_periodic,
        cyclic,
        warmup_step,
        warmup_exponential,
        exponential,
        cosine_restarts,
        cosine_cycles,
        cosine_wave,
        sawtooth,
        epoch_wave,
    )
}


def find(name: str) -> Callable[..., jax.Array]:
    """The schedule that a config names; its keyword arguments are settings.

    Raises:
      UserError: There is none.
    """
    if name not in SCHEDULES:
        raise errors.unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name]


def make(config: Any, base: float, *, steps_per_epoch: int, total: float) -> Schedule:
    """Builds the schedule that `config.optim.schedule` describes.

    Args:
      config: Mapping with `name`, `unit` ("epoch": the rate changes between epochs;
        "step": at every step; "fraction": at every step, told in epochs), `length` (in
        that unit; None: the run's) and the schedule's own arguments.
      base: Base learning rate.
      steps_per_epoch: Steps of an epoch.
      total: Length of the run in epochs.

    Returns:
      Function from a step to the learning rate, float32.

    Raises:
      UserError: There is no such schedule or argument, or a value it cannot have.
    """
    fields = {k: f.default for k, f in _COMMON.items()} | dict(config)
    function = find(fields["name"])
    known = limits.declared(function) | _COMMON
    limits.check_all("config.optim.schedule", fields, known)
    unit, length, _ = (fields.pop(key) for key in ("unit", "length", "name"))
    if "epoch" in known and fields.get("epoch") is None:
        fields["epoch"] = steps_per_epoch
    if length is None:
        length = total * steps_per_epoch if unit == "step" else total

    def schedule(step: jax.Array | int) -> jax.Array:
        position = jnp.asarray(step)
        if unit == "epoch":
            position = position // steps_per_epoch
        elif unit == "fraction":
            position = position / steps_per_epoch
        return function(position.astype(jnp.float32), length, base, **fields)

    return schedule
