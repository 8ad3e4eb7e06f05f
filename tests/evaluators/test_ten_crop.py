"""Ten crops are those of a plain loop, each seen where it lies."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.evaluators import ten_crop
from mvjax.evaluators.common import measured
from mvjax.evaluators.common import offer as offer_lib
from tests.evaluators import dense


def weights(shape):
    """Of each pixel and channel for each class, so that no two crops look alike."""
    return np.random.default_rng(5).normal(size=(*shape, dense.CLASSES))


def plain(images, size):
    """Logits `[B, 10, K]`; torchvision's order and roundings, written out."""
    height, width = images.shape[1:3]
    down, right = height - size, width - size
    centre = (int(round(down / 2.0)), int(round(right / 2.0)))
    found = []
    for image in (images, np.flip(images, axis=2)):
        for y, x in ((0, 0), (0, right), (down, 0), (down, right), centre):
            crop = image[:, y : y + size, x : x + size]
            found.append(np.einsum("bhwc,hwck->bk", crop, weights(crop.shape[1:])))
    return np.stack(found, axis=1)


def predict(variables, batch):
    """The method fails where a crop comes with what was computed of the whole image."""
    assert "constant" not in batch
    x = batch["views"]["image"]
    logits = (x[..., None] * weights(x.shape[1:]).astype(np.float32)).sum((1, 2, 3))
    return {"logits": logits * variables["scale"]}


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_crops_are_those_of_a_plain_loop(size):
    images = dense.Source(7).image  # 6 x 5 pixels: odd and even rests.
    calls = []

    def model(part):
        calls.append(part)
        return predict({"scale": np.float32(1)}, part)

    batch = {"views": {"image": images, "other": images[:, :1]}, "constant": 0}
    found = ten_crop.Evaluator(size=size).predict(model, batch)["logits"]
    np.testing.assert_allclose(found, plain(images, size), rtol=1e-4, atol=1e-5)
    assert all(part["views"]["other"].shape[1] == 1 for part in calls)
    # There left and right are one, and half a pixel is rounded to the top.
    assert len(calls) == (4 if size == 5 else 10)


def test_images_as_large_as_the_crop_are_seen_twice():
    images = dense.Source(3).image[:, :5]
    calls = []

    def model(part):
        calls.append(part)
        return predict({"scale": np.float32(1)}, part)

    found = ten_crop.Evaluator(size=5).predict(model, {"views": {"image": images}})
    assert len(calls) == 2
    np.testing.assert_allclose(found["logits"], plain(images, 5), rtol=1e-4, atol=1e-5)


def test_scores_are_of_the_mean_of_the_logits():
    features, source = dense.make(model=predict), dense.Source(37)
    evaluator = ten_crop.Evaluator(size=4, ks=(1, 2), per_class=True)
    found = measured.run(evaluator, features)  # In batches of 16, the last one padded.
    order = np.argsort(-plain(source.image, 4).mean(axis=1), axis=1, kind="stable")
    for k in (1, 2):
        hits = (order[:, :k] == source.label[:, None]).any(axis=1)
        assert found[f"top{k}"] == np.mean(hits)
    assert set(evaluator.check(offer())) == set(found) | set(features.left_out)


def offer():
    views = {"image": batch_lib.ViewSpec((6, 5, 3), "float32", -9, 9)}
    views |= {"text": batch_lib.ViewSpec((9,), "int32", 0, 9)}
    spec = batch_lib.Spec(views, dense.CLASSES)
    return offer_lib.Offer(spec, ("test",), {"logits": (dense.CLASSES,)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"view": "photo"}, "view 'photo'.*image"),
        ({"view": "text"}, r"'text' has shape \(9,\); no crop of 5"),
        ({"size": 6}, r"'image' has shape \(6, 5, 3\); no crop of 6 pixels"),
        ({"ks": (1, 5)}, "no top 5 of 4 classes"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(fields, message):
    evaluator = ten_crop.Evaluator(**({"ks": (1,), "size": 5} | fields))
    with pytest.raises(errors.UserError, match=message):
        evaluator.check(offer())
