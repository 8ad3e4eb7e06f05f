"""The cheap formulas are those of the whole matrix, in both shapes, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.losses import cross_correlation

SHAPES = pytest.mark.parametrize("shape", [(6, 20), (20, 6)])  # [B, B] and [K, K].


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    za = rng.normal(size=shape)
    zb = 0.6 * za + rng.normal(size=shape)
    return [((z - z.mean(0)) / z.std(0)).astype(np.float32) for z in (za, zb)]


def slow(za, zb, weight, divisor, target):
    c = za.astype(np.float64).T @ zb.astype(np.float64) / divisor
    off = c - np.diag(np.diag(c))
    on = np.sum((np.diag(c) - target) ** 2)
    return on + weight * np.sum(off**2), on, np.sum(off**2)


@SHAPES
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_redundancy_is_that_of_the_matrix(shape, target):
    za, zb = draw(shape)
    terms = cross_correlation.redundancy(za, zb, weight=0.3, divisor=7.0, target=target)
    np.testing.assert_allclose(terms, slow(za, zb, 0.3, 7.0, target), rtol=2e-5)


@SHAPES
def test_gradients_are_those_of_the_matrix(shape):
    def plain(za, zb):
        c = jnp.matmul(za.T, zb, precision="highest") / 5
        own = jnp.diagonal(c)
        return jnp.sum((own - 1) ** 2) + 0.3 * (jnp.sum(c**2) - jnp.sum(own**2))

    def cheap(za, zb):
        return cross_correlation.redundancy(za, zb, weight=0.3, divisor=5).loss

    inputs = draw(shape)
    desired = jax.jit(jax.grad(plain, argnums=(0, 1)))(*inputs)
    actual = jax.jit(jax.grad(cheap, argnums=(0, 1)))(*inputs)
    for a, d in zip(actual, desired):
        np.testing.assert_allclose(a, d, atol=1e-5 * np.abs(d).max())


def test_equal_views_cost_nothing_on_the_diagonal_and_a_constant_one_is_zero():
    za, _ = draw((8, 5))
    za[:, 2] = 0  # What a norm makes of a dimension that does not vary.
    terms = cross_correlation.redundancy(za, za, weight=0.0, divisor=8)
    np.testing.assert_allclose(terms.diagonal, 1, rtol=1e-5)
    gradient = jax.grad(
        lambda z: cross_correlation.redundancy(z, za, weight=1.0, divisor=8).loss
    )(za)
    assert np.isfinite(gradient).all()


def test_decoupled_leaves_mixed_blocks_alone():
    za, zb = draw((9, 7))
    common, unique = cross_correlation.decoupled(
        za, zb, common=3, weight=0.3, divisor=9
    )
    first = slow(za[:, :3], zb[:, :3], 0.3, 9, 1)
    rest = slow(za[:, 3:], zb[:, 3:], 0.3, 9, 0)
    np.testing.assert_allclose(common, first, rtol=2e-5)
    np.testing.assert_allclose(unique, rest, rtol=2e-5)


@pytest.mark.parametrize("common, empty", [(7, 1), (0, 0)])
def test_no_common_or_no_unique_dimensions_cost_nothing(common, empty):
    terms = cross_correlation.decoupled(
        *draw((9, 7)), common=common, weight=0.3, divisor=9
    )
    np.testing.assert_array_equal(terms[empty], 0)
