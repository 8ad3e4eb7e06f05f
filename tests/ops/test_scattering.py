"""Scattering is what its definition says, at every size that it takes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import scattering

RNG = np.random.default_rng(0)


def scatter(images, **settings):
    return np.asarray(
        jax.jit(functools.partial(scattering.scatter, **settings))(images)
    )


def slow_gabor(shape, sigma, theta, xi, slant):
    """All 5 x 5 periods of the formula, pixel by pixel."""
    c, s = np.cos(theta), np.sin(theta)
    total = np.zeros(shape, complex)
    for x in range(-2 * shape[0], 3 * shape[0]):
        for y in range(-2 * shape[1], 3 * shape[1]):
            along, across = c * x + s * y, c * y - s * x
            form = (along**2 + (slant * across) ** 2) / (2 * sigma**2)
            total[x % shape[0], y % shape[1]] += np.exp(-form + 1j * xi * along)
    return total * slant / (2 * 3.1415 * sigma**2)


def slow(image, scales, angles):
    """Scattering of one plane by circular convolutions at full resolution."""
    pads, grid = [], []
    for side in image.shape:
        whole = ((side + 2**scales) // 2**scales + 1) * 2**scales
        pads.append(((whole - side) // 2, (whole - side + 1) // 2))
        grid.append(whole)
    x = np.pad(image.astype(np.float64), pads, mode="reflect")
    waves = {}
    for j in range(scales):
        for k in range(angles):
            theta = (int(angles - angles / 2 - 1) - k) * np.pi / angles
            make = functools.partial(
                slow_gabor, grid, 0.8 * 2**j, theta, slant=4 / angles
            )
            wave, hill = make(xi=0.75 * np.pi / 2**j), make(xi=0)
            waves[j, k] = wave - wave.sum() / hill.sum() * hill
    phi = slow_gabor(grid, 0.8 * 2 ** (scales - 1), 0, 0, 1)

    def convolve(x, filters, step):
        # Only the real part of a filter's transform is used, as in kymatio.
        product = np.fft.fft2(x) * np.fft.fft2(filters).real
        return np.fft.ifft2(product)[::step, ::step]

    def shrunk(filters, step):  # For a map that is `step` times smaller.
        spectrum = np.fft.fft2(filters).real
        for axis, side in enumerate(grid):
            kept = np.r_[0 : side // step // 2, side - side // step // 2 : side]
            spectrum = np.take(spectrum, kept, axis)
        return np.fft.ifft2(spectrum)

    def mean(x, step):
        y = convolve(x, shrunk(phi, step), 2**scales // step)
        return y.real[1:-1, 1:-1]

    ones, twos = [], []
    for (j, _), wave in waves.items():
        modulus = abs(convolve(x, wave, 2**j))
        ones.append(mean(modulus, 2**j))
        for (larger, _), other in waves.items():
            if larger > j:
                inner = convolve(modulus, shrunk(other, 2**j), 2 ** (larger - j))
                twos.append(mean(abs(inner), 2**larger))
    return np.stack([mean(x, 1), *ones, *twos], axis=-1)


@pytest.mark.parametrize(
    ("scales", "angles", "shape"), [(1, 3, (3, 6)), (2, 2, (9, 6)), (3, 1, (9, 10))]
)
def test_equals_plain_convolutions(scales, angles, shape):
    images = RNG.normal(size=(2, *shape, 2)).astype(np.float32)
    found = scatter(images, scales=scales, angles=angles)
    size = scattering.channels(scales, angles)
    assert found.shape == (2, *(side // 2**scales for side in shape), 2 * size)
    wanted = slow(images[1, ..., 1], scales, angles)
    np.testing.assert_allclose(found[1, ..., size:], wanted, atol=2e-6)


def test_the_first_order_is_the_start_of_the_second():
    images = RNG.normal(size=(2, 9, 9, 1)).astype(np.float32)
    both = scatter(images, scales=2, angles=2)
    first = scatter(images, scales=2, angles=2, order=1)
    assert first.shape[-1] == 5 and both.shape[-1] == 9
    np.testing.assert_allclose(first, both[..., :5], atol=1e-6)
    # One scale has no larger one, so no second order.
    assert scattering.channels(1, 8) == 9
    assert scatter(images, scales=1, angles=8).shape == (2, 4, 4, 9)


def test_a_constant_has_nothing_but_its_mean():
    found = scatter(np.full((1, 16, 16, 1), 2.0, np.float32), scales=2, angles=4)
    np.testing.assert_allclose(found[..., 0], 2, rtol=1e-3)  # 3.1415 is not pi.
    np.testing.assert_allclose(found[..., 1:], 0, atol=1e-5)


def test_filters_are_built_once_a_size():
    bank = scattering.Bank(2, 2, (12, 8))
    assert bank.wavelets() is scattering.Bank(2, 2, (12, 8)).wavelets()
    assert bank.padded == (20, 16) and bank.padding == ((4, 4), (4, 4))


def test_images_must_be_larger_than_the_scale():
    images = jnp.zeros((1, 8, 12, 3))
    assert scatter(images, scales=2, angles=1).shape[1:3] == (2, 3)
    with pytest.raises(errors.UserError, match=r"scales=3.* 8 x 12.*scales: 1 to 2\."):
        scattering.scatter(images, scales=3)
    with pytest.raises(errors.UserError, match="scales: none"):
        scattering.scatter(images[:, :2], scales=1)
    with pytest.raises(errors.UserError, match="at least one"):
        scattering.scatter(images, scales=0)
    with pytest.raises(errors.UserError, match="orders 1 and 2, not 3"):
        scattering.scatter(images, order=3)
