"""The three terms are what plain NumPy makes of their definitions."""

import jax
import numpy as np

from mvjax.losses import vicreg


def draw(shape=(6, 9)):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for _ in "ab"]


def test_invariance_is_the_mean_over_all_entries():
    za, zb = draw()
    np.testing.assert_allclose(
        vicreg.invariance(za, zb), np.mean((za - zb) ** 2), rtol=1e-6
    )


def test_variance_is_the_mean_shortfall():
    z, _ = draw()
    std = np.sqrt(np.var(z, axis=0, ddof=1) + 1e-4)
    expected = np.mean(np.maximum(0, 1.2 - std))
    np.testing.assert_allclose(vicreg.variance(z, margin=1.2), expected, rtol=1e-5)


def test_a_dimension_that_does_not_vary_costs_the_margin_and_has_no_gradient():
    z, _ = draw((6, 1))
    z[:] = 2
    value, gradient = jax.value_and_grad(lambda z: vicreg.variance(z, stabiliser=0))(z)
    assert value == 1
    assert not np.asarray(gradient).any()


def test_covariance_is_that_of_numpy():
    for shape in ((6, 9), (12, 5)):
        z, _ = draw(shape)
        c = np.cov(z.T.astype(np.float64))
        expected = (np.sum(c**2) - np.sum(np.diag(c) ** 2)) / shape[1]
        np.testing.assert_allclose(vicreg.covariance(z), expected, rtol=1e-4)
        scaled = vicreg.covariance(z, divisor=2.0)
        factor = ((shape[0] - 1) / 2) ** 2
        np.testing.assert_allclose(scaled, expected * factor, rtol=1e-4)
