"""Convolutions agree with `jax.lax` in values and gradients, however they are computed."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import chunks
from mvjax.models.layers import conv
from mvjax.models.layers import linear

ONE = ((1, 1), (1, 1))
NONE = ((0, 0), (0, 0))
# Batch, height, width, channels, features, kernel, strides, padding.
CASES = {
    "3x3": (4, 8, 8, 5, 7, (3, 3), (1, 1), ONE),
    "odd sizes": (3, 7, 11, 2, 3, (3, 3), (1, 1), ONE),
    "one image": (1, 9, 6, 1, 4, (3, 3), (1, 1), ONE),
    "empty batch": (0, 8, 8, 3, 4, (3, 3), (1, 1), ONE),
    "no padding": (2, 7, 6, 3, 4, (3, 3), (1, 1), NONE),
    "uneven kernel and padding": (2, 6, 9, 3, 2, (2, 5), (1, 1), ((0, 1), (3, 1))),
    "padding beyond the kernel": (2, 6, 5, 2, 3, (3, 3), (1, 1), ((3, 4), (5, 2))),
    "1x1": (4, 8, 8, 5, 7, (1, 1), (1, 1), NONE),
    "1x1 with stride": (4, 9, 8, 5, 7, (1, 1), (2, 2), NONE),
    "1x1 with padding": (2, 5, 5, 2, 3, (1, 1), (1, 1), ((1, 0), (0, 2))),
    "downsampling": (4, 8, 8, 4, 4, (3, 3), (2, 2), ((0, 1), (0, 1))),
    "two strides": (2, 9, 7, 3, 4, (3, 3), (2, 3), ONE),
    "2x2 map": (4, 2, 2, 6, 5, (3, 3), (1, 1), ONE),
    "4x4 map to 2x2": (4, 4, 4, 3, 5, (3, 3), (2, 2), ((0, 1), (0, 1))),
    "1x1 map": (4, 1, 1, 3, 5, (3, 3), (1, 1), ONE),
    "patches": (2, 9, 13, 3, 5, (4, 3), (4, 3), NONE),
    "few channels": (6, 12, 16, 3, 32, (3, 3), (1, 1), ONE),
    "several chunks": (12, 16, 16, 64, 64, (3, 3), (1, 1), ONE),
    "more channels before": (6, 16, 16, 64, 16, (3, 3), (1, 1), ONE),
    "more patches than channels": (4, 9, 10, 24, 8, (3, 3), (2, 2), ONE),
    "many channels and strides": (2, 8, 8, 48, 8, (3, 3), (2, 2), ONE),
    "strides that divide the kernel": (2, 13, 10, 6, 5, (4, 4), (2, 2), NONE),
    "stem": (2, 12, 15, 3, 4, (7, 7), (2, 2), ((3, 3), (3, 3))),
    "strides beyond the kernel": (2, 9, 11, 3, 4, (2, 2), (3, 4), ((1, 0), (2, 3))),
    "strides and padding beyond": (2, 6, 7, 2, 3, (3, 3), (2, 2), ((4, 5), (3, 6))),
}


# Dilation and groups beside the rest, whose kernels have C / groups channels.
SPREAD = {
    "depthwise": (CASES["3x3"][:3] + (6, 6) + CASES["3x3"][5:], 1, 6),
    "depthwise with stride": ((2, 9, 7, 4, 4, (5, 5), (2, 2), ((2, 2), (2, 2))), 1, 4),
    "depthwise, uneven": ((5, 6, 9, 3, 3, (2, 5), (1, 1), ((0, 1), (3, 1))), 1, 3),
    "depthwise, padding beyond": (
        (2, 6, 5, 3, 3, (3, 3), (1, 1), ((3, 0), ONE[1])),
        1,
        3,
    ),
    "depthwise, one image": ((1, 6, 5, 3, 3, (3, 3), (1, 1), ONE), 1, 3),
    "depthwise, one row": ((1, 1, 5, 3, 3, (3, 3), (1, 1), ONE), 1, 3),
    "depthwise, no image": ((0, 6, 5, 3, 3, (3, 3), (1, 1), ONE), 1, 3),
    "depthwise, dilated": ((2, 9, 7, 4, 4, (3, 3), (1, 1), ((2, 2), (2, 2))), 2, 4),
    "two kernels a channel": ((2, 8, 6, 4, 8, (3, 3), (1, 1), ONE), 1, 4),
    "groups": ((2, 8, 6, 8, 12, (3, 3), (2, 2), ONE), 1, 4),
    "dilated": ((2, 12, 11, 3, 4, (3, 3), (1, 1), ((4, 4), (4, 4))), 4, 1),
    "dilated with stride": ((2, 12, 11, 3, 4, (3, 2), (2, 1), ONE), 3, 1),
    "dilated groups": ((2, 9, 8, 6, 4, (3, 3), (1, 1), ((2, 2), (2, 2))), 2, 2),
}


def draw(case, dtype=np.float32):
    batch, height, width, channels, features, size, strides, padding = case
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, height, width, channels))
    kernel = rng.normal(size=(*size, channels, features))
    return (
        jnp.asarray(x, dtype),
        jnp.asarray(kernel, dtype),
        dict(strides=strides, padding=padding),
    )


def reference(x, kernel, *, strides, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("name", SPREAD)
def test_dilation_and_groups_equal_lax_convolution_with_gradients(name):
    case, dilation, groups = SPREAD[name]
    x, kernel, settings = draw(case)
    kernel = kernel[:, :, : kernel.shape[2] // groups]

    def plain(x, kernel, **settings):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            settings["strides"],
            settings["padding"],
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    ours = functools.partial(conv.conv2d, dilation=dilation, groups=groups)
    actual = value_and_gradients(ours, x, kernel, **settings)
    desired = value_and_gradients(plain, x, kernel, **settings)
    for a, d in zip(actual, desired, strict=True):
        assert a.dtype == jnp.float32
        assert_close(a, d, 1e-5)


def value_and_gradients(function, x, kernel, **settings):
    """Output, input gradient and kernel gradient for one fixed output gradient."""

    @jax.jit
    def run(x, kernel):
        y, pull_back = jax.vjp(lambda x, k: function(x, k, **settings), x, kernel)
        dy = np.random.default_rng(1).normal(size=y.shape)
        return y, *pull_back(jnp.asarray(dy, y.dtype))

    return run(x, kernel)


def assert_close(actual, desired, relative):
    """Compares relative to the largest entry: sums cancel, so small ones are noise."""
    actual, desired = (np.asarray(a, np.float32) for a in (actual, desired))
    assert actual.shape == desired.shape
    if desired.size:
        scale = np.abs(desired).max()
        np.testing.assert_allclose(actual, desired, rtol=0, atol=relative * scale)


@pytest.mark.parametrize("name", CASES)
def test_equals_lax_convolution_with_gradients(name):
    x, kernel, settings = draw(CASES[name])
    actual = value_and_gradients(conv.conv2d, x, kernel, **settings)
    desired = value_and_gradients(reference, x, kernel, **settings)
    for a, d in zip(actual, desired, strict=True):
        assert a.dtype == jnp.float32
        assert_close(a, d, 1e-5)  # Another order of up to 1536 float32 additions.


@pytest.mark.parametrize("name", ["3x3", "1x1", "downsampling", "2x2 map"])
def test_bfloat16_stays_near_float32(name):
    x, kernel, settings = draw(CASES[name], jnp.bfloat16)
    actual = value_and_gradients(conv.conv2d, x, kernel, **settings)
    exact = (x.astype(jnp.float32), kernel.astype(jnp.float32))
    desired = value_and_gradients(reference, *exact, **settings)
    for a, d in zip(actual, desired, strict=True):
        assert a.dtype == jnp.bfloat16
        assert_close(a, d, 2e-2)  # bfloat16 has 8 bits; dy, sums and results round.


@pytest.mark.parametrize("size", [(8, 6), (3, 5), (1, 1)], ids=str)
def test_upsampled_equals_convolution_of_the_enlarged_image(size):
    x, kernel, _ = draw((3, *size, 4, 5, (3, 3), None, None))

    def enlarged(x, kernel):
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return reference(x, kernel, strides=(1, 1), padding=ONE)

    actual = value_and_gradients(conv.upsampled_conv2d, x, kernel)
    desired = value_and_gradients(enlarged, x, kernel)
    for a, d in zip(actual, desired, strict=True):
        assert_close(a, d, 1e-5)


@pytest.mark.parametrize("name", ["more channels before", "more patches than channels"])
def test_products_of_kernel_gradients_begin_with_the_narrow_factor(name):
    x, kernel, settings = draw(CASES[name])
    kh, kw, channels, features = kernel.shape
    narrow, wide = 3 * features, kw * channels
    if settings["strides"] != (1, 1):
        narrow, wide = features, kh * kw * channels

    def loss(kernel):
        return jnp.sin(conv.conv2d(x, kernel, **settings)).sum()

    program = jax.jit(jax.grad(loss)).lower(kernel).compile().as_text()
    assert re.search(rf"f32\[{narrow},{wide}\]\S* dot\(", program)
    assert not re.search(rf"f32\[{wide},{narrow}\]\S* dot\(", program)


def test_gradient_of_few_channels_with_strides_is_no_convolution_with_holes():
    def program(channels):
        x, kernel = jnp.ones((2, 16, 16, channels)), jnp.ones((3, 3, channels, 8))

        def loss(x):
            y = conv.conv2d(x, kernel, strides=(2, 2), padding=((0, 1), (0, 1)))
            return jnp.sin(y).sum()

        return jax.jit(jax.grad(loss)).lower(x).compile().as_text()

    assert "lhs_dilate" not in program(16)
    assert "lhs_dilate" in program(48)  # There XLA's own is faster.


def test_chunks_are_used_and_divide_the_rows_of_a_device(monkeypatch):
    size = chunks.CHUNK_BYTES
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert chunks.count(6, 2 * size) == 6  # Nothing fits: one image a chunk.
    assert chunks.count(6, size // 2) == 3
    assert chunks.count(6, 1) == 1
    assert chunks.count(0, 2**30) == 1
    batch, height, width, channels, features, *_ = CASES["several chunks"]
    image_bytes = 4 * height * width * 3 * (channels + features)
    assert chunks.count(batch, image_bytes) > 1
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert chunks.count(24, 2 * size) == 6  # Four images, one for each device.
    assert chunks.count(2, 2 * size) == 1
    assert chunks.count(6, 2 * size) == 3  # Split over two at most.
    assert chunks.count(7, 2 * size) == 7  # And this one not at all.


@pytest.mark.parametrize("name", ["3x3", "more patches than channels", "empty batch"])
def test_patches_are_written_out_in_parts_of_the_batch(name, monkeypatch):
    x, kernel, settings = draw(CASES[name])
    whole = value_and_gradients(conv.conv2d, x, kernel, **settings)

    def count():
        jax.clear_caches()
        text = jax.jit(lambda x: conv.conv2d(x, kernel, **settings)).lower(x).as_text()
        return text.count("stablehlo.convolution")

    assert count() == 1
    height, width = whole[0].shape[1:3]
    patches = 4 * height * width * kernel.size // kernel.shape[-1]
    monkeypatch.setattr(chunks, "PATCH_BYTES", 2 * patches)
    assert count() == 1  # Parts of a batch that is split lie on other devices.
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert count() == max(len(x) // 2, 1)
    parts = value_and_gradients(conv.conv2d, x, kernel, **settings)
    for a, d in zip(parts, whole, strict=True):
        assert_close(a, d, 1e-6)
    monkeypatch.setattr(chunks, "PATCH_BYTES", 1)
    assert count() == max(len(x), 1)


def test_bands_divide_the_rows():
    size = chunks.CHUNK_BYTES
    assert chunks.count_bands(12, 1) == 2  # One would be no loop.
    assert chunks.count_bands(12, 3 * size) == 3
    assert chunks.count_bands(12, 5 * size) == 6
    assert chunks.count_bands(7, 2 * size) == 7
    assert chunks.count_bands(1, 2 * size) == 1
    assert chunks.count_bands(0, 0) == 1


@pytest.mark.parametrize("groups", [1, 5])
def test_vmap_equals_a_loop(groups):
    x, kernel, settings = draw(CASES["3x3"])
    kernel, settings = kernel[:, :, : 5 // groups, :5], settings | dict(groups=groups)
    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel + 1])

    def gradients(x, kernel):
        return value_and_gradients(conv.conv2d, x, kernel, **settings)

    together = jax.vmap(gradients)(xs, kernels)
    for i in range(2):
        for a, d in zip(together, gradients(xs[i], kernels[i]), strict=True):
            assert_close(a[i], d, 1e-5)


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
@pytest.mark.parametrize("groups", [1, 4])
def test_batch_split_over_devices_equals_one_device(groups, monkeypatch):
    monkeypatch.setattr(
        chunks, "CHUNK_BYTES", 2**14
    )  # Several chunks of a small batch.
    x, kernel, settings = draw((32, 6, 6, 4, 4, (3, 3), (1, 1), ONE))
    kernel, settings = kernel[:, :, : 4 // groups], settings | dict(groups=groups)
    whole = value_and_gradients(conv.conv2d, x, kernel, **settings)
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    x, kernel = jax.device_put(x, rows), jax.device_put(kernel, replicated)
    split = value_and_gradients(conv.conv2d, x, kernel, **settings)
    for a, d in zip(split, whole, strict=True):
        assert_close(a, d, 1e-5)

    @jax.jit
    def gradients(x, kernel):
        def loss(x, kernel):
            return (conv.conv2d(x, kernel, **settings) ** 2).sum()

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    program = gradients.lower(x, kernel).compile().as_text()
    assert "while" in program  # Chunks are used,
    assert "all-gather" not in program  # and hold rows of all devices.


def test_layer_has_torch_parameters():
    layer = conv.Conv2D(8, kernel_size=(3, 5))
    x = jnp.ones((2, 6, 6, 4))
    params = layer.init(jax.random.key(0), x)["params"]
    assert params["kernel"].shape == (3, 5, 4, 8)
    assert params["bias"].shape == (8,)
    bound = (4 * 3 * 5) ** -0.5
    for leaf in jax.tree.leaves(params):
        assert np.abs(leaf).max() <= bound
    assert np.abs(params["kernel"]).max() > 0.9 * bound
    y = layer.apply({"params": params}, x)
    desired = reference(x, params["kernel"], strides=(1, 1), padding=ONE)
    assert_close(y, desired + params["bias"], 1e-5)


@pytest.mark.parametrize("layer", [conv.Conv2D(3), linear.Linear(3)])
def test_dtype_is_of_the_computation_only(layer):
    layer = layer.clone(dtype=jnp.bfloat16, use_bias=False)
    x = jnp.ones((2, 6, 6, 4))
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    assert list(variables["params"]) == ["kernel"]
    assert variables["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_gradients_of_1x1_kernels_and_patches_are_not_transposed(strides):
    """They are products of arrays as they lie; others double the time of a step."""
    side = 1 if strides == 2 else strides
    x, kernel = jnp.ones((4, 12, 12, 32)), jnp.ones((side, side, 32, 64))
    apply = functools.partial(conv.conv2d, strides=(strides, strides), padding=NONE)

    def gradient(x, kernel, dy):
        return jax.vjp(functools.partial(apply, x), kernel)[1](dy)

    compiled = jax.jit(gradient).lower(x, kernel, apply(x, kernel)).compile()
    orders = re.findall(r" (\w+\[[\d,]*\])\S* (?:transpose|copy)\(", compiled.as_text())
    patches = "f32[4,4,4,3,3,32]"  # Copied into rows once, on the way there.
    assert set(orders) <= ({patches} if side > 1 else set())
