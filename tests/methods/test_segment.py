"""CMX: two views that rectify each other behind each stage of their backbones."""

import functools

import jax
import numpy as np
import pytest

from mvjax.convert import published
from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import tree
from mvjax.data import batch as batch_lib
from mvjax.methods import segment
from mvjax.models import cross_modal_fusion
from mvjax.models import mit
from mvjax.models import resnet
from mvjax.models import transfer
from mvjax.models.decoders import fcn
from mvjax.models.decoders import mlp
from mvjax.train import torch_weights
from tests import staged

KEY = jax.random.key(0)
ROWS, SIZE, CLASSES = 4, 16, 3
CHANNELS = {"rgb": 3, "depth": 1}
HEAD = mlp.Decoder(width=5, dropout=0.5)
AUXILIARY = fcn.Decoder(levels=1)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "views": {
            view: rng.random((ROWS, SIZE, SIZE, count)).astype(np.float32)
            for view, count in CHANNELS.items()
        },
        "present": {view: np.ones(ROWS, bool) for view in CHANNELS},
        "targets": {"mask": rng.integers(0, CLASSES, (ROWS, SIZE, SIZE))},
    }


def make(**fields):
    fields = {"backbone": staged.Backbone(), "head": HEAD} | fields
    return segment.Method(
        view="rgb", also=("depth",), fusion="cmx", classes=CLASSES, **fields
    )


def fill(method, size=SIZE):
    """Any numbers for all variables."""
    views = {
        view: np.zeros((2, size, size, count), np.float32)
        for view, count in CHANNELS.items()
    }
    flat = tree.flatten(jax.eval_shape(method.init, KEY, {"views": views}))
    rng = np.random.default_rng(1)
    for path, leaf in flat.items():
        value = rng.normal(size=leaf.shape) * 0.5
        flat[path] = (np.abs(value) if "batch" in path else value).astype(leaf.dtype)
    return tree.unflatten(flat)


@functools.cache
def variables():
    return fill(make(auxiliary=AUXILIARY))


@functools.cache
def predictor():
    return jax.jit(make().predict)


def test_rectified_maps_go_on_and_into_the_fusion(batch):
    parts = {
        name: transfer.component(variables(), name) for name in variables()["params"]
    }
    fusion = cross_modal_fusion.Fusion((1, 2))

    @jax.jit
    def one_by_one(views):
        pair, fused = [views[view] for view in CHANNELS], []
        for i in range(2):
            pair = [
                staged.Net().apply(
                    parts[f"backbone_{view}"], x, i, train=False, method="stage"
                )
                for view, x in zip(CHANNELS, pair)
            ]
            pair = fusion.apply(parts["fusion"], *pair, i, method="rectify")
            left = [2 * x for x in pair]
            x = fusion.apply(parts["fusion"], *left, i, train=False, method="fuse")
            fused.append(x)
        head = HEAD.net(CLASSES, dtype="float32")
        return head.apply(parts["head"], fused, (SIZE, SIZE), train=False), left[1]

    logits, last = one_by_one(batch["views"])
    found = predictor()(variables(), batch)
    np.testing.assert_allclose(found["logits"], logits, 1e-4, 1e-4)
    pooled = last.mean(axis=(1, 2))
    np.testing.assert_allclose(found["features/depth"], pooled, 1e-5, 1e-5)


def test_nothing_depends_on_what_stands_for_a_missing_view(batch):
    full = predictor()(variables(), batch)
    here = np.array([True, False, True, False])
    batch = batch | {"present": batch["present"] | {"depth": here}}
    found = predictor()(variables(), batch)
    noise = np.where(here[:, None, None, None], 0, 9).astype(np.float32)
    depth = batch["views"]["depth"] + noise
    other = batch | {"views": batch["views"] | {"depth": depth}}
    for name, array in predictor()(variables(), other).items():
        np.testing.assert_array_equal(array, found[name], name)
    np.testing.assert_allclose(found["logits"][here], full["logits"][here], 1e-5, 1e-5)
    assert np.abs(found["logits"] - full["logits"])[~here].max() > 1e-2
    assert not np.any(found["features/depth"][~here])


