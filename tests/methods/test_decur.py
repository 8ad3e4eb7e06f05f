"""DeCUR and its baselines: what the losses are, that nothing is detached, and weights."""

import dataclasses
import functools
import itertools
from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone as backbone_lib
from mvjax.core import errors
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.methods import barlow_twins
from mvjax.methods import clip
from mvjax.methods import decur
from mvjax.methods import simclr
from mvjax.methods import vicreg
from mvjax.models import resnet
from mvjax.models import transfer
from mvjax.models.layers import linear
from mvjax.models.layers import norm
from mvjax.train import sharding

CHANNELS = {"sar": 2, "optical": 4, "height": 3}
VIEWS = ("sar", "optical")
METHODS = {
    m.__name__.split(".")[-1]: m for m in (decur, barlow_twins, simclr, clip, vicreg)
}


class Net(nn.Module):
    """A convolution and a batch norm, and a linear layer that views may share."""

    groups: int
    dtype: Any

    @nn.compact
    def __call__(self, x, *, train):
        h = resnet.Kernel(3, 4, 2).layer("conv1", self.dtype)(x)
        h = norm.BatchNorm(groups=self.groups, dtype=self.dtype, name="bn1")(
            h, train=train
        )
        h = nn.relu(h)
        h = h + linear.Linear(4, dtype=self.dtype, name="da_l3")(h)
        return backbone_lib.Features(h.mean(axis=(1, 2)), (h,))


@dataclasses.dataclass(frozen=True)
class Backbone:
    """The least that has all that the towers ask for."""

    width = 4
    SHAREABLE: ClassVar[tuple[str, ...]] = ("da_l3",)

    def net(self, channels, *, dtype=jnp.float32, groups=1):
        return Net(groups, dtype)

    def torch_tables(self, channels):
        leaves = torch_map.conv2d("conv1", "conv1", bias=False)
        leaves += torch_map.batch_norm("bn1", "bn1")
        return {"own": torch_table.Table(leaves + torch_map.linear("da_l3", "da_l3"))}

    def initial(self, channels):
        return {}

    def check(self, channels, size):
        pass


def make(kind="decur", **fields):
    common = dict(views=VIEWS, backbone=Backbone(), widths=(8, 6))
    common |= {"dim_common": 4} if kind == "decur" else {}
    return METHODS[kind].Method(**common | fields)


def images(count=8, views=VIEWS, draws=(2,), size=12, seed=0):
    rng = np.random.default_rng(seed)
    found = {
        k: rng.integers(0, 256, (count, *draws, size, size, CHANNELS[k]), np.uint8)
        for k in views
    }
    return {"views": found, "label": np.zeros(count, np.int32)}


@functools.cache
def variables(kind="decur"):
    return make(kind).init(jax.random.key(0), images(draws=()))


def losses(method, batch, held):
    """The loss, what comes with it, and gradients."""

    @jax.jit
    def run(params, batch):
        def value(params):
            return method.loss(held | {"params": params}, batch, jax.random.key(1))

        return jax.value_and_grad(value, has_aux=True)(params)

    (loss, aux), grads = run(held["params"], batch)
    return loss, aux, grads


