"""Decoders agree with slow versions by published names; their tables lose nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.core import errors
from mvjax.core import tree
from mvjax.models.decoders import conv
from mvjax.models.decoders import deeplab
from mvjax.models.decoders import mlp
from mvjax.models.decoders import upernet
from mvjax.models.layers import initializers

K = 3
SIZE = (10, 13)
SIDES = ((6, 7), (3, 4))  # Of the maps: few, as compiling takes the time.
DECODERS = {
    "upernet": upernet.Decoder(width=4, bins=(1, 3), eval_epsilon=1e-2),
    "deeplab": deeplab.Decoder(width=4, low_width=3, rates=(2,)),
    "conv": conv.Decoder(stage=1),
    "conv_released": conv.Decoder(released=True),
}


def draw_maps(rows=2):
    generator = np.random.default_rng(0)
    widths = (4, 6)
    shapes = [(rows, *side, width) for side, width in zip(SIDES, widths)]
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def make(name):
    """The network, and variables whose statistics are not those of the start."""
    decoder = DECODERS[name]
    net = decoder.net(K)
    shapes = jax.eval_shape(
        lambda: net.init(jax.random.key(0), draw_maps(), SIZE, train=False)
    )
    variables = initializers.torch_default(jax.random.key(0), shapes, decoder.initial())
    generator = np.random.default_rng(1)
    flat = tree.flatten(jax.device_get(variables))
    for path, leaf in flat.items():
        if path.endswith(("scale", "var", "mean")):
            flat[path] = np.float32(leaf + generator.uniform(0, 0.5, leaf.shape))
    return net, tree.unflatten(flat)


def test_gradient_of_the_enlarged_sum_is_that_of_its_definition():
    shapes = [(2, 8, 12, 3), (2, 4, 6, 3), (2, 2, 3, 3)]
    generator = np.random.default_rng(0)
    maps = [generator.normal(size=shape).astype(np.float32) for shape in shapes]

    def total(maps):
        y = sum(
            jax.image.resize(x, shapes[0], "bilinear", antialias=False) for x in maps
        )
        return jnp.sum(jnp.sin(y))

    def found(maps, probe):
        return jnp.sum(jnp.sin(mlp._add_enlarged(tuple(shapes), maps, probe)))

    for one, other in zip(jax.grad(found)(maps, 1.0), jax.grad(total)(maps)):
        # Sums of up to 16 terms of order 1.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


class Slow:
    """Layers of images `[C, H, W]` by PyTorch's names, loop by loop, in evaluation."""

    def __init__(self, tensors, epsilon):
        self.tensors = {k: np.float64(x) for k, x in tensors.items()}
        self.epsilon = epsilon

    def conv(self, x, name, dilation=1):
        kernel = self.tensors[f"{name}.weight"]
        side = kernel.shape[-1]
        margin = side // 2 * dilation
        padded = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
        y = np.zeros((len(kernel), *x.shape[1:]))
        for i, j in np.ndindex(side, side):
            rows = slice(i * dilation, i * dilation + x.shape[1])
            columns = slice(j * dilation, j * dilation + x.shape[2])
            y += np.einsum("chw,dc->dhw", padded[:, rows, columns], kernel[:, :, i, j])
        bias = self.tensors.get(f"{name}.bias", np.zeros(len(kernel)))
        return y + bias[:, None, None]

    def block(self, x, first, second, dilation=1):
        """Convolution, batch norm, ReLU."""
        held = ("weight", "bias", "running_mean", "running_var")
        scale, bias, mean, var = (
            self.tensors[f"{second}.{name}"][:, None, None] for name in held
        )
        y = self.conv(x, first, dilation) - mean
        return np.maximum(y / np.sqrt(var + self.epsilon) * scale + bias, 0)

    def resize(self, x, size, corners=False):
        """Bilinear, one pixel after another."""
        y = np.zeros((len(x), *size))
        for place in np.ndindex(*size):
            parts = []
            for i, new, old in zip(place, size, x.shape[1:]):
                u = (i + 0.5) * old / new - 0.5
                if corners:
                    u = i * (old - 1) / max(new - 1, 1)
                u = min(max(u, 0), old - 1)
                low = min(int(u), max(old - 2, 0))
                parts.append([(low, 1 - u + low), (min(low + 1, old - 1), u - low)])
            for i, a in parts[0]:
                for j, b in parts[1]:
                    y[:, place[0], place[1]] += a * b * x[:, i, j]
        return y

    def pool(self, x, side):
        """Means over bins, with PyTorch's edges."""
        y = np.zeros((len(x), side, side))
        for i, j in np.ndindex(side, side):
            (top, bottom), (left, right) = (
                (k * n // side, -(-(k + 1) * n // side))
                for k, n in zip((i, j), x.shape[1:])
            )
            y[:, i, j] = x[:, top:bottom, left:right].mean(axis=(1, 2))
        return y

    def upernet(self, maps):
        *fine, last = maps
        pools = [last]
        for i, side in enumerate((1, 3)):
            names = (f"psp_modules.{i}.1", f"psp_modules.{i}.2")
            x = self.block(self.pool(last, side), *names)
            pools.append(self.resize(x, last.shape[1:]))
        top = self.block(np.concatenate(pools), "bottleneck.0", "bottleneck.1")
        outs, above = [top], top
        for i in reversed(range(len(fine))):
            names = (f"lateral_convs.{i}.0", f"lateral_convs.{i}.1")
            above = self.block(fine[i], *names) + self.resize(above, fine[i].shape[1:])
            names = (f"fpn_convs.{i}.0", f"fpn_convs.{i}.1")
            outs.insert(0, self.block(above, *names))
        outs = [self.resize(x, outs[0].shape[1:]) for x in outs]
        x = self.block(np.concatenate(outs), "fpn_bottleneck.0", "fpn_bottleneck.1")
        return self.conv(x, "conv_seg")

    def deeplab(self, maps):
        fine, last = maps[0], maps[-1]
        views = [self.block(last, "aspp.b0.0", "aspp.b0.1")]
        views.append(self.block(last, "aspp.b1.block.0", "aspp.b1.block.1", dilation=2))
        whole = self.block(self.pool(last, 1), "aspp.b2.gap.1", "aspp.b2.gap.2")
        views.append(np.broadcast_to(whole, views[0].shape))
        x = self.block(np.concatenate(views), "aspp.project.0", "aspp.project.1")
        x = self.resize(x, fine.shape[1:], corners=True)
        low = self.block(fine, "low_level.0", "low_level.1")
        x = self.block(np.concatenate([x, low]), "block.0", "block.1")
        return self.conv(x, "block.4")

    def head(self, x):
        return self.conv(self.block(x, "conv.0", "conv.1"), "classifier")


@pytest.mark.parametrize("name", DECODERS)
def test_scores_equal_a_slow_version_that_reads_published_names(name):
    net, variables = make(name)
    table = DECODERS[name].torch_leaves(len(SIDES))
    tensors = torch_map.to_torch(table, variables)
    back = torch_map.to_flax(table, tensors)[0]
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    maps = draw_maps()
    found = jax.jit(net.apply, static_argnames=("size", "train"))(
        variables, maps, size=SIZE, train=False
    )
    slow = Slow(tensors, DECODERS[name].eval_epsilon)
    planes = [np.moveaxis(np.float64(x[1]), -1, 0) for x in maps]
    versions = {"upernet": slow.upernet, "deeplab": slow.deeplab}
    if name in versions:
        expected = versions[name](planes)
    else:
        expected = slow.head(planes[0 if name == "conv" else 1])
    assert found.shape[-1] == (40 if name == "conv_released" else K)
    expected = np.moveaxis(slow.resize(expected, SIZE), 0, -1)
    np.testing.assert_allclose(found[1], expected, rtol=1e-4, atol=1e-5)


def test_training_drops_by_key_and_moves_the_norms():
    net, variables = make("deeplab")

    @jax.jit
    def run(key):
        return net.apply(
            variables,
            draw_maps(),
            SIZE,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )

    first, moved = run(jax.random.key(0))
    second, _ = run(jax.random.key(1))
    assert jnp.any(first != second)
    before, after = (tree.flatten(x["batch_stats"]) for x in (variables, moved))
    assert all(np.any(after[path] != leaf) for path, leaf in before.items())


def test_kernels_start_by_fan_in_and_biases_as_pytorchs():
    decoder = conv.Decoder(width=64)
    shapes = jax.eval_shape(
        lambda: decoder.net(K).init(
            jax.random.key(0), [jnp.zeros((1, 2, 2, 32))], SIZE, train=False
        )
    )
    drawn = initializers.torch_default(jax.random.key(0), shapes, decoder.initial())
    inner = drawn["params"]["inner"]["conv"]
    np.testing.assert_allclose(np.std(inner["kernel"]), (2 / 288) ** 0.5, rtol=0.05)
    assert 0.5 * 288**-0.5 < np.max(np.abs(inner["bias"])) <= 288**-0.5


@pytest.mark.parametrize(
    "decoder, maps, words",
    [
        (deeplab.Decoder(), 1, "a fine and a coarse map; the backbone has 1"),
        (conv.Decoder(stage=4), 3, "stage 4; the backbone has 3"),
        (conv.Decoder(released=True, width=8), 4, "width=8, but released=True"),
    ],
)
def test_what_cannot_be_read_is_refused(decoder, maps, words):
    with pytest.raises(errors.UserError, match=words):
        decoder.check(maps)


def test_the_released_head_refuses_more_classes_than_its_scores():
    with pytest.raises(errors.UserError, match="40 scores, too few for 41 classes"):
        conv.Decoder(released=True).net(41)