def test_the_second_head_counts_less_and_norms_follow_the_batch(batch):
    method = make(auxiliary=AUXILIARY, auxiliary_weight=0.3)
    loss, aux = jax.jit(method.loss)(variables(), batch, KEY)
    metrics = aux.metrics
    expected = metrics["cross_entropy"] + 0.3 * metrics["auxiliary"]
    np.testing.assert_allclose(loss, expected, 1e-6)
    moved = aux.model_state["batch_stats"]
    assert set(moved) == {"fusion", "head"}
    counts = [x for k, x in tree.flatten(moved).items() if k.endswith("count")]
    assert len(counts) == 5 and set(map(int, counts)) == {1}


def moving(batch, **fields):
    """The components whose statistics a step moves."""
    method = make(**fields)
    aux = jax.eval_shape(method.loss, variables(), batch, KEY)[1]
    return set(aux.model_state.get("batch_stats", {}))


def test_norms_of_what_is_frozen_stay(batch):
    assert moving(batch, frozen=("*",)) == set()
    assert moving(batch, frozen=("backbone_*", "fusion")) == {"head"}
    assert moving(batch, frozen=("backbone_*",)) == {"fusion", "head"}


SPEC = batch_lib.Spec(
    {
        view: batch_lib.ViewSpec((32, 32, count), "float32", 0, 1)
        for view, count in (*CHANNELS.items(), ("heat", 1))
    },
    classes=None,
    targets={"mask": batch_lib.TargetSpec((32, 32), "uint8", 0, CLASSES - 1)},
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(also=("depth", "heat")), "fuses two views; .view and .also name 3"),
        (dict(backbone=resnet.Backbone(18)), "run by stages, such as mit"),
        (dict(head=fcn.Decoder(levels=3)), "levels=3; the backbone has 2 maps"),
        (dict(auxiliary=fcn.Decoder(widths=(1,))), "fcn has 1 widths"),
    ],
)
def test_what_cannot_be_fused_is_named(fields, message):
    make().check(SPEC)
    fields = dict(backbone=staged.Backbone(), also=("depth",), head=HEAD) | fields
    method = segment.Method(view="rgb", fusion="cmx", classes=CLASSES, **fields)
    with pytest.raises(errors.UserError, match=message):
        method.check(SPEC)


def test_files_of_cmx_go_out_and_back(tmp_path):
    method, held = make(auxiliary=AUXILIARY), variables()
    file = tmp_path / "epoch-last.pth"
    torch_weights.to_torch(method, held, file, None)
    back = published.read(method, file, held)
    assert back.table == "cmx"
    jax.tree.map(np.testing.assert_array_equal, held, back.variables)
    tensors = torch_map.to_torch(method.torch_tables()["cmx"], held)
    kernel = held["params"]["backbone_depth"]["conv0"]["kernel"]
    name = "backbone.conv_x.0.weight"
    np.testing.assert_array_equal(tensors[name], kernel.transpose(3, 2, 0, 1))
    assert {"decode_head.linear_pred.bias", "aux_head.scores0.bias"} <= set(tensors)
    # A network without the second head, and one of both encoders alone.
    smaller = {kind: dict(parts) for kind, parts in held.items()}
    del smaller["params"]["auxiliary"]
    back = published.read(make(), file, smaller)
    jax.tree.map(np.testing.assert_array_equal, smaller, back.variables)
    back = published.read(method, file, held, take=("backbone_depth",))
    found = back.variables["params"]
    assert set(found) == {"backbone_depth"}
    np.testing.assert_array_equal(found["backbone_depth"]["conv0"]["kernel"], kernel)


def test_the_second_encoder_has_another_drop_rate_and_other_names():
    first = mit.Backbone("b2", drop_path=0.15)
    rates = [b.net(3).rates() for b in (first, first.beside())]
    steps = np.linspace(0, 0.15, 16)
    np.testing.assert_allclose(rates[0][1], [steps[3]] * 4)
    np.testing.assert_allclose(rates[1][1], [steps[4]] * 4)
    assert rates[0][2:] == rates[1][2:] and rates[0][0] == rates[1][0]
    names = [[leaf.torch_names[0] for leaf in x] for x in first.pair_tables(3)]
    assert names[1] == [f"extra_{name}" for name in names[0]]


def test_heads_of_older_configs_are_found():
    old = {"name": "segment", "levels": 2, "widths": (4, 5), "classes": 3}
    segment.Method.renew(old, {})
    head = {"name": "fcn", "levels": 2, "widths": (4, 5)}
    assert old == {"name": "segment", "classes": 3, "head": head}
