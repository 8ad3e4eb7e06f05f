"""CLUB bounds are those of slow obvious loops, and vanish where they must."""

import jax
import numpy as np

from mvjax.losses import club

B, D, K = 6, 3, 4


def draw():
    generator = np.random.default_rng(0)
    mean, logvar, y = generator.normal(size=(3, B, D)).astype(np.float32)
    return mean, logvar, y, generator.permutation(B)


def log_q(mean, logvar, y):
    """Gaussian log density without its constant."""
    total = 0.0
    for d in range(len(y)):
        total += -0.5 * (mean[d] - y[d]) ** 2 / np.exp(logvar[d]) - 0.5 * logvar[d]
    return total


def test_log_likelihood_is_twice_the_density_without_its_constant():
    mean, logvar, y, _ = draw()
    expected = np.mean([2 * log_q(mean[b], logvar[b], y[b]) for b in range(B)])
    np.testing.assert_allclose(
        club.log_likelihood(mean, logvar, y), expected, rtol=1e-5
    )


def test_upper_bound_contrasts_each_sample_with_all():
    mean, logvar, y, _ = draw()
    rows = [
        log_q(mean[b], logvar[b], y[b])
        - np.mean([log_q(mean[b], logvar[b], y[j]) for j in range(B)])
        for b in range(B)
    ]
    np.testing.assert_allclose(
        club.upper_bound(mean, logvar, y), np.mean(rows), rtol=1e-5
    )


def test_sampled_upper_bound_contrasts_each_sample_with_one():
    mean, logvar, y, permutation = draw()
    rows = [
        log_q(mean[b], logvar[b], y[b]) - log_q(mean[b], logvar[b], y[permutation[b]])
        for b in range(B)
    ]
    np.testing.assert_allclose(
        club.sampled_upper_bound(mean, logvar, y, permutation),
        np.mean(rows),
        rtol=1e-5,
    )


def test_upper_bound_is_the_mean_of_sampled_ones_over_all_shifts():
    mean, logvar, y, _ = draw()
    shifts = [np.roll(np.arange(B), s) for s in range(B)]
    sampled = [club.sampled_upper_bound(mean, logvar, y, s) for s in shifts]
    np.testing.assert_allclose(
        club.upper_bound(mean, logvar, y), np.mean(sampled), rtol=1e-5
    )


def test_bounds_vanish_when_q_ignores_x():
    mean, logvar, y, permutation = draw()
    mean, logvar = np.tile(mean[:1], (B, 1)), np.tile(logvar[:1], (B, 1))
    for bound in (
        club.upper_bound(mean, logvar, y),
        club.sampled_upper_bound(mean, logvar, y, permutation),
        club.categorical_upper_bound(np.ones((B, K)), np.arange(B) % K),
    ):
        np.testing.assert_allclose(
            bound, 0, atol=1e-5
        )  # A difference of sums of O(10).


def test_categorical_terms_match_a_plain_loop():
    logits = np.random.default_rng(1).normal(size=(B, K)).astype(np.float32)
    labels = np.arange(B) % K
    log_q = logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True))
    positive = np.mean([log_q[b, labels[b]] for b in range(B)])
    negative = np.mean([log_q[i, labels[j]] for i in range(B) for j in range(B)])
    np.testing.assert_allclose(
        club.categorical_log_likelihood(logits, labels), positive, rtol=1e-5
    )
    np.testing.assert_allclose(
        club.categorical_upper_bound(logits, labels), positive - negative, rtol=1e-5
    )


def test_gradient_of_the_likelihood_vanishes_at_the_best_mean():
    _, logvar, y, _ = draw()
    gradient = jax.grad(club.log_likelihood)(y, logvar, y)
    np.testing.assert_array_equal(gradient, 0)
