import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_file
from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import tree
from mvjax.methods import segment
from mvjax.models import swin
from mvjax.train import warm_start

WINDOW = 4


class Small(swin.Backbone):
    def net(self, channels, *, dtype="float32", groups=1):
        segments = self.style == "segmentation"
        settings = (self.dropout, self.drop_path, dtype)
        return swin.Net(8, (2, 1), (1, 2), WINDOW, segments, *settings)


def draw(net, shape):
    return fill(lambda x: net.init(jax.random.key(0), x, train=False), shape)


def fill(init, shape):
    """Random variables of the shapes that `init` gives."""
    shapes = jax.eval_shape(init, jax.ShapeDtypeStruct(shape, "float32"))
    generator = np.random.default_rng(0)

    def normal(leaf):
        return generator.normal(0, 0.5, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(normal, shapes)


# Parameters without the classifier, as torchvision counts them.
@pytest.mark.parametrize(("size", "count"), [("t", 27_519_354), ("b", 86_743_224)])
def test_sizes_are_the_published_ones(size, count):
    net, x = swin.Backbone(size).net(3), jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, train=False))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count


def attend_slowly(params, x, heads, shift):
    """Each pixel attends to those that it meets in its window, one head at a time."""
    height, width, channels = x.shape
    size = [-(-side // WINDOW) * WINDOW for side in (height, width)]
    padded = np.zeros((*size, channels))
    padded[:height, :width] = x

    def linear(name, x):
        layer = params["attention"][name]
        return x @ np.float64(layer["kernel"]) + layer["bias"]

    query, key, value = (linear(name, padded) for name in ("query", "key", "value"))
    # Moved by `shift`, windows begin there; what is above or left of it stays apart.
    places = [np.arange(side) - s for side, s in zip(size, shift)]
    window_y, window_x = (place // WINDOW for place in places)
    out, c = np.zeros_like(padded), channels // heads
    for y, x, head in np.ndindex(*size, heads):
        met = [
            (v, u)
            for v in np.flatnonzero(window_y == window_y[y])
            for u in np.flatnonzero(window_x == window_x[x])
        ]
        mine = slice(head * c, (head + 1) * c)
        row = [
            (y - v + WINDOW - 1) * (2 * WINDOW - 1) + x - u + WINDOW - 1 for v, u in met
        ]
        scores = [query[y, x, mine] @ key[v, u, mine] / c**0.5 for v, u in met]
        weights = np.exp(scores + params["positions"][row, head])
        mixed = np.einsum("n,nc->c", weights, [value[v, u, mine] for v, u in met])
        out[y, x, mine] = mixed / weights.sum()
    return linear("out", out)[:height, :width]


@pytest.mark.parametrize(
    ("always", "shifted", "shift"),
    [(True, True, (2, 2)), (False, True, (2, 0)), (True, False, (0, 0))],
)
def test_windows_attend_as_pixel_by_pixel(always, shifted, shift):
    attend = swin.WindowAttention(heads=2, window=WINDOW, always=always)
    # Padded to 8 x 4: one window covers the width.
    x = np.random.default_rng(1).normal(size=(2, 6, 3, 8)).astype(np.float32)
    variables = fill(lambda x: attend.init(jax.random.key(0), x, True), x.shape)
    with jax.default_matmul_precision("highest"):
        found = jax.jit(attend.apply)(variables, x, shifted)
    expected = [attend_slowly(variables["params"], image, 2, shift) for image in x]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("style", ["classification", "segmentation"])
def test_tables_lose_and_invent_nothing(style):
    backbone = Small(style=style)
    variables = draw(backbone.net(3), (1, 16, 16, 3))
    flat = tree.flatten(variables)
    for name, table in backbone.torch_tables(3).items():
        held = {leaf.path: flat[leaf.path] for leaf in table}
        # Files of classification have one norm, and it is not read for segmentation.
        own = set(flat) - set(held)
        assert all(path.startswith("params/norm") for path in own)
        assert bool(own) == (style == "segmentation" and name != "swin_segmentation")
        tensors = torch_map.to_torch(table.leaves, tree.unflatten(held))
        back, _ = torch_map.to_flax(table.leaves, tensors, ignore=table.ignore)
        jax.tree.map(np.testing.assert_array_equal, back, tree.unflatten(held))


def test_published_names():
    names = {
        kind: {name for leaf in table for name in leaf.torch_names}
        for kind, table in Small().torch_tables(3).items()
    }
    assert "layers.0.downsample.reduction.weight" in names["swin"]
    assert "layers.1.downsample.reduction.weight" in names["timm"]
    assert "features.3.0.attn.qkv.weight" in names["torchvision"]
    assert "norm.weight" in names["swin"] & names["timm"] & names["torchvision"]
    _, second = Small().pair_tables(3)
    theirs = {leaf.torch_names[0] for leaf in second}
    assert {"downsamples_d.0.norm.bias", "norm_d1.weight"} < theirs


def test_norms_of_segmentation_start_afresh_beside_a_file_of_classification(tmp_path):
    trained = draw(Small().net(3), (1, 16, 16, 3))
    table = Small().torch_tables(3)["swin"]
    file = tmp_path / "swin.pth"
    constant = {"layers.0.blocks.0.attn.relative_position_index": np.arange(4)}
    torch_file.write(file, torch_map.to_torch(table.leaves, trained) | constant)
    method = segment.Method(backbone=Small(style="segmentation"))
    held = draw(method.backbone.net(3), (1, 16, 16, 3))
    ours = {"params": {"backbone": held["params"], "head": {}}}
    entry = dict(source=str(file), take={"backbone": ""}, table="swin")
    with pytest.raises(errors.UserError, match="lacks params/backbone/norm0"):
        warm_start.apply({"weights": entry}, method, ours)
    entry["fresh"] = ("backbone/norm?/*",)
    found = warm_start.apply({"weights": entry}, method, ours)["params"]["backbone"]
    for name, layer in found.items():
        source = held if name.startswith("norm") else trained
        jax.tree.map(np.testing.assert_array_equal, layer, source["params"][name])


def test_every_parameter_learns_while_paths_and_weights_are_dropped():
    net = swin.Net(8, (2,), (2,), WINDOW, segments=True, dropout=0.3, drop_path=0.2)
    variables = draw(net, (2, 18, 23, 3))
    x = np.random.default_rng(1).normal(size=(2, 18, 23, 3)).astype(np.float32)

    def total(variables, key):
        features = net.apply(variables, x, train=True, rngs={"dropout": key})
        return sum(jnp.sum(jnp.sin(m)) for m in features.maps), features.pooled

    run = jax.jit(jax.grad(total, has_aux=True))
    gradients, pooled = run(variables, jax.random.key(0))
    for path, leaf in tree.flatten(gradients).items():
        # A softmax does not feel what is added to all keys.
        exact_zero = path.endswith("key/bias")
        assert np.isfinite(leaf).all() and (exact_zero or np.any(leaf)), path
    _, again = run(variables, jax.random.key(0))
    _, other = run(variables, jax.random.key(1))
    np.testing.assert_array_equal(pooled, again)
    assert not np.allclose(pooled, other)
