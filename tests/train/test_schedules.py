"""Schedules have the published shapes; unknown names list the choices."""

import math

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.train import schedules


def rates(config, epochs, base=1.0, steps_per_epoch=1, steps=None):
    schedule = schedules.make(
        config, base, steps_per_epoch=steps_per_epoch, total=epochs
    )
    return np.array([schedule(s) for s in range(steps or epochs * steps_per_epoch)])


def test_constant_is_constant():
    np.testing.assert_allclose(rates({"name": "constant"}, 5, base=0.3), 0.3)


def test_linear_falls_to_its_end():
    found = rates({"name": "linear", "end": 0.1}, 4, base=2.0, steps=5)
    np.testing.assert_allclose(found, [2.0, 1.55, 1.1, 0.65, 0.2], rtol=1e-6)


def test_cosine_falls_once_and_stays():
    found = rates({"name": "cosine", "end": 0.2}, 4, steps=7)
    np.testing.assert_allclose(found[[0, 2, 4, 6]], [1, 0.6, 0.2, 0.2], rtol=1e-6)


def test_warm_up_meets_the_cosine_at_the_base_rate():
    found = rates({"name": "warmup_cosine", "warmup": 2}, 6, steps=7)
    np.testing.assert_allclose(found[:3], [0, 0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(found[[4, 6]], [0.5, 0], atol=1e-6)


def test_multistep_falls_at_its_milestones():
    found = rates({"name": "multistep", "milestones": (1, 3), "factor": 0.5}, 5)
    np.testing.assert_allclose(found, [1, 0.5, 0.5, 0.25, 0.25])


def test_periodic_cosine_rises_again():
    epochs, end = 40, 1e-3
    found = rates({"name": "cosine_periodic", "periods": 10, "end": end}, epochs)
    half = epochs // 10
    wave = [(1 + math.cos(math.pi * e / half)) / 2 for e in range(epochs)]
    np.testing.assert_allclose(found, end + (1 - end) * np.array(wave), rtol=1e-4)
    np.testing.assert_allclose(found[:: 2 * half], 1, rtol=1e-6)


def test_periodic_cosine_of_a_short_run_does_not_divide_by_zero():
    assert np.all(np.isfinite(rates({"name": "cosine_periodic"}, 3)))


def test_unit_decides_where_the_rate_changes():
    by_epoch = rates({"name": "linear", "end": 0.0}, 2, steps_per_epoch=2)
    np.testing.assert_allclose(by_epoch, [1, 1, 0.5, 0.5])
    by_step = rates(
        {"name": "linear", "end": 0.0, "unit": "step"}, 2, steps_per_epoch=2
    )
    np.testing.assert_allclose(by_step, [1, 0.75, 0.5, 0.25])


def test_length_may_differ_from_the_run():
    found = rates({"name": "linear", "end": 0.0, "length": 8}, 2)
    np.testing.assert_allclose(found, [1, 0.875])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"name": "consine"},
            "'cosine'.*constant, cosine, cosine_cycles, cosine_periodic",
        ),
        ({"name": "linear", "ends": 0.1}, "'end'.*length"),
        ({"name": "linear", "unit": "steps"}, "'step'.*epoch, fraction, step"),
    ],
)
def test_unknown_names_list_the_choices(config, message):
    with pytest.raises(errors.UserError, match=message):
        rates(config, 2)


def test_a_fraction_of_an_epoch_moves_at_each_step():
    settings = {
        "name": "warmup_cosine",
        "unit": "fraction",
        "warmup": 1.0,
        "start": 0.5,
    }
    found = rates(settings, 3, steps_per_epoch=4)
    np.testing.assert_allclose(found[:5], [0.5, 0.625, 0.75, 0.875, 1.0], rtol=1e-6)
    by_step = rates({"name": "cosine", "unit": "step"}, 2, steps_per_epoch=4)
    np.testing.assert_allclose(found[4:], by_step, rtol=1e-5, atol=1e-7)


def test_the_rate_is_held_before_it_falls():
    settings = {"name": "warmup_cosine", "warmup": 2.0, "start": 1.0}
    found = rates(settings, 4, steps=5)
    np.testing.assert_allclose(found, [1, 1, 1, 0.5, 0], atol=1e-6)
