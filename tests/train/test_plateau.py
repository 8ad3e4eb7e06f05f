"""Early stopping and the lowering of the learning rate on a plateau."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import state as state_lib
from mvjax.train import optim
from tests import golden_data


def observe(made, values):
    scales, stops = [], []
    for value in values:
        made.observe({"scores": {"valid/mae": value}})
        scales.append(made.scale)
        stops.append(made.stopped)
    return scales, stops


def test_stops_after_so_many_evaluations_without_improvement():
    made = optim.Plateau.make(dict(metric="scores/valid/mae", stop_after=2))
    _, stops = observe(made, [1.0, 0.9, 0.95, 0.8, 0.81, 0.79999])
    assert stops == [False, False, False, False, False, True]


def test_greatest_is_best_where_the_config_says_so():
    made = optim.Plateau.make(dict(metric="scores/valid/mae", mode="max", stop_after=1))
    assert observe(made, [0.5, 0.6, 0.6])[1] == [False, False, True]


def test_a_resumed_control_goes_on_where_it_was():
    settings = dict(metric="scores/valid/mae", stop_after=5, lower_after=1)
    values = [1.0, 1.1, 1.2, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0]
    whole = optim.Plateau.make(settings)
    expected = observe(whole, values)
    first = optim.Plateau.make(settings)
    start = observe(first, values[:4])
    second = optim.Plateau.make(settings, json.loads(json.dumps(first.seen)))
    rest = observe(second, values[4:])
    assert (start[0] + rest[0], start[1] + rest[1]) == expected
    assert expected[1][-1] and expected[0][-1] < 1


def test_other_evaluations_count_nothing_and_a_missing_metric_is_no_improvement():
    made = optim.Plateau.make(dict(metric="scores/valid/mae", stop_after=1))
    made.observe({"subsets": {"text/mae": 3.0}})
    assert made.seen == optim.Plateau.make({}).seen
    # The evaluator ran and left the metric out, which is no improvement.
    made.observe({"scores": {"valid/corr": 0.3}})
    assert made.waiting_to_stop == 1 and np.isnan(made.best)


def test_the_scale_reaches_the_state():
    made = optim.Plateau.make({})
    made.scale = 0.25
    state = state_lib.TrainState(0, {}, {}, {}, {}, jnp.ones(()))
    assert made.apply(state).lr_scale == np.float32(0.25)


@pytest.mark.parametrize("file", golden_data.files("rerd"), ids=lambda f: f.stem)
def test_plateau_agrees_with_the_recordings(file):
    case = golden_data.load(file)
    if case.meta["kind"] != "schedules":
        return
    made = optim.Plateau.make(
        dict(metric="scores/valid/mae", lower_after=case.config["patience"])
    )
    scales = [1.0, *observe(made, case.inputs["val_loss"].tolist())[0]]
    rates = case.config["lr"] * np.asarray(scales)
    np.testing.assert_allclose(rates, case.outputs["plateau"], rtol=1e-6)
