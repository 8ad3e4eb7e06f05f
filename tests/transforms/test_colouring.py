"""The transform makes what the methods made, and leaves ready views alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import colours
from mvjax.methods import sdim
from mvjax.ops import colouring as ops
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
