"""Samples follow their distributions; the temperature falls as published."""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.ops import sampling


def test_gaussian_without_noise_is_the_mean():
    mean, logvar = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_array_equal(
        sampling.gaussian(mean, logvar, np.zeros((4, 3))), mean.astype(np.float32)
    )


def test_gaussian_has_the_asked_variance():
    noise = np.random.default_rng(0).normal(size=(20_000, 2))
    logvar = np.log([0.25, 4.0])
    z = sampling.gaussian(np.ones((1, 2)), logvar[None], noise)
    # The relative standard error of a variance of n samples is sqrt(2 / n) = 1 %.
    np.testing.assert_allclose(np.var(z, axis=0), [0.25, 4.0], rtol=0.05)


def test_gumbel_code_is_a_row_of_distributions():
    generator = np.random.default_rng(0)
    logits, uniform = generator.normal(size=(4, 3, 5)), generator.random((4, 3, 5))
    code = sampling.gumbel_softmax(logits, uniform, 0.7)
    np.testing.assert_allclose(np.sum(code.reshape(4, 3, 5), axis=-1), 1, rtol=1e-5)


def test_cold_gumbel_code_chooses_with_the_probabilities():
    probabilities = np.array([0.5, 0.3, 0.2])
    uniform = np.random.default_rng(0).random((20_000, 1, 3))
    code = sampling.gumbel_softmax(
        np.broadcast_to(np.log(probabilities), (20_000, 1, 3)), uniform, 1e-3
    )
    # The standard error of a share of n samples is below 0.5 / sqrt(n) = 0.4 %.
    np.testing.assert_allclose(np.mean(code, axis=0), probabilities, atol=0.02)


def test_gumbel_gradient_is_finite_at_the_ends_of_the_noise():
    uniform = np.array([[[0.0, 1 - 1e-7, 0.5]]], np.float32)
    gradient = jax.grad(
        lambda logits: sampling.gumbel_softmax(logits, uniform, 0.5)[0, 0]
    )(jnp.zeros((1, 1, 3)))
    assert np.all(np.isfinite(gradient))


def test_temperature_falls_in_each_fifth_epoch_down_to_a_floor():
    temperature = jnp.float32(1.0)
    assert sampling.anneal_temperature(temperature, 3) == 1
    np.testing.assert_allclose(
        sampling.anneal_temperature(temperature, 10), np.exp(-3e-4), rtol=1e-6
    )
    assert sampling.anneal_temperature(temperature, 10**6) == sampling.MIN_TEMPERATURE
