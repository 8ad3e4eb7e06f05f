"""The transform colours digits, and leaves ready views alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import colours
from mvjax.ops import colouring as ops
from mvjax.transforms import colouring

SPEC = colours.spec(28, "same_instance")
GREY = SPEC.views["digit"]


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


def test_training_redraws_for_each_epoch_what_evaluation_keeps():
    batch = make_batch() | {"epoch": jnp.int32(2)}
    key = jax.random.key(0)
    found = colouring.Transform(seed=3)(batch, key)
    drawn = ops.draw(3, batch["epoch"], batch["index"])
    # The factors are those that the views show.
    for name, colours_ in zip(("color_bg", "color_fg"), drawn, strict=True):
        np.testing.assert_array_equal(found["factors"][name], colours_)
    wanted = ops.colour_foreground(batch["views"]["digit"], drawn[1])
    np.testing.assert_array_equal(found["views"]["y"], wanted)
    assert np.any(found["factors"]["color_bg"] != 4)
    for kept in (
        colouring.Transform(redraw=False)(batch, key),
        colouring.Transform()(batch, None),
    ):
        np.testing.assert_array_equal(kept["factors"]["color_bg"], 4)
    again = colouring.Transform(seed=3)(found, key)
    assert again is found


def test_a_batch_without_colours_is_refused():
    batch = make_batch()
    del batch["factors"]
    with pytest.raises(errors.UserError, match="need the factors color_bg"):
        colouring.Transform()(batch, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(views={"photo": SPEC.views["digit"]}), "view 'digit'; .*'photo'"),
        (dict(factors={"digit": 10}), "color_bg"),
        (dict(views={"digit": GREY._replace(dtype="float32", high=1.0)}), "are uint8"),
        (dict(views={"digit": GREY._replace(shape=(1, 28, 28))}), "channels first"),
    ],
)
def test_other_data_are_refused(change, words):
    with pytest.raises(errors.UserError, match=words):
        colouring.Transform().spec(SPEC._replace(**change))
    with pytest.raises(errors.UserError, match="makes two views, not 3"):
        colouring.Transform(views=("a", "b", "c")).spec(SPEC)
