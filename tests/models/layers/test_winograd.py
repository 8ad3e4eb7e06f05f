"""Winograd's convolutions equal the direct ones in float64, in chunks and on devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import chunks
from mvjax.models.layers import conv
from mvjax.models.layers import winograd

PADDINGS = {
    "one": ((1, 1), (1, 1)),
    "none": ((0, 0), (0, 0)),
    "uneven": ((2, 0), (0, 1)),
}


def draw(height=6, width=8, channels=5, features=7):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, height, width, channels))
    kernel = rng.normal(size=(3, 3, channels, features))
    return x, kernel


def direct(x, kernel, padding):
    """Output, and both gradients of half its sum of squares, in float64 by NumPy."""
    size = [x.shape[1 + i] + sum(padding[i]) - 2 for i in (0, 1)]
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    places = [
        (slice(i, i + size[0]), slice(j, j + size[1]), i, j)
        for i in range(3)
        for j in range(3)
    ]
    y = sum(padded[:, r, c] @ kernel[i, j] for r, c, i, j in places)
    dx, dk = np.zeros_like(padded), np.zeros_like(kernel)
    for r, c, i, j in places:
        dx[:, r, c] += y @ kernel[i, j].T
        dk[i, j] = np.einsum("bhwc,bhwd->cd", padded[:, r, c], y)
    (top, _), (left, _) = padding
    return y, dx[:, top : top + x.shape[1], left : left + x.shape[2]], dk


def winograd_all(x, kernel, padding):
    y = winograd.conv2d(x, kernel, padding)
    dx = winograd.input_gradient(y, kernel, padding)
    return y, dx, winograd.kernel_gradient(x, y, padding)


def assert_near(actual, desired):
    for a, d in zip(actual, desired, strict=True):
        assert a.dtype == jnp.float32
        # A few hundred float32 additions, relative to the largest entry.
        np.testing.assert_allclose(a, d, rtol=0, atol=2e-6 * np.abs(d).max())


@pytest.mark.parametrize("size", [(6, 8), (7, 6), (5, 9)], ids=str)
@pytest.mark.parametrize("padding", PADDINGS)
def test_equals_the_direct_sum(size, padding):
    x, kernel = draw(*size)
    desired = direct(x, kernel, PADDINGS[padding])
    run = jax.jit(winograd_all, static_argnums=2)
    actual = run(jnp.float32(x), jnp.float32(kernel), PADDINGS[padding])
    assert_near(actual, desired)


def test_chunks_change_nothing(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 1)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    x, kernel = draw()
    padding = PADDINGS["one"]
    run = jax.jit(lambda x, kernel: winograd_all(x, kernel, padding))
    x32, kernel32 = jnp.float32(x), jnp.float32(kernel)
    assert "while" in run.lower(x32, kernel32).as_text()
    assert_near(run(x32, kernel32), direct(x, kernel, padding))


def test_convolutions_of_many_channels_use_it_where_it_applies():
    x, kernel = jnp.zeros((2, 8, 8, 128)), jnp.zeros((3, 3, 128, 128))
    one, pad = (1, 1), PADDINGS["one"]
    assert winograd.applies(x, kernel, one, pad)
    assert not winograd.applies(x, kernel, (2, 2), pad)
    assert not winograd.applies(x, kernel[:2], one, pad)
    assert not winograd.applies(x, kernel[..., :127], one, pad)
    assert not winograd.applies(x, kernel, one, ((3, 1), (1, 1)))
    assert not winograd.applies(x.astype(jnp.bfloat16), kernel, one, pad)
    lowered = jax.jit(lambda x: conv.conv2d(x, kernel, strides=one, padding=pad))
    assert "convolution" not in lowered.lower(x).as_text()
