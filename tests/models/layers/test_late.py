"""Arrays are made late, as they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import chunks
from mvjax.models.layers import conv
from mvjax.models.layers import late

LAYERS, WIDTH = 6, 128


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    """Several would not wait."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@pytest.mark.parametrize("first", [0.0, -1.0, 2.0, np.nan, np.inf, -np.inf])
def test_what_is_waited_for_changes_nothing(first):
    after = jnp.full((2, 3), first, jnp.bfloat16)
    x = jnp.asarray([1.0, -0.0, jnp.nan, jnp.inf])
    waited = jax.jit(late.wait)(x, after=after)
    np.testing.assert_array_equal(np.signbit(waited), np.signbit(x))
    np.testing.assert_array_equal(waited, x)
    zeros = jax.jit(functools.partial(late.zeros, (2, 2), jnp.float32))(after=after)
    np.testing.assert_array_equal(zeros, jnp.zeros((2, 2)))


def _convolutions(x: jax.Array, kernels: list[jax.Array]) -> jax.Array:
    for kernel in kernels:
        x = jnp.sin(conv.conv2d(x, kernel, strides=(1, 1), padding=((1, 1), (1, 1))))
    return x


def test_a_step_keeps_no_second_kernels(monkeypatch):
    """Neither turned kernels, nor zeros to add gradients to, nor kernels of before."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**21)

    def step(kernels, x):
        gradients = jax.grad(lambda kernels: _convolutions(x, kernels).sum())(kernels)
        return jax.tree.map(lambda k, g: k - 0.1 * g, kernels, gradients)

    # As for a training step, what is given makes room for what is returned.
    step = jax.jit(step, donate_argnums=0)
    kernel = jax.ShapeDtypeStruct((3, 3, WIDTH, WIDTH), jnp.float32)
    x = jax.ShapeDtypeStruct((32, 6, 6, WIDTH), jnp.float32)
    compiled = step.lower([kernel] * LAYERS, x).compile()
    maps = 2 * LAYERS * 4 * x.size  # Before and after each sine.
    spent = compiled.memory_analysis().temp_size_in_bytes - maps
    # One layer's: the patches are as large as three kernels, or four.
    assert spent < 8 * 4 * kernel.size, spent / (4 * kernel.size)


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_those_of_lax(side, stride, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2**12)
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (4, 8, 8, 3))
    kernel = jax.random.normal(keys[1], (side, side, 3, 5))
    margin = side // 2

    def ours(x, kernel):
        return conv.conv2d(
            x, kernel, strides=(stride, stride), padding=((margin, margin),) * 2
        )

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            ((margin, margin),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def gradients(function):
        loss = lambda x, kernel: jnp.cos(function(x, kernel)).sum()  # noqa: E731
        return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

    found, wanted = gradients(ours), gradients(plain)
    for a, b in zip(found, wanted, strict=True):  # Sums of up to 256 numbers.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_no_gradient_is_computed_of_what_wants_none():
    x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 4))

    def loss(kernel, x):
        return _convolutions(x, [kernel]).sum()

    def count(program):
        return str(program).count("conv_general_dilated[")

    both = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(kernel, x)
    assert count(both) == 2
    # A checkpoint computes what comes before the gradient again.
    for function, most in ((loss, 1), (jax.jit(loss), 1), (jax.checkpoint(loss), 2)):
        assert count(jax.make_jaxpr(jax.grad(function))(kernel, x)) == most


def test_pixels_that_a_stride_leaves_are_not_kept():
    def loss(kernels, x):
        for kernel in kernels:
            picked = conv.conv2d(x, kernel, strides=(2, 2), padding=((0, 0), (0, 0)))
            x = x + jnp.sin(jnp.repeat(jnp.repeat(picked, 2, axis=1), 2, axis=2))
        return jnp.cos(x).sum()

    x, kernel = jnp.ones((2, 8, 8, 16)), jnp.ones((1, 1, 16, 16))
    _, pull_back = jax.vjp(loss, [kernel], x)
    shapes = [leaf.shape for leaf in jax.tree.leaves(pull_back)]
    assert not {(2, 4, 4, 16), (32, 16)} & set(shapes), shapes
