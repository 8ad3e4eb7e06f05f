"""The range test: its formulas, where it ends, and what it may not change."""

import math
import pathlib

import jax
import ml_collections
import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.cost import lr_range
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

CONFIG = str(pathlib.Path(__file__).parents[1] / "toy" / "config.py")


def load(*overrides: str, groups: dict | None = None) -> ml_collections.ConfigDict:
    config = config_lib.load(CONFIG, overrides)
    with config.unlocked():
        config.optim.groups = ml_collections.ConfigDict(groups or {})
    return config


def schedules_of(config) -> dict:
    program = program_lib.Program(run_lib.Run(config), devices=jax.devices()[:1])
    return program.optimizers["main"].schedules


def made_up(*, last: float) -> np.ndarray:
    """Noisy losses that fall in the middle and end at `last` times their start."""
    noise = np.random.default_rng(0).normal(size=100)
    losses = 10 - 6 / (1 + np.exp((50 - np.arange(100)) / 5)) + 0.1 * noise
    losses[85:] = np.geomspace(losses[85], 10 * last, 15)
    return losses


def test_smoothed_losses_and_suggestion_equal_a_plain_loop():
    losses = made_up(last=1e4)
    rates, smoothed, mean = [], [], 0.0
    for i, loss in enumerate(losses):
        rates.append(1e-5 if i == 0 else 1e-5 * (1e-1 / 1e-5) ** ((i + 1) / 100))
        mean = 0.98 * mean + 0.02 * loss
        smoothed.append(mean / (1 - 0.98 ** (i + 1)))
        if i > 0 and smoothed[-1] > 4 * min(smoothed):
            break
    points = lr_range.follow(losses)
    assert 85 < len(points) == len(smoothed) < 100
    np.testing.assert_allclose([p.lr for p in points], rates, rtol=1e-12)
    np.testing.assert_allclose([p.smoothed for p in points], smoothed, rtol=1e-12)
    s = smoothed[10:-1]
    slopes = [(s[min(i + 1, len(s) - 1)] - s[max(i - 1, 0)]) for i in range(len(s))]
    slopes = [d / (2 if 0 < i < len(s) - 1 else 1) for i, d in enumerate(slopes)]
    expected = rates[10 + slopes.index(min(slopes))]
    assert 1e-4 < expected < 1e-1
    assert lr_range.suggest(points) == pytest.approx(expected, rel=1e-12)
    assert not lr_range.doubt(points)


def test_no_more_losses_are_asked_for_than_are_needed():
    def losses():
        yield from [1.0, 1.0, 500.0]
        raise AssertionError

    assert [point.loss for point in lr_range.follow(losses())] == [1.0, 1.0, 500.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_test_and_is_no_point(bad):
    losses = made_up(last=1.0)
    losses[40] = bad
    assert len(lr_range.follow(losses)) == 40


def test_negative_losses_do_not_end_the_test():
    losses = made_up(last=1.0) - 20
    points = lr_range.follow(losses)
    assert len(points) == 100
    assert 1e-4 < lr_range.suggest(points) < 1e-1


@pytest.mark.parametrize(
    ("losses", "message"),
    [(12 * [1.0] + [math.nan], "after 12 steps"), (range(10, 30), "falls at no rate")],
)
def test_what_suggests_nothing_is_told(losses, message):
    with pytest.raises(errors.UserError, match=message):
        lr_range.suggest(lr_range.follow(losses))
    assert len(lr_range.follow(13 * [1.0])) == 13
    falling = lr_range.follow(np.arange(13.0, 0, -1))
    assert lr_range.suggest(falling) in [point.lr for point in falling[10:12]]


def test_a_fall_from_a_peak_is_doubted():
    losses = made_up(last=1.0)
    losses[75:85], losses[85:] = 40.0, 1.0
    points = lr_range.follow(losses)
    assert lr_range.suggest(points) > lr_range.rates()[80]
    found = lr_range.doubt(points)
    assert "falls from a peak" in found and "fell fastest at 0.00" in found


def test_the_optimiser_takes_the_rates_and_groups_keep_their_own():
    kept = dict(match="right", lr=3e-3, schedule=dict(name="linear", end=0.5))
    plain = dict(match="norm", lr=2e-3)
    groups = dict(kept=kept, plain=plain, rest=dict(schedule=dict(name="linear")))
    config = load("optim.schedule.name=cosine", "epochs=9", groups=groups)
    before, during = schedules_of(config), schedules_of(lr_range.ramp(config))
    assert lr_range.kept_groups(config) == ["kept", "plain"]
    rates = [during["rest"](step) for step in range(lr_range.STEPS)]
    # Seven digits of float32, and a power of a thousandth of one.
    np.testing.assert_allclose(rates, lr_range.rates(), rtol=1e-5)
    for step in (0, 3, 20):
        for name in ("kept", "plain"):
            assert during[name](step) == before[name](step) > 0
    assert config.optim.schedule.name == "cosine"


def test_a_test_of_no_group_is_refused():
    with pytest.raises(errors.UserError, match=r"a learning rate of its own \(all\)"):
        lr_range.ramp(load(groups=dict(all=dict(lr=1e-3))))


@pytest.mark.parametrize(
    "settings", [("seeds=2",), ("data.device_resident=True", "log_every_steps=3")]
)
def test_steps_train_from_the_beginning_of_the_run(monkeypatch, settings):
    """On two devices, streamed and resident, the losses are those of one by hand."""
    monkeypatch.setattr(lr_range, "STEPS", 3)
    devices = jax.devices()
    monkeypatch.setattr("jax.devices", lambda *args: devices[:2])
    found = lr_range.measure(run_lib.Run(load(*settings)))
    seeds = [0, 1] if "seeds=2" in settings else [0]
    losses = []
    for seed in seeds:
        monkeypatch.setattr("jax.devices", lambda *args: devices[:1])
        config = lr_range.ramp(load(f"seed={seed}"))
        losses.append([p.loss for p in lr_range.measure(run_lib.Run(config))])
    # Sums over a batch in another order.
    np.testing.assert_allclose(
        [point.loss for point in found], np.mean(losses, axis=0), rtol=1e-5
    )
    assert losses[0][1] != losses[0][2]
