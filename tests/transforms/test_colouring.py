"""The transform makes what the methods made, and leaves ready views alone."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import colours
from mvjax.methods import sdim
from mvjax.ops import colouring as ops
from mvjax.train import feed as feed_lib
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import scoring as scoring_lib
from mvjax.transforms import colouring

SPEC = colours.spec(28, "same_instance")


def make_batch(size=6):
    batch = batch_lib.example(SPEC, size)
    rng = np.random.default_rng(0)
    batch["views"]["digit"] = rng.integers(0, 256, (size, 28, 28, 1), np.uint8)
    batch["factors"]["color_bg"][:] = 4
    return batch


def test_what_leaves_it_is_what_it_promises():
    transform = colouring.Transform()
    promised, found = transform.spec(SPEC), transform(make_batch(), None)
    assert set(found["views"]) == set(promised.views) == {"x", "y"}
    for name, view in promised.views.items():
        assert batch_lib.view_problem(np.asarray(found["views"][name][0]), view) is None
    assert promised.factors == SPEC.factors
    wanted = ops.colour_background(make_batch()["views"]["digit"], jnp.full(6, 4))
    np.testing.assert_array_equal(found["views"]["x"], wanted)
    assert transform.spec(promised) == promised


def test_training_redraws_for_each_epoch_as_the_methods_do():
    batch = make_batch() | {"epoch": jnp.int32(2)}
    key = jax.random.key(0)
    found = colouring.Transform(seed=3)(batch, key)
    method = sdim.Method(color_seed=3, colours="mnist")
    np.testing.assert_array_equal(found["views"]["y"], method.inputs(batch)["y"])
    for name in ("color_bg", "color_fg", "digit"):
        mine = found["factors"][name]
        np.testing.assert_array_equal(mine, method.factors(batch)[name])
    assert np.any(found["factors"]["color_bg"] != 4)
    kept = colouring.Transform(redraw=False)(batch, key)["factors"]["color_bg"]
    np.testing.assert_array_equal(kept, 4)
    again = colouring.Transform(seed=3)(found, key)
    assert again is found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(views={"photo": SPEC.views["digit"]}), "view 'digit'; .*'photo'"),
        (dict(factors={"digit": 10}), "color_bg"),
    ],
)
def test_other_data_are_refused(change, words):
    with pytest.raises(errors.UserError, match=words):
        colouring.Transform().spec(SPEC._replace(**change))
    with pytest.raises(errors.UserError, match="makes two views, not 3"):
        colouring.Transform(views=("a", "b", "c")).spec(SPEC)


@pytest.mark.slow
def test_a_run_with_it_trains_as_one_whose_method_paints():
    path = str(pathlib.Path(__file__).parents[2] / "configs/dim/sdim.py")
    moved = ("method.colours=none", "data.device_policy.name=colouring")
    found = []
    for overrides in ((), moved):
        config = config_lib.load(f"{path}:dataset=digits,debug", overrides)
        program = program_lib.Program(run_lib.Run(config), devices=jax.devices()[:1])
        state = program.initial_state()
        with feed_lib.make(program, 0) as feed:
            for _ in range(2):
                state, metrics, _ = feed.advance(state, 1)
        scoring = scoring_lib.Scoring(program)
        codes = scoring.features(state.eval_variables).get("test", "shared/x")
        found.append(({k: float(v) for k, v in metrics.items()}, codes))
    # The same numbers but for the order in which the compiler rounds them.
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)
