"""MV-MR trains its encoder and its probe, and nothing reaches where it should not."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import rng as rng_lib
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.data import pipeline
from mvjax.methods import mvmr
from mvjax.methods import mvmr_clip
from mvjax.models import resnet_cifar
from mvjax.models import vit
from mvjax.ops import batch_augment
from mvjax.ops import representations
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = dict(
    backbone=resnet_cifar.Backbone(1, (4, 4, 8, 8)),
    widths=(16, 12),
    classes=3,
)
SETTINGS = representations.Settings(
    scattering=representations.Scattering(1, 2), hog=representations.Hog(bins=4, pool=4)
)


def make(**fields):
    return mvmr.Method(settings=SETTINGS, **SMALL | fields)


def images(count=6, size=12, seed=0):
    rng = np.random.default_rng(seed)
    names = ("image", "augmented")
    views = {k: rng.integers(0, 256, (count, size, size, 3), np.uint8) for k in names}
    label = rng.integers(0, 3, count).astype(np.int32)
    return {"views": views, "label": label, "index": np.arange(count, dtype=np.int32)}


@functools.cache
def variables():
    return make().init(jax.random.key(0), images())


def losses(method, batch, held=None):
    """The loss, its terms and gradients."""
    held = held or variables()

    @jax.jit
    def run(params):
        def value(params):
            mine = held | {"params": params}
            return method.loss(mine, batch, jax.random.key(1))

        return jax.value_and_grad(value, has_aux=True)(params)

    (loss, aux), grads = run(held["params"])
    return loss, aux, grads


def terms(method, batch):
    """The loss and what comes with it."""
    run = jax.jit(lambda held: method.loss(held, batch, jax.random.key(1)))
    return run(variables())


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("equal views of all samples", dict()),
        ("two samples", dict()),
        pytest.param(
            *("equal views of all samples", dict(normalize_z=True)),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_degenerate_batches_have_finite_losses_and_gradients(kind, fields):
    batch = images(2 if kind == "two samples" else 6)
    if kind.startswith("equal"):
        for name, view in batch["views"].items():
            batch["views"][name] = np.broadcast_to(view[:1], view.shape).copy()
    loss, aux, grads = losses(make(**fields), batch)
    assert np.isfinite(loss)
    assert all(np.isfinite(v) for v in aux.metrics.values())
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    if kind.startswith("equal"):
        assert aux.metrics["dc/full_img"] == 0 and aux.metrics["clamped"] == 1


def test_the_objectives_differ_in_the_sign_of_the_dependence():
    batch, found = images(), {}
    for objective in ("maximize", "official"):
        loss, aux = terms(make(rep_objective=objective), batch)
        found[objective] = loss
    total = sum(v for k, v in aux.metrics.items() if k.startswith("dc/"))
    count = len(make().representations)
    np.testing.assert_allclose(
        found["maximize"] - found["official"], count - 2 * total, rtol=1e-4
    )


def test_weights_scale_the_terms():
    batch = images()
    weights = mvmr.Weights(mse=2.0, std=3.0, dc_zz=4.0, dc=5.0)
    loss, aux = terms(make(weights=weights), batch)
    m = aux.metrics
    expected = 2 * m["mse"] + 3 * m["std"] + 4 * m["dc_zz"]
    expected += 5 * sum(1 - v for k, v in m.items() if k.startswith("dc/"))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_statistics_move_by_the_augmented_view_first_then_by_the_plain_one():
    batch, method = images(), make()
    held = variables()
    _, aux = terms(method, batch)
    embed = functools.partial(method.embed, train=True, rng=jax.random.key(1))
    embed = jax.jit(embed)
    for name in ("augmented", "image"):
        _, _, moved = embed(held, batch["views"][name])
        held = tree.merge(held, moved)
    found = tree.flatten(aux.model_state)
    expected = tree.flatten({"batch_stats": held["batch_stats"]})
    assert set(found) <= set(expected) and found
    for path, value in found.items():
        np.testing.assert_allclose(value, expected[path], 1e-4, 1e-5, err_msg=path)


@pytest.mark.parametrize("norm", ["eval", "drift"])
def test_the_probe_learns_without_the_encoder(norm):
    method, batch = make(probe_norm=norm), images()
    held = variables()

    @jax.jit
    def run(params):
        def value(params):
            mine = held | {"params": params}
            return method.probe_loss(mine, batch, jax.random.key(1))

        return jax.grad(value, has_aux=True)(params)

    grads, aux = run(held["params"])
    for name, part in grads.items():
        some = any(np.any(x) for x in jax.tree.leaves(part))
        assert some == (name == "probe"), name
    assert bool(aux.model_state) == (norm == "drift")


def test_unlabelled_rows_do_not_reach_the_probe():
    method, batch = make(), images()
    batch["label"][2:] = -1
    loss = jax.jit(method.probe_loss)
    found, aux = loss(variables(), batch, jax.random.key(0))
    few = {"views": {k: v[:2] for k, v in batch["views"].items()}}
    expected, _ = loss(variables(), few | {"label": batch["label"][:2]}, None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    batch["label"][:] = -1
    none, aux = loss(variables(), batch, jax.random.key(0))
    assert none == 0 and aux.metrics["probe/accuracy"] == 0


def spec_of(**shapes):
    views = {k: batch_lib.ViewSpec(v, "uint8", 0, 255) for k, v in shapes.items()}
    return batch_lib.Spec(views, 3)


def test_mistakes_are_told():
    square, pair = (12, 12, 3), dict(image=(12, 12, 3), augmented=(12, 12, 3))
    with pytest.raises(errors.UserError, match=r"config.data.train_policy.name=pair"):
        losses(make(), images() | {"views": {"image": images()["views"]["image"]}})
    with pytest.raises(errors.UserError, match="'augmented' have the shapes"):
        make().check(spec_of(image=square, augmented=(8, 8, 3)))
    with pytest.raises(errors.UserError, match="method.classes is 4; the data"):
        make(classes=4).check(spec_of(**pair))
    large = dataclasses.replace(SETTINGS, scattering=representations.Scattering(5, 2))
    with pytest.raises(errors.UserError, match="scales"):
        dataclasses.replace(make(), settings=large).check(spec_of(**pair))
    make().check(spec_of(**pair))
    make().check(spec_of(image=square))  # Evaluation.


def test_kept_representations_are_those_of_the_plain_view(tmp_path):
    names = ("full_img", "full_img_augment", "full_img_hog", "full_img_std")
    config = config_lib.load(
        f"{ROOT}/configs/mvmr/fashion.py:debug",
        (f"method.representations={names}", "method.keep_representations=True"),
    )
    run = run_lib.Run(config, cache=tmp_path)
    method, held = run.method, {"params": {}, "batch_stats": {}}
    kept = {name for name in names if "augment" not in name}
    assert set(run.constant_shapes) == kept
    run.keep_constants(held)
    assert len(list((tmp_path / "constants").glob("*.npy"))) == len(kept)
    rows = np.array([3, 0, 9])
    stored = pipeline.gather(run.train_records, rows)
    plain = method.tower.read(jnp.asarray(stored["views"]["image"]))
    for name in kept:
        expected = representations.Representation(name, method.settings)
        expected = jax.jit(expected)(plain)
        np.testing.assert_allclose(
            stored["constant"][name], expected, 1e-5, 1e-6, err_msg=name
        )
    batch = jax.tree.map(jnp.asarray, stored)
    truths = jax.jit(method.truths)({}, batch, jax.random.key(0))
    assert set(truths) == set(names)
    np.testing.assert_array_equal(truths["full_img"], stored["constant"]["full_img"])


def test_images_are_augmented_one_by_one_as_the_method_normalises_them():
    augment = batch_augment.Augmentation("per_image")
    settings = dataclasses.replace(SETTINGS, augment=augment)
    statistics = dict(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    method = make(representations=("full_img_augment",), **statistics)
    method = dataclasses.replace(method, settings=settings)
    batch, key = images(), jax.random.key(3)
    found = jax.jit(method.truths)({}, batch, key)["full_img_augment"]
    x = method.tower.read(jnp.asarray(batch["views"]["image"]))
    key = rng_lib.named(key, "full_img_augment")
    expected = jax.jit(functools.partial(augment, **statistics))(x, key)
    np.testing.assert_allclose(found, expected.reshape(6, -1) / 32, 1e-5, 1e-6)
    shown = expected * np.array(statistics["std"]) + np.array(statistics["mean"])
    assert shown.min() >= -1e-5 and shown.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("changes", "some"),
    [
        ((), True),
        (("data.train_policy.name=styled",), False),  # It changes the plain view, too.
        (("data.device_policy.name=photometry",), False),
    ],
)
def test_what_chance_changes_is_not_kept(changes, some):
    overrides = ("method.keep_representations=True", *changes)
    config = config_lib.load(f"{ROOT}/configs/mvmr/fashion.py:debug", overrides)
    assert bool(run_lib.Run(config).constant_shapes) == some


def make_clip(**fields):
    teacher = vit.Backbone(
        image_size=16,
        patch=8,
        features=12,
        layers=1,
        heads=2,
        style="clip",
        projection=5,
        epsilon=1e-5,
    )
    return mvmr_clip.Method(teacher=teacher, teacher_size=16, **SMALL | fields)


def test_the_teacher_gets_no_gradient_and_is_kept_beside_the_records():
    method, batch = make_clip(), images()
    held = method.init(jax.random.key(0), batch)
    loss, aux, grads = losses(method, batch, held)
    assert not any(np.any(x) for x in jax.tree.leaves(grads["teacher"]))
    assert "teacher" not in {p for u in method.updates for p in u.trains}
    kept = jax.jit(functools.partial(method.constants, frozen=("teacher",)))(
        {"params": {"teacher": held["params"]["teacher"]}}, batch
    )
    assert kept["teacher"].shape == (6, 5)
    other, _, _ = losses(method, batch | {"constant": kept}, held)
    np.testing.assert_allclose(other, loss, rtol=1e-6)
    assert method.constants({"params": {}}, batch, frozen=()) == {}


def test_features_of_any_teacher_may_be_a_target():
    method, batch = make_clip(teacher_target="clip"), images()
    rows = np.random.default_rng(1).normal(size=(6, 7)).astype(np.float32)
    held = method.init(jax.random.key(0), batch)
    assert "teacher" not in held["params"]
    _, aux, _ = losses(method, batch | {"targets": {"clip": rows}}, held)
    assert 0 < aux.metrics["dc/teacher"] <= 1
    with pytest.raises(errors.UserError, match="teacher_target"):
        method.check(spec_of(image=(12, 12, 3)))


@pytest.mark.parametrize("kind", [make, make_clip])
def test_published_files_come_back_as_they_were(kind):
    method = kind()
    held = jax.device_get(method.init(jax.random.key(0), images()))
    for name, table in method.torch_tables().items():
        leaves = list(table)
        paths = {leaf.path for leaf in leaves}
        part = {p: x for p, x in tree.flatten(held).items() if p in paths}
        assert set(part) == paths, name
        tensors = torch_map.to_torch(leaves, tree.unflatten(part))
        back, _ = torch_map.to_flax(leaves, tensors)
        for path, value in tree.flatten(back).items():
            np.testing.assert_array_equal(value, part[path], err_msg=f"{name} {path}")
    keys = {n for leaf in method.torch_tables()["script"] for n in leaf.torch_names}
    assert {"encoder:backbone.conv1.weight", "online_finetuner:weight"} <= keys


def test_predictions_need_the_plain_view_only():
    batch = images()
    del batch["views"]["augmented"]
    found = jax.jit(make().predict)(variables(), batch)
    shapes = {name: value.shape for name, value in found.items()}
    assert shapes == {"shared": (6, 8), "embedding": (6, 12), "logits": (6, 3)}
    assert all(value.dtype == jnp.float32 for value in found.values())
