"""Losses of the adversarial game: recorded values, a plain loop, the game's equilibrium."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.losses import adversarial
from tests import dim_golden_losses
from tests import golden_data


def draw():
    return np.random.default_rng(0).normal(size=(2, 5, 1)).astype(np.float32)


@pytest.mark.parametrize("term", ["discriminator", "generator", "generator_extreme"])
def test_term_agrees_with_the_recording(term):
    case = golden_data.load(dim_golden_losses.FILE)
    dim_golden_losses.check_term(case, term)


def test_losses_match_probabilities_in_a_plain_loop():
    real, fake = draw()
    p_real = [1 / (1 + np.exp(-r)) for r in real.ravel()]
    p_fake = [1 / (1 + np.exp(-f)) for f in fake.ravel()]
    log_1_minus = np.mean([np.log(1 - p) for p in p_fake])
    # Logarithms of float32 probabilities are good to 1e-6 or so.
    np.testing.assert_allclose(
        adversarial.discriminator(real, fake),
        -np.mean(np.log(p_real)) - log_1_minus,
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        adversarial.generator(fake), -np.mean(np.log(p_fake)), rtol=1e-5
    )
    np.testing.assert_allclose(
        adversarial.minimax_generator(fake), log_1_minus, rtol=1e-5
    )


def test_undecided_discriminator_pays_two_bits():
    zeros = np.zeros((4, 1), np.float32)
    np.testing.assert_allclose(
        adversarial.discriminator(zeros, zeros), 2 * np.log(2), rtol=1e-6
    )


def test_generators_pull_the_same_way_with_different_force():
    _, fake = draw()
    p = 1 / (1 + np.exp(-fake))
    np.testing.assert_allclose(
        jax.grad(adversarial.generator)(fake), (p - 1) / fake.size, rtol=1e-5
    )
    np.testing.assert_allclose(
        jax.grad(adversarial.minimax_generator)(fake), -p / fake.size, rtol=1e-5
    )


def test_minimax_generator_undoes_the_discriminator():
    real, fake = draw()
    by_discriminator = jax.grad(adversarial.discriminator, argnums=1)(real, fake)
    by_generator = jax.grad(adversarial.minimax_generator)(fake)
    np.testing.assert_allclose(by_generator, -by_discriminator, rtol=1e-6)


@pytest.mark.parametrize("size", [100.0, 1e6])
def test_large_logits_stay_finite(size):
    logits = jnp.array([-size, size])
    for function in (adversarial.generator, adversarial.minimax_generator):
        value, gradient = jax.value_and_grad(function)(logits)
        assert np.isfinite(value) and np.all(np.isfinite(gradient))
    # Half of each side is wrong by `size`.
    np.testing.assert_allclose(
        adversarial.discriminator(logits, logits), size, rtol=1e-6
    )


def test_half_precision_logits_are_summed_in_single():
    real, fake = jnp.asarray(draw(), jnp.bfloat16)
    assert adversarial.discriminator(real, fake).dtype == jnp.float32
    assert adversarial.generator(fake).dtype == jnp.float32
