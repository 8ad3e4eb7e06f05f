"""Integrated gradients: exact where the output is linear, complete where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import attribution
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import predictor as predictor_lib
from mvjax.report import of

WEIGHTS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


class Source:
    """Images of two views, the first of bytes; the second has named channels."""

    def __init__(self, size=10):
        rng = np.random.default_rng(1)
        self.a = rng.integers(0, 256, (size, 6, 6, 3)).astype(np.uint8)
        self.b = rng.normal(size=(size, 6, 6, 2)).astype(np.float32)
        views = {
            "a": batch_lib.ViewSpec((6, 6, 3), "uint8", 0, 255),
            "b": batch_lib.ViewSpec((6, 6, 2), "float32", -9, 9),
        }
        self.spec = batch_lib.Spec(views, None, channel_names={"b": ("VV", "VH")})

    def __len__(self):
        return len(self.a)

    def __getitem__(self, i):
        views = {"a": self.a[i], "b": self.b[i]}
        return {"views": views, "label": np.int32(-1), "index": np.int32(i)}


def predict(weights, batch):
    """Numbers that are linear in the pixels, or not."""
    a = batch["views"]["a"]
    a = a / 255 if a.dtype == jnp.uint8 else a
    both = a, batch["views"]["b"]
    linear, squares = (
        jnp.concatenate([(x**power).mean(axis=(1, 2)) for x in both], axis=1) @ weights
        for power in (1, 2)
    )
    return {"bent": jnp.tanh(3 * linear) + squares, "logits": linear}


@pytest.fixture(scope="module")
def predictor():
    place = jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",)),
        jax.sharding.PartitionSpec(),
    )
    programs = predictor_lib.Programs(predict)
    return predictor_lib.Predictor(programs, WEIGHTS, rows=place, whole=place)


@pytest.fixture
def features(make_features, predictor):
    return make_features({"test": Source()}, predictor)


def test_of_a_linear_output_it_is_the_product_with_the_weights(features):
    evaluator = attribution.Evaluator(steps=2)
    batch, _ = next(features.batches("test", ()))
    added, change = evaluator.attribute(features, batch)
    source = Source()
    means = np.concatenate([source.a.mean((1, 2)) / 255, source.b.mean((1, 2))], axis=1)
    top = (means @ WEIGHTS).argmax(1)
    expected = means * WEIGHTS[:, top].T
    found = np.concatenate([added[v].sum(axis=(1, 2)) for v in "ab"], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(change, expected.sum(1), atol=1e-5)
    scores = evaluator.run(features)
    shares = np.abs(expected) / np.abs(expected).sum(1, keepdims=True)
    names = [*(f"a/{i}" for i in range(3)), "b/VV", "b/VH"]
    assert list(scores) == [*(f"{n}/importance" for n in names), "completeness_error"]
    np.testing.assert_allclose(list(scores.values())[:-1], shares.mean(0), atol=1e-5)
    assert scores["completeness_error"] < 1e-5


@pytest.mark.parametrize(
    "fields", [dict(of="top"), dict(of="self", baseline="mean"), dict(of="self")]
)
def test_more_steps_add_up_to_what_the_output_has_grown_by(features, fields):
    fields = dict(output="bent") | fields
    few, many = (
        attribution.Evaluator(steps=n, **fields).run(features)["completeness_error"]
        for n in (1, 32)
    )
    # From the mean on, what changes is a square, of which one step is enough.
    assert many < 2e-3 and many < max(few / 10, 1e-6)


def test_from_the_mean_a_flat_view_adds_nothing(features):
    batch, _ = next(features.batches("test", ()))
    flat = dict(batch["views"], b=np.ones_like(batch["views"]["b"]))
    evaluator = attribution.Evaluator(output="bent", baseline="mean", steps=2)
    added, _ = evaluator.attribute(features, batch | {"views": flat})
    assert not added["b"].any() and added["a"].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [(dict(output="nothing"), "nothing"), (dict(split="valid"), "valid")],
)
def test_what_is_not_there_is_refused(fields, message):
    offer = offer_lib.Offer(Source().spec, ("test",), {"logits": (4,)})
    assert "b/VH/importance" in attribution.Evaluator().check(offer)
    with pytest.raises(errors.UserError, match=message):
        attribution.Evaluator(**fields).check(offer)


def test_views_that_are_numbers_of_tokens_are_refused():
    view = batch_lib.ViewSpec((7,), "int32", 0, 100)
    offer = offer_lib.Offer(
        batch_lib.Spec({"text": view}, 2), ("test",), {"logits": (2,)}
    )
    with pytest.raises(errors.UserError, match="gradients are of images"):
        attribution.Evaluator().check(offer)


def test_the_page_shows_images_above_their_maps(features):
    evaluator = attribution.Evaluator(steps=2)
    drawn = of.find("attribution").pictures("it", evaluator, {}, features, None)
    (figure,) = drawn.values()
    shown = [axes.images[0].get_array().shape for axes in figure.axes]
    assert shown == ([(6, 6, 3)] * 8 + [(6, 6)] * 8) * 2