def embeddings(views=2, count=7, width=6, draws=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (views, count, draws, width)
    return list(jnp.asarray(rng.normal(size=shape), jnp.float32))


def statistics(width=6):
    zeros, ones = jnp.zeros(width), jnp.ones(width)
    return {"batch_stats": {"bn": dict(mean=zeros, var=ones, count=jnp.int32(0))}}


def objective(method, z):
    """The loss of embeddings and its gradients."""

    def value(z):
        loss, metrics, _ = method.objective(statistics(z[0].shape[-1]), z)
        return loss, metrics

    return jax.jit(jax.value_and_grad(value, has_aux=True))(z)


def plain_loss(z, commons, lambd, divisor):
    """DeCUR's loss by whole matrices, without anything detached."""

    def correlation(za, zb):
        za, zb = ((x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5) for x in (za, zb))
        return za.T @ zb / divisor

    def cost(c, target):
        own = jnp.diagonal(c)
        off = jnp.sum(c**2) - jnp.sum(own**2)
        return jnp.sum((own - target) ** 2) + lambd * off

    terms = [cost(correlation(x[:, 0], x[:, 1]), 1) for x in z]
    for (za, zb), dc in zip(itertools.combinations(z, 2), commons):
        c = correlation(za[:, 0], zb[:, 0])
        terms.append((cost(c[:dc, :dc], 1) + cost(c[dc:, dc:], 0)) / 2)
    return sum(terms) / len(terms)


@pytest.mark.parametrize(
    ("views", "fields", "commons"),
    [
        (VIEWS, dict(corr_divisor=5.0), (4,)),
        (tuple(CHANNELS), dict(dim_common_by_pair=(4, 0, 6)), (4, 0, 6)),
    ],
)
def test_the_loss_is_the_plain_formula_and_so_are_its_gradients(views, fields, commons):
    method, z = make(views=views, **fields), embeddings(len(views))
    with jax.default_matmul_precision("highest"):
        (loss, metrics), grads = objective(method, z)
        args = (commons, method.lambd, method.corr_divisor or len(z[0]))
        plain = functools.partial(plain_loss, commons=commons, lambd=args[1])
        plain = functools.partial(plain, divisor=args[2])
        expected, slopes = jax.jit(jax.value_and_grad(plain))(z)
    np.testing.assert_allclose(loss, expected, 1e-5)
    np.testing.assert_allclose(np.stack(grads), np.stack(slopes), 1e-3, 1e-4)
    assert all(np.abs(x).max() > 1e-2 for x in grads)  # Nothing is detached.
    names = {f"intra/{view}" for view in views}
    assert names | {"common", "unique", "retrieval"} < set(metrics)


@pytest.mark.parametrize("kind", METHODS)
def test_an_affine_copy_of_a_view_costs_what_the_view_itself_does(kind):
    method = make(kind)
    z = embeddings(1, draws=method.draws) * 2
    (same, _), _ = objective(method, z)
    moved = 3 * z[1] + (1 if method.standardised else 0)
    (other, _), _ = objective(method, [z[0], moved])
    if kind == "vicreg":
        assert other > same  # It compares the embeddings themselves.
    else:
        np.testing.assert_allclose(other, same, 1e-4)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind, marks=() if kind in ("decur", "vicreg") else pytest.mark.slow
        )
        for kind in METHODS
    ],
)
def test_constant_dimensions_and_equal_samples_are_finite(kind):
    method, z = make(kind), embeddings()
    z = [x[:, : method.draws].at[..., 0].set(2.0) for x in z]
    for rows in (z, [jnp.broadcast_to(x[:1], x.shape) for x in z], [x[:2] for x in z]):
        (loss, metrics), grads = objective(method, rows)
        assert np.isfinite(loss) and all(np.isfinite(v) for v in metrics.values())
        assert all(np.isfinite(x).all() for x in grads)
    (_, metrics), _ = objective(method, [jnp.ones_like(x) for x in z])
    assert metrics["retrieval"] == 0
    if method.standardised:
        diagonal = [v for k, v in metrics.items() if k.startswith("diagonal")]
        assert diagonal and not np.any(diagonal)


@pytest.mark.parametrize("kind", METHODS)
def test_three_views_are_trained_and_predicted(kind):
    views = tuple(CHANNELS)
    method, batch = make(kind, views=views), images(4, views)
    plain = images(4, views, draws=())
    held = jax.eval_shape(method.init, jax.random.key(0), plain)
    loss, aux = jax.eval_shape(method.loss, held, batch, jax.random.key(1))
    assert loss.shape == () and loss.dtype == jnp.float32
    assert set(tree.flatten(aux.model_state)) == set(
        tree.flatten({"batch_stats": held["batch_stats"]})
    )
    found = jax.eval_shape(method.predict, held, plain)
    assert found["shared"].shape == (4, 12)
    assert found["embedding/height"].shape == (4, 6)


def test_the_gradient_is_scaled_and_the_loss_is_not():
    z = embeddings()
    (loss, _), grads = objective(make(), z)
    (other, _), slopes = objective(make(gradient_scale=0.25), z)
    np.testing.assert_allclose(other, loss, 1e-6)
    np.testing.assert_allclose(np.stack(slopes), 0.25 * np.stack(grads), 1e-4, 1e-6)


def close_trees(found, expected, rtol_of_max):
    found, expected = (tree.flatten(jax.device_get(x)) for x in (found, expected))
    assert set(found) == set(expected)
    # Biases in front of a batch norm have no gradient but for rounding.
    least = 1e-4 * max(np.abs(value).max() for value in expected.values())
    for path, value in expected.items():
        limit = rtol_of_max * np.abs(value).max() + least
        np.testing.assert_allclose(found[path], value, 0, limit, err_msg=path)


