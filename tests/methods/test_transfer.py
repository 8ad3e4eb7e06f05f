"""What a task is learnt by: a backbone, frozen or not, and a head."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mvjax.convert import torch_map
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import state as state_lib
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.losses import pixels
from mvjax.methods import classify
from mvjax.methods import segment
from mvjax.models import resnet_cifar
from mvjax.models.decoders import fcn
from mvjax.train import run as run_lib
from mvjax.train import step as step_lib

KEY = jax.random.key(0)
SMALL = resnet_cifar.Backbone(blocks=1, widths=(3, 4, 5, 6))
ROWS, SIZE, CLASSES = 6, 8, 3


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (ROWS, SIZE, SIZE, 2), np.uint8)
    mask = rng.integers(0, CLASSES, (ROWS, SIZE, SIZE))
    mask[:, :2] = 255
    return {
        "views": {"image": image},
        "label": np.array([0, 1, 2, -1, 1, 0], np.int32),
        "targets": {
            "tags": rng.integers(0, 2, (ROWS, CLASSES)).astype(np.float32),
            "mask": mask.astype(np.uint8),
        },
    }


@functools.cache
def make(kind=classify, **fields):
    return kind.Method(backbone=SMALL, classes=CLASSES, **fields)


@functools.cache
def variables(kind=classify):
    shape = {"views": {"image": np.zeros((2, SIZE, SIZE, 2), np.uint8)}}
    fresh = tree.flatten(jax.device_get(make(kind).init(KEY, shape)))
    rng = np.random.default_rng(1)
    for path, leaf in fresh.items():
        # Statistics that are not those of the batch, and scores that are not small.
        if path.endswith(("mean", "var")) or "scores" in path:
            size = 0.1 if path.startswith("batch_stats/") else 1.0
            noise = size * np.abs(rng.normal(size=leaf.shape))
            fresh[path] = leaf + noise.astype("float32")
    return tree.unflatten(fresh)


@functools.cache
def results(method, kind=classify):
    """Loss, `Aux` and prediction, compiled together."""

    @jax.jit
    def both(variables, batch):
        return method.loss(variables, batch, KEY), method.predict(variables, batch)

    return lambda batch: jax.device_get(both(variables(kind), batch))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_a_frozen_backbone_computes_as_in_evaluation(batch):
    method = make(frozen=("back*",), label_smoothing=0.2)
    (loss, aux), found = results(method)(batch)
    known = batch["label"] >= 0
    log_q = log_softmax(np.float64(found["logits"][known]))
    picked = log_q[np.arange(known.sum()), batch["label"][known]]
    expected = -(0.8 * picked + 0.2 * log_q.mean(1)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert aux.model_state == {}
    right = found["logits"][known].argmax(1) == batch["label"][known]
    np.testing.assert_allclose(aux.metrics["accuracy"], right.mean())
    assert found["features/image"].shape == (ROWS, SMALL.width)


def test_a_trained_backbone_normalises_by_the_batch(batch):
    (loss, aux), found = results(make())(batch)
    frozen = results(make(frozen=("backbone",)))(batch)[0][0]
    assert abs(loss - frozen) > 1e-3
    assert aux.model_state["batch_stats"]["backbone"]["bn1"]["count"] == 1


def stepped(batch, **fields):
    """Variables after a step of gradient descent with a frozen backbone."""
    method = make(frozen=("backbone",), **fields)
    start = jax.tree.map(jnp.asarray, variables())
    params = start.pop("params")
    step = step_lib.make_step(
        method, {"main": optax.sgd(0.1)}, steps_per_epoch=1, freeze=("backbone",)
    )
    state = state_lib.TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=start,
        opt_state={"main": optax.sgd(0.1).init({"head": params["head"]})},
        ema={},
        lr_scale=jnp.ones(()),
    )
    new, metrics = jax.jit(step)(state, batch, KEY)
    moved = {"params": new.params, **new.model_state}
    old = tree.flatten(variables())
    changed = {
        path
        for path, leaf in tree.flatten(jax.device_get(moved)).items()
        if not np.array_equal(leaf, old[path])
    }
    return changed, float(metrics["loss"])


def test_frozen_norms_evaluate_or_take_the_batch_or_drift(batch):
    head = {"params/head/scores/kernel", "params/head/scores/bias"}
    still, loss = stepped(batch)
    by_batch, other = stepped(batch, frozen_norm="batch")
    drifting, third = stepped(batch, frozen_norm="drift")
    assert still == by_batch == head
    assert loss != pytest.approx(other, rel=1e-4) and other == pytest.approx(third)
    assert drifting - head == {
        path for path in tree.flatten(variables()) if path.startswith("batch_stats/")
    }


def test_tags_are_judged_one_by_one(batch):
    method = make(objective="bce", target="tags", frozen=("backbone",))
    (loss, _), found = results(method)(batch)
    p = 1 / (1 + np.exp(-np.float64(found["logits"])))
    tags = batch["targets"]["tags"]
    expected = -(tags * np.log(p) + (1 - tags) * np.log(1 - p)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_every_known_pixel_counts_alike(batch):
    method = make(segment, frozen=("backbone",))
    assert set(variables(segment)["params"]["head"]) == {f"scores{i}" for i in range(3)}
    (loss, aux), found = results(method, segment)(batch)
    logits = np.float64(found["logits"])
    assert logits.shape == (ROWS, SIZE, SIZE, CLASSES)
    mask = batch["targets"]["mask"]
    log_q = log_softmax(logits[mask != 255])
    truth = mask[mask != 255]
    expected = -log_q[np.arange(len(truth)), truth].mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    right = (log_q.argmax(1) == truth).mean()
    np.testing.assert_allclose(aux.metrics["pixel_accuracy"], right, rtol=1e-6)


def test_a_loss_chosen_by_name_is_that_of_both_heads(batch):
    ohem = pixels.Objective("ohem", threshold=0.1, min_kept=30)
    method = make(segment, frozen=("*",), auxiliary=fcn.Decoder(), objective=ohem)
    held = variables(segment)
    params = held["params"] | {"auxiliary": held["params"]["head"]}
    loss, aux = jax.jit(method.loss)(held | {"params": params}, batch, KEY)
    plain = make(segment, frozen=("backbone",))
    (mean, _), found = results(plain, segment)(batch)
    logits = found["logits"]
    mask = batch["targets"]["mask"].astype(int)
    expected = ohem(
        logits.reshape(-1, CLASSES), np.where(mask == 255, -1, mask).reshape(-1)
    )
    for name in ("ohem", "auxiliary"):
        np.testing.assert_allclose(aux.metrics[name], expected, rtol=1e-5)
    np.testing.assert_allclose(loss, 1.4 * expected, rtol=1e-5)
    assert expected > 1.5 * mean  # The hardest pixels.


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_weights_go_out_and_back(hidden):
    method = make(hidden=hidden)
    shape = {"views": {"image": np.zeros((2, SIZE, SIZE, 3), np.uint8)}}
    fresh = jax.device_get(method.init(KEY, shape))
    whole, *towers = method.torch_tables().values()
    tensors = torch_map.to_torch(whole, fresh)
    last = "classifier:2.weight" if hidden else "classifier:weight"
    assert {"encoder:conv1.weight", last} <= set(tensors)
    back, _ = torch_map.to_flax(whole, tensors, template=fresh)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, fresh, back)))
    alone = towers[0]
    assert {leaf.path.split("/")[1] for leaf in alone} == {"backbone"}


SPEC = batch_lib.Spec(
    {"image": batch_lib.ViewSpec((SIZE, SIZE, 3), "uint8", 0, 255)}, CLASSES
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(view="imag"), "config.method.view 'imag'.*mean 'image'"),
        (dict(mean=(0.5,)), "mean has 1 entries; view 'image' has 3 channels"),
        (dict(target="digit"), "config.method.target 'digit'"),
        (dict(objective="bce"), "config.method.target ''"),
    ],
)
def test_what_does_not_fit_the_data_is_named(fields, message):
    with pytest.raises(errors.UserError, match=message):
        make(**fields).check(SPEC)


def test_classes_are_those_of_the_data():
    with pytest.raises(errors.UserError, match="classes is 3; the data set has 4"):
        make().check(SPEC._replace(classes=4))
    with pytest.raises(errors.UserError, match="no labels"):
        make().check(SPEC._replace(classes=None))
    with pytest.raises(errors.UserError, match="config.method.target 'mask'"):
        make(segment).check(SPEC)
    truth = batch_lib.TargetSpec((SIZE, SIZE), "uint8", 0, CLASSES - 1, ignore=255)
    make(segment).check(SPEC._replace(targets={"mask": truth}))
    deep = fcn.Decoder(levels=9)
    with pytest.raises(errors.UserError, match="levels=9; the backbone has [34] maps"):
        make(segment, head=deep).check(SPEC._replace(targets={"mask": truth}))
    for other, message in (
        (truth._replace(high=5), "holds classes up to 5 .*classes is 3"),
        (truth._replace(ignore=254), "254 for unknown.*ignore 255"),
        (truth._replace(shape=(SIZE,)), "not a class for each"),
    ):
        with pytest.raises(errors.UserError, match=message):
            make(segment).check(SPEC._replace(targets={"mask": other}))
    tags = batch_lib.TargetSpec((CLASSES,), "float32", 0, 1)
    labelled = SPEC._replace(targets={"tags": tags})
    make(objective="bce", target="tags").check(labelled)
    threes = labelled.targets["tags"]._replace(high=3.0)
    with pytest.raises(errors.UserError, match="tags are 0 or 1; the data hold"):
        make(objective="bce", target="tags").check(
            labelled._replace(targets={"tags": threes})
        )
    with pytest.raises(errors.UserError, match="shape .3,. there.*want one class"):
        make(target="tags").check(labelled)


def test_the_run_tells_the_method_what_is_frozen(monkeypatch):
    config = config_lib.load("configs/transfer/classify.py:debug,probe")
    run = run_lib.Run(config, data_needed=False)
    assert run.method.frozen == ("backbone",)
    assert "frozen" not in config.method
    with pytest.raises(errors.UserError, match="key of config.method 'frozen'"):
        config_lib.load("configs/transfer/classify.py:debug", ["method.frozen=(1,)"])
    # What no update trains is as frozen as what the config freezes.
    updates = (make().updates[0]._replace(trains=("head",)),)
    monkeypatch.setattr(classify.Method, "updates", updates)
    thawed = config_lib.load("configs/transfer/classify.py:debug")
    assert run_lib.Run(thawed, data_needed=False).method.frozen == ("backbone",)


def test_methods_stay_hashable():
    assert hash(make()) == hash(dataclasses.replace(make()))
