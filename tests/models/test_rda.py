"""Deformable attention equals plain loops with every option, and stands in a ResNet."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import tree
from mvjax.models import rda
from mvjax.models import resnet
from mvjax.models import resnet_rda
from mvjax.models.layers import initializers
from tests import backbone_golden
from tests.ops.test_interpolation import at

BATCH, CHANNELS = 2, 8
SMALL = dict(heads=4, groups=2)
CASES = {
    "table of another size": dict(stride=2, kernel=5, sides=(4, 3)),
    "depthwise, places outside": dict(position="depthwise", offset_range_factor=5.0),
    "fixed": dict(position="fixed", sides=(4, 6), stride=2, kernel=2),
    "log": dict(position="log"),
    "pooled": dict(offsets=False, stride=2, kernel=3),
}
MAP = (4, 6)


def windows(x, layer, stride, margin):
    """Depthwise convolution of one map `[H, W, C]`."""
    kernel, bias = layer["kernel"], layer["bias"]
    x = np.pad(x, ((margin, margin), (margin, margin), (0, 0)))
    side = kernel.shape[0]
    shape = [(n - side) // stride + 1 for n in x.shape[:2]]
    y = np.zeros((*shape, x.shape[-1]))
    for i, j in np.ndindex(*shape):
        patch = x[i * stride : i * stride + side, j * stride : j * stride + side]
        y[i, j] = (patch * kernel[:, :, 0]).sum((0, 1)) + bias
    return y


def choose(params, own, query):
    """Places in one group's queries `[H, W, C / G]`, as they are in the paper's code."""
    h = windows(query, params["offset_conv"], own.stride, own.margin)
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    h = h * params["offset_norm"]["scale"] + params["offset_norm"]["bias"]
    h = h * 0.5 * (1 + np.vectorize(math.erf)(h / math.sqrt(2)))
    offsets = h @ params["offset_out"]["kernel"][0, 0]
    rows, columns = offsets.shape[:2]
    if own.offset_range_factor >= 0:
        reach = np.array([1 / (rows - 1), 1 / (columns - 1)])
        offsets = np.tanh(offsets) * reach * own.offset_range_factor
    for i, j in np.ndindex(rows, columns):
        grid = [(i + 0.5) / (rows - 1) * 2 - 1, (j + 0.5) / (columns - 1) * 2 - 1]
        offsets[i, j] = grid + own.offsets * offsets[i, j]
    outside = own.offset_range_factor >= 0
    return offsets if outside else np.clip(offsets, -1, 1)


def bias_of(params, own, group, i, j, places, number):
    """What positions add for query (i, j) and one place, of each head of a group."""
    heads, width = own.heads // own.groups, MAP[1]
    mine = slice(group * heads, (group + 1) * heads)
    if own.used_position == "fixed":
        return params["rpe_table"][mine, i * width + j, number]
    query = np.array([i / (MAP[0] - 1) * 2 - 1, j / (width - 1) * 2 - 1])
    apart = query - places.reshape(-1, 2)[number]
    if own.used_position == "log":
        logs = np.sign(apart) * np.log2(np.abs(4 * apart) + 1) / 3
        first, last = params["rpe_linear0"], params["rpe_linear1"]
        return np.maximum(logs @ first["kernel"] + first["bias"], 0) @ last["kernel"]
    if own.used_position == "table":
        table = np.moveaxis(params["rpe_table"][mine], 0, -1)
        return at(table, *(apart * 0.5 + 1) / 2 * (np.array(table.shape[:2]) - 1))
    return np.zeros(heads)


def reference(params, own, x, source):
    """The whole of it for one map and its source, `[H, W, C]`."""

    def project(name, values):
        return values @ params[name]["kernel"][0, 0] + params[name]["bias"]

    query = project("proj_q", source)
    each, depth = CHANNELS // own.groups, CHANNELS // own.heads
    blocks = [slice(g * each, (g + 1) * each) for g in range(own.groups)]
    places = [choose(params, own, query[..., block]) for block in blocks]
    rows, columns = places[0].shape[:2]
    sampled = np.zeros((rows, columns, CHANNELS))
    for block, chosen in zip(blocks, places):
        for i, j in np.ndindex(rows, columns):
            pixel = (chosen[i, j] + 1) / 2 * (np.array(MAP) - 1)
            sampled[i, j, block] = at(x[..., block], *pixel)
            if not own.offsets:
                patch = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, block]
                sampled[i, j, block] = patch.mean((0, 1))
    key, value = (
        project(name, sampled).reshape(rows * columns, -1)
        for name in ("proj_k", "proj_v")
    )
    mixed = np.zeros((*MAP, CHANNELS))
    for (i, j), head in ((p, h) for p in np.ndindex(*MAP) for h in range(own.heads)):
        group, inside = divmod(head, own.heads // own.groups)
        block = slice(head * depth, (head + 1) * depth)
        scores = key[:, block] @ query[i, j, block] / math.sqrt(depth)
        for n in range(rows * columns):
            scores[n] += bias_of(params, own, group, i, j, places[group], n)[inside]
        weights = np.exp(scores - scores.max())
        mixed[i, j, block] = weights / weights.sum() @ value[:, block]
    if own.used_position == "depthwise":
        mixed += windows(query, params["rpe_conv"], 1, 1)
    return project("proj_out", mixed)


@pytest.mark.parametrize("name", CASES)
def test_it_equals_plain_loops_and_its_gradient_finite_differences(name):
    own = rda.Settings(**SMALL, **CASES[name])
    own.check("settings", CHANNELS, MAP)
    rng = np.random.default_rng(0)
    cross = own.position == "fixed"  # Queries of another map.
    x, source = rng.normal(size=(2, BATCH, *MAP, CHANNELS))
    with jax.enable_x64():
        net = rda.Attention(own, jnp.float64)
        shapes = jax.eval_shape(net.init, jax.random.key(0), x)["params"]
        params = jax.tree.map(lambda s: rng.normal(size=s.shape) * 0.7, shapes)
        held = {leaf.path for leaf in rda.torch_leaves(own)}
        assert held == set(tree.flatten({"params": params}))
        cotangent = rng.normal(size=x.shape)

        def total(values):
            params, x, source = values
            read = net.apply({"params": params}, x, source if cross else None)
            return (read.mixed * cotangent).sum(), read.mixed

        values = (params, x, source)
        run = jax.jit(jax.value_and_grad(total, has_aux=True))
        (_, mixed), gradients = jax.device_get(run(values))
        for b in range(BATCH):
            expected = reference(params, own, x[b], (source if cross else x)[b])
            np.testing.assert_allclose(mixed[b], expected, 1e-5, 1e-6)
        along = jax.tree.map(lambda a: rng.normal(size=a.shape), values)
        if not cross:
            along = (*along[:2], np.zeros_like(source))
        step = 1e-6
        ends = [
            run(jax.tree.map(lambda a, d, s=s: a + s * d, values, along))[0][0]
            for s in (step, -step)
        ]
        pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(along))
        slope = sum((g * d).sum() for g, d in pairs)
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, 1e-5)


def test_what_cannot_be_attended_to_is_refused():
    network = resnet_rda.Backbone()
    network.check(3, (33, 40))
    with pytest.raises(
        errors.UserError, match=r"l3 .images of 32 x 64.*2 x 4 .* 1 x 2"
    ):
        network.check(3, (32, 64))
    for fields, message in (
        (dict(heads=3), "heads=3 must divide the map's 8 channels"),
        (dict(heads=4, groups=3), "groups=3 the heads"),
        (dict(offsets=False, kernel=2), "pools a map of 4 x 6 by stride=1"),
        (dict(position="fixed"), r"made for maps of sides=\(7, 7\)"),
    ):
        own = rda.Settings(**(SMALL | fields))
        with pytest.raises(errors.UserError, match=message):
            own.check("settings", CHANNELS, MAP)


SMALL_NETWORK = resnet_rda.Backbone(
    18,
    widen=1 / 16,
    l3=resnet_rda.Third(heads=4, groups=2, sides=(3, 3)),
    l4=rda.Settings(heads=4, groups=2, sides=(2, 2)),
)


@functools.cache
def drawn():
    shapes = backbone_golden.shapes(SMALL_NETWORK, 2)
    rules = SMALL_NETWORK.initial(2)
    return jax.device_get(initializers.torch_default(jax.random.key(0), shapes, rules))


def test_what_it_reads_is_added_to_the_last_two_maps():
    x = np.random.default_rng(0).normal(size=(2, 64, 48, 2)).astype(np.float32)
    plain = resnet.Backbone(18, widen=1 / 16).net(2)

    @jax.jit
    def run(variables):
        refined = SMALL_NETWORK.net(2).apply(variables, x, train=False)
        params = dict(variables["params"])
        held = [params.pop("da_l3"), params.pop("da_l4")]
        bare = plain.apply({**variables, "params": params}, x, train=False)
        settings = SMALL_NETWORK.attention.values()
        reads = [
            rda.Attention(own).apply({"params": mine}, h).mixed
            for own, mine, h in zip(settings, held, bare.maps[2:])
        ]
        return refined, bare, reads

    variables = drawn()
    refined, bare, reads = run(variables)
    np.testing.assert_array_equal(refined.maps[1], bare.maps[1])
    np.testing.assert_allclose(refined.maps[2], bare.maps[2] + reads[0], 1e-5, 1e-6)
    np.testing.assert_allclose(refined.pooled, refined.maps[3].mean((1, 2)), 1e-5)
    # The last stage reads the refined map; where nothing refines it, the plain one.
    assert np.abs(refined.maps[3] - bare.maps[3] - reads[1]).max() > 1e-3
    still = jax.tree.map(np.zeros_like, variables["params"]["da_l3"]["proj_out"])
    third = variables["params"]["da_l3"] | {"proj_out": still}
    refined, bare, reads = run(
        variables | {"params": variables["params"] | {"da_l3": third}}
    )
    np.testing.assert_allclose(refined.maps[3], bare.maps[3] + reads[1], 1e-5, 1e-6)


def test_the_start_is_the_published_one():
    params = drawn()["params"]["da_l3"]
    assert params["rpe_table"].std() == pytest.approx(0.01, rel=0.3)
    for name in ("proj_q", "offset_conv"):
        fan_in = np.prod(params[name]["kernel"].shape[:-1])
        largest = np.abs(params[name]["kernel"]).max() * fan_in**0.5
        assert 0.8 < largest <= 1


@pytest.mark.parametrize("table", ["da1", "da2"])
def test_weights_go_to_pytorch_and_back_bit_for_bit(table):
    leaves = SMALL_NETWORK.torch_tables(2)[table]
    tensors = torch_map.to_torch(leaves, drawn())
    assert tensors[f"{table}_l3.conv_offset.0.weight"].shape == (8, 1, 5, 5)
    assert tensors["backbone.conv1.weight"].shape[1] == 2
    back, _ = torch_map.to_flax(leaves, tensors, template=drawn())
    jax.tree.map(np.testing.assert_array_equal, drawn(), back)