def mesh():
    return sharding.make_mesh(dict(data=4, fsdp=2, model=1))


def test_eight_devices_give_the_loss_and_gradients_of_one():
    method, batch, held = make(), images(), variables()
    loss, aux, grads = losses(method, batch, held)
    rows = jax.device_put(batch, sharding.batch_sharding(mesh()))
    everywhere = jax.device_put(held, sharding.replicated(mesh()))
    other, far, slopes = losses(method, rows, everywhere)
    np.testing.assert_allclose(other, loss, 1e-5)
    close_trees(slopes, grads, 1e-3)
    close_trees(far.model_state, aux.model_state, 1e-4)


@pytest.mark.parametrize("kind", sorted(set(METHODS) - {"decur"}))
def test_eight_devices_give_the_baselines_of_one(kind):
    method, z = make(kind), embeddings(count=8, draws=1)
    (loss, _), grads = objective(method, z)
    rows = jax.device_put(z, sharding.batch_sharding(mesh()))
    (other, _), slopes = objective(method, rows)
    np.testing.assert_allclose(other, loss, 1e-5)
    np.testing.assert_allclose(np.stack(slopes), np.stack(grads), 1e-3, 1e-4)


def test_statistics_move_in_the_published_order_and_number():
    method, batch = make(), images()
    held = variables()
    _, aux, _ = losses(method, batch, held)
    counts = {
        path.split("/")[1]: int(value)
        for path, value in tree.flatten(aux.model_state).items()
        if path.endswith("count")
    }
    assert counts == {"backbone_sar": 2, "backbone_optical": 2, "projector": 4, "bn": 6}
    draws = [batch["views"][v][:, k : k + 1] for v in VIEWS for k in (0, 1)]

    @jax.jit
    def one_by_one(held):
        projector, net = transfer.component(held, "projector"), method.projector()
        for i, draw in enumerate(draws):
            view = VIEWS[i // 2]
            mine = transfer.component(held, f"backbone_{view}")
            found, _ = method.tower(view).features(
                mine, draw[:, 0], train=True, rng=jax.random.key(1)
            )
            _, moved = net.apply(
                projector, found.pooled, train=True, mutable=["batch_stats"]
            )
            projector = projector | moved
        return projector["batch_stats"]

    found = aux.model_state["batch_stats"]["projector"]
    close_trees(found, one_by_one(held), 1e-4)


def test_views_may_share_what_the_backbone_lends():
    held, batch = variables(), images()
    official = make(rda_share="official")
    _, _, grads = losses(official, batch, held)
    first, second = (grads[f"backbone_{v}"] for v in VIEWS)
    assert any(np.any(x) for x in jax.tree.leaves(first["da_l3"]))
    assert not any(np.any(x) for x in jax.tree.leaves(second["da_l3"]))
    assert np.any(second["conv1"]["kernel"])
    predict = jax.jit(official.predict)
    plain = images(draws=())
    name = "features/optical"
    moved = jax.tree.map(lambda x: x, held)
    part = moved["params"]["backbone_optical"]
    part["da_l3"] = jax.tree.map(lambda x: x + 1, part["da_l3"])
    np.testing.assert_array_equal(
        predict(held, plain)[name], predict(moved, plain)[name]
    )
    with pytest.raises(errors.UserError, match="residual attention"):
        make(rda_share="official", backbone=resnet.Backbone(18)).check(spec_of())


def test_predictions_are_by_view_and_zero_for_what_is_missing():
    batch, method = images(4, draws=()), make()
    found = jax.jit(method.predict)(variables(), batch)
    shapes = {name: value.shape for name, value in found.items()}
    assert shapes == {
        "features/sar": (4, 4),
        "features/optical": (4, 4),
        "embedding/sar": (4, 6),
        "embedding/optical": (4, 6),
        "common/sar": (4, 4),
        "common/optical": (4, 4),
        "unique/sar": (4, 2),
        "unique/optical": (4, 2),
        "shared": (4, 8),
    }
    parts = [found[f"{part}/sar"] for part in ("common", "unique")]
    np.testing.assert_array_equal(np.concatenate(parts, 1), found["embedding/sar"])
    some = np.array([True, False, True, False])
    lacking = jax.jit(method.predict)(variables(), batch | {"present": {"sar": some}})
    np.testing.assert_array_equal(lacking["shared"][1, :4], 0)
    np.testing.assert_allclose(lacking["shared"][0], found["shared"][0], 1e-5, 1e-6)
    np.testing.assert_array_equal(lacking["embedding/sar"][1], 0)


@pytest.mark.parametrize(
    ("views", "fields", "expected"),
    [
        (VIEWS, dict(dim_common=6), {"common/sar": 6, "common/optical": 6}),
        (VIEWS, dict(dim_common=0), {"unique/sar": 6, "unique/optical": 6}),
        (tuple(CHANNELS), dict(dim_common_by_pair=(4, 0, 6)), {}),
    ],
)
def test_parts_are_those_on_which_the_pairs_agree(views, fields, expected):
    method, plain = make(views=views, **fields), images(4, views, draws=())
    held = jax.eval_shape(method.init, jax.random.key(0), plain)
    found = jax.eval_shape(method.predict, held, plain)
    parts = {k: v.shape for k, v in found.items() if k[:6] in ("common", "unique")}
    assert parts == {k: (4, width) for k, width in expected.items()}


def spec_of(draws=(), **shapes):
    shapes = shapes or {k: (12, 12, CHANNELS[k]) for k in VIEWS}
    views = {
        k: batch_lib.ViewSpec((*draws, *v), "uint8", 0, 255) for k, v in shapes.items()
    }
    return batch_lib.Spec(views, None)


def test_mistakes_are_told():
    make().check(spec_of())
    make().check(spec_of((2,)))
    for fields, match in (
        (dict(views=("sar",)), "compares two"),
        (dict(views=("sar", "radar")), "radar"),
        (dict(dim_common=7), "dim_common is 7; embeddings have 6"),
        (dict(dim_common_by_pair=(1, 2)), "2 entries for 1 pairs"),
        (dict(means=((0.5, 0.5),)), "method.means has 1 entries for 2 views"),
        (
            dict(stds=((1.0,), (1.0,) * 4)),
            "method.stds has 1 entries; view 'sar' has 2",
        ),
    ):
        with pytest.raises(errors.UserError, match=match):
            make(**fields).check(spec_of())
    with pytest.raises(errors.UserError, match="train_policy.draws"):
        losses(make(), images(draws=()), variables())
    with pytest.raises(errors.UserError, match="batch_size must leave 2 samples"):
        losses(make(), images(1), variables())
    present = {"present": {"sar": np.ones(8, bool)}}
    with pytest.raises(errors.UserError, match="may lack the view 'sar'"):
        losses(make(), images() | present, variables())


@pytest.mark.parametrize("kind", METHODS)
def test_published_files_come_back_as_they_were(kind):
    method, held = make(kind), jax.device_get(variables(kind))
    tables = method.torch_tables()
    whole = torch_map.to_torch(list(tables["joint"]), held)
    back, report = torch_map.to_flax(list(tables["joint"]), whole)
    flat = tree.flatten(held)
    assert set(tree.flatten(back)) == set(flat)
    for path, value in tree.flatten(back).items():
        np.testing.assert_array_equal(value, flat[path], err_msg=path)
    assert bool(report.tied) == method.shared_projector
    assert "module.backbone_2.conv1.weight" in whole
    assert "module.projector2.0.weight" in whole
    assert ("module.bn.running_var" in whole) == method.standardised
    plain = torch_map.to_torch(list(tables["plain"]), held)
    assert {f"module.{key}" for key in plain} == set(whole)
    keys = {n for leaf in tables["optical"] for n in leaf.torch_names}
    assert {"conv1.weight", "da_l3.bias"} < keys


def test_copies_of_a_shared_projector_that_differ_are_told():
    method, held = make(), jax.device_get(variables())
    whole = torch_map.to_torch(list(method.torch_tables()["joint"]), held)
    key = "module.projector2.0.weight"
    whole[key] = whole[key] + 1
    with pytest.warns(UserWarning, match=r"projector2.0.weight differ.*projector1"):
        named = method.standard_names(whole)
    np.testing.assert_array_equal(named[key], named[key.replace("2.", "1.")])
    back, _ = torch_map.to_flax(list(method.torch_tables()["joint"]), named)
    np.testing.assert_array_equal(
        back["params"]["projector"]["linear0"]["kernel"],
        held["params"]["projector"]["linear0"]["kernel"],
    )
