"""The range test of learning rates: a hundred steps, each at a higher rate.

After Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017), with the
constants of PyTorch Lightning's tuner. Two things differ from that: its later versions
correct the bias of the smoothed loss by one step too many, and four times the best loss
ends the test there also where that is negative, which is at once.
"""

from collections.abc import Callable, Iterable, Iterator
import math
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from mvjax.core import errors
from mvjax.core import state as state_lib
from mvjax.train import feed as feed_lib
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

STEPS = 100
LOW, HIGH = 1e-5, 1e-1
BETA = 0.98  # Of the smoothed loss.
DIVERGED = 4.0  # Times the best smoothed loss.
SKIP_FIRST, SKIP_LAST = 10, 1  # Points that are not suggested.
_SAY_EVERY = 20


class Point(NamedTuple):
    """One step of the test."""

    lr: float
    loss: float
    smoothed: float


def rates() -> list[float]:
    """The rate of each step; `schedules.exponential` is the same in the optimiser."""
    parts = [0.0, *((i + 1) / STEPS for i in range(1, STEPS))]
    return [LOW * (HIGH / LOW) ** part for part in parts]


def follow(losses: Iterable[float]) -> list[Point]:
    """Smooths the losses of the steps, and takes no more of them once they diverge.

    A loss that is not finite ends the test and is no point. Where the best loss is not
    above zero, nothing else does.
    """
    points: list[Point] = []
    mean, best = 0.0, math.inf
    for i, (lr, loss) in enumerate(zip(rates(), losses, strict=False)):
        if not math.isfinite(loss):
            break
        mean = BETA * mean + (1 - BETA) * loss
        smoothed = mean / (1 - BETA ** (i + 1))
        points.append(Point(lr, loss, smoothed))
        if i and best > 0 and smoothed > DIVERGED * best:
            break
        best = min(best, smoothed)
    return points


def suggest(points: list[Point]) -> float:
    """The rate at which the smoothed loss falls fastest.

    Raises:
      UserError: The test ended too early to tell, or the loss fell at no rate.
    """
    considered = points[SKIP_FIRST:-SKIP_LAST]
    by_hand = "set config.optim.lr by hand, without --auto-lr."
    if len(considered) < 2:  # A slope needs two.
        raise errors.UserError(
            f"--auto-lr: the loss diverged or was not finite after {len(points)} steps, "
            f"too few to suggest a learning rate ({SKIP_FIRST + SKIP_LAST + 2} are "
            f"needed). Look at the data with `mvjax data check`, or {by_hand}"
        )
    slopes = _slopes(considered)
    if min(slopes) >= 0:
        raise errors.UserError(
            f"--auto-lr: the loss falls at no rate from {considered[0].lr:.2g} to "
            f"{considered[-1].lr:.2g}; {by_hand}"
        )
    return considered[np.argmin(slopes)].lr


def doubt(points: list[Point]) -> str:
    """What speaks against the rate that `suggest` gives, in words; "" if nothing does.

    A loss that rises and comes down again may fall fastest there, at a rate that is too
    high to train with.
    """
    considered = points[SKIP_FIRST:-SKIP_LAST]
    slopes, smoothed = _slopes(considered), [point.smoothed for point in considered]
    low, chosen = np.argmin(smoothed), considered[np.argmin(slopes)]
    if chosen.lr <= considered[low].lr:
        return ""
    text = (
        f"at the learning rate {chosen.lr:.2g} the smoothed loss falls from a peak: it is "
        f"{chosen.smoothed:.4g} there and was {smoothed[low]:.4g} at {considered[low].lr:.2g}"
    )
    before = np.argmin(slopes[: low + 1])
    if slopes[before] < 0:
        text += f", before which it fell fastest at {considered[before].lr:.2g}"
    return text


def _slopes(considered: list[Point]) -> np.ndarray:
    return np.gradient([point.smoothed for point in considered])


def kept_groups(config: Any) -> list[str]:
    """Optimiser groups that have a learning rate of their own."""
    return [
        name
        for name, group in dict(config.optim.get("groups") or {}).items()
        if group.get("lr") is not None
    ]


def ramp(config: Any) -> Any:
    """The config with the rates of the test in place of its learning rate and schedule.

    Groups with a rate of their own keep it, and the schedule that they have in training.

    Raises:
      UserError: All groups have one.
    """
    kept, optim = kept_groups(config), config.optim.to_dict()
    groups = optim.get("groups") or {}
    if groups and len(kept) == len(groups):
        raise errors.UserError(
            "--auto-lr has nothing to find: each group of config.optim.groups has a "
            f"learning rate of its own ({', '.join(kept)})."
        )
    for name, group in groups.items():
        if name in kept:
            group.setdefault("schedule", optim.get("schedule") or {})
        else:
            group.pop("schedule", None)
    rise = dict(name="exponential", unit="step", length=float(STEPS), start=LOW / HIGH)
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.optim = ml_collections.ConfigDict(
            optim | {"lr": HIGH, "schedule": rise}
        )
    return changed


def measure(
    run: run_lib.Run, *, say: Callable[[str], None] = lambda text: None
) -> list[Point]:
    """Takes the first steps of a run with rising rates; nothing of them remains.

    Args:
      run: The run; state, batches and keys are those that its training begins with.
      say: Told how far it is.
    """
    run = run.changed(ramp(run.config))
    program = program_lib.Program(run)
    state = program.initial_state()
    if run.constant_shapes:
        say("computing frozen features of all records")
        run.keep_constants(program.fetch(state.eval_variables))
    with feed_lib.make(program, 0) as feed:
        return follow(_losses(program, feed, state, say))


def _losses(
    program: program_lib.Program,
    feed: Any,
    state: state_lib.TrainState,
    say: Callable[[str], None],
) -> Iterator[float]:
    """The loss of each step, of several seeds their mean."""
    seeds = len(program.run.seeds)
    for i, lr in enumerate(rates()):
        state, metrics, _ = feed.advance(state, 1)
        values = np.reshape(jax.device_get(metrics["loss"]), (-1, seeds))
        loss = float(np.mean(values[0]))
        if i % _SAY_EVERY == 0:
            say(f"step {i + 1} of {STEPS}: learning rate {lr:.2g}, loss {loss:.4g}")
        yield loss
