"""Terms of variational autoencoders are those of slow obvious sums."""

import numpy as np

from mvjax.losses import variational


def test_gaussian_kl_matches_a_plain_sum():
    mean, logvar = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    rows = []
    for m, s in zip(mean, logvar, strict=True):
        rows.append(sum(0.5 * (np.exp(s) + m**2 - 1 - s)))
    np.testing.assert_allclose(
        variational.gaussian_kl(mean, logvar), np.mean(rows), rtol=1e-5
    )


def test_gaussian_kl_of_the_prior_is_zero():
    assert variational.gaussian_kl(np.zeros((4, 3)), np.zeros((4, 3))) == 0


def test_categorical_kl_matches_a_plain_sum():
    logits = np.random.default_rng(1).normal(size=(4, 3, 5)).astype(np.float32)
    rows = []
    for row in logits:
        total = 0.0
        for variable in row:
            q = np.exp(variable) / np.sum(np.exp(variable))
            total += np.sum(q * np.log(q * len(q)))
        rows.append(total)
    np.testing.assert_allclose(
        variational.categorical_kl(logits), np.mean(rows), rtol=1e-5
    )


def test_categorical_kl_goes_from_zero_to_the_entropy_of_the_uniform():
    uniform, certain = np.zeros((2, 3, 5)), np.zeros((2, 3, 5))
    certain[..., 0] = 50.0
    np.testing.assert_allclose(variational.categorical_kl(uniform), 0, atol=1e-6)
    np.testing.assert_allclose(
        variational.categorical_kl(certain), 3 * np.log(5), rtol=1e-5
    )


def test_squared_errors_sum_over_all_but_the_batch():
    x, y = np.random.default_rng(2).normal(size=(2, 3, 4, 4, 2)).astype(np.float32)
    expected = [np.sum((a - b) ** 2) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(variational.squared_errors(x, y), expected, rtol=1e-5)
