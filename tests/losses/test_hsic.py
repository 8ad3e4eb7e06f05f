"""HSIC is what its definitions say, vanishes for constants, and has safe gradients."""

import itertools

import jax
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.losses import hsic

B, D, E = 7, 3, 2
# Many small operations take their time to compile one by one.
BIASED, UNBIASED = jax.jit(hsic.biased), jax.jit(hsic.unbiased)
BOTH = pytest.mark.parametrize(
    "criterion", [BIASED, UNBIASED], ids=["biased", "unbiased"]
)


def draw(seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(B, D)).astype(np.float32)
    noise = generator.normal(size=(B, E)).astype(np.float32)
    return x, x[:, :E] + noise


def median_distance(x):
    pairs = itertools.combinations(x.astype(np.float64), 2)
    return np.median([np.sqrt(np.sum((a - b) ** 2)) for a, b in pairs])


def kernel(x, bandwidth):
    x = x.astype(np.float64)
    rows = [[np.exp(-np.sum((a - b) ** 2) / 2 / bandwidth**2) for a in x] for b in x]
    return np.array(rows)


def biased(k, m):
    n = len(k)
    centring = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ centring @ m @ centring) / n**2


def unbiased(k, m):
    """Sums over tuples of different samples (Gretton et al., 2005, theorem 1)."""
    n = len(k)
    pairs = list(itertools.permutations(range(n), 2))
    triples = list(itertools.permutations(range(n), 3))
    fours = list(itertools.permutations(range(n), 4))
    return (
        np.mean([k[i, j] * m[i, j] for i, j in pairs])
        + np.mean([k[i, j] * m[q, r] for i, j, q, r in fours])
        - 2 * np.mean([k[i, j] * m[i, q] for i, j, q in triples])
    )


@pytest.mark.parametrize("given", [None, 0.7])
@pytest.mark.parametrize(
    ("criterion", "definition"),
    [(BIASED, biased), (UNBIASED, unbiased)],
    ids=["biased", "unbiased"],
)
def test_criterion_matches_its_definition(criterion, definition, given):
    x, y = draw()
    expected = definition(
        kernel(x, given or median_distance(x)), kernel(y, given or median_distance(y))
    )
    found = criterion(x, y, bandwidth_x=given, bandwidth_y=given)
    # Sums of terms of order 1 that leave about 0.01.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_median_bandwidth_matches_a_plain_loop():
    for x in draw():
        np.testing.assert_allclose(
            hsic.median_bandwidth(x), median_distance(x), rtol=1e-5
        )
    assert hsic.median_bandwidth(np.zeros((4, 2))) == 1
    assert hsic.median_bandwidth(np.zeros((1, 2))) == 1


@BOTH
def test_constant_input_has_no_dependence_and_finite_gradients(criterion):
    x, y = draw()
    constant = np.full_like(y, 3.0)
    np.testing.assert_allclose(criterion(x, constant), 0, atol=1e-6)  # Rounding.
    gradients = jax.jit(jax.grad(criterion, argnums=(0, 1)))(x, constant)
    assert all(np.all(np.isfinite(g)) for g in gradients)


@BOTH
def test_equal_rows_have_finite_gradients(criterion):
    x, y = draw()
    x[1], y[2] = x[0], y[0]
    gradients = jax.jit(jax.grad(criterion, argnums=(0, 1)))(x, y)
    assert all(np.all(np.isfinite(g)) and np.any(g) for g in gradients)


@BOTH
def test_gradient_matches_finite_differences_at_fixed_bandwidth(criterion):
    x, y = draw()
    # The gradient through the median is stopped, so the differences keep it too.
    bandwidths = dict(bandwidth_x=median_distance(x), bandwidth_y=median_distance(y))
    gradient = np.asarray(jax.jit(jax.grad(criterion))(x, y))
    step = 3e-2  # Truncation about 1e-3 of the slope, rounding 1e-8 / step.
    for i, d in itertools.product(range(B), range(D)):
        shift = np.zeros_like(x)
        shift[i, d] = step
        slope = (
            criterion(x + shift, y, **bandwidths)
            - criterion(x - shift, y, **bandwidths)
        ) / (2 * step)
        np.testing.assert_allclose(gradient[i, d], slope, atol=2e-5)


@BOTH
def test_criterion_is_symmetric_and_ignores_scale_shift_and_order(criterion):
    x, y = draw()
    value = criterion(x, y)
    order = np.random.default_rng(1).permutation(B)
    for other in (
        criterion(y, x),
        criterion(4 * x + 1, 0.5 * y - 2),
        criterion(x[order], y[order]),
    ):
        np.testing.assert_allclose(other, value, rtol=1e-4, atol=1e-7)


def test_unbiased_averages_to_zero_for_independent_variables_and_biased_does_not():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 400, B, 2)).astype(np.float32)
    means, error = {}, {}
    for criterion in (BIASED, UNBIASED):
        values = np.asarray(jax.jit(jax.vmap(criterion))(x, y))
        means[criterion] = np.mean(values)
        error[criterion] = np.std(values) / np.sqrt(len(values))
    # The bandwidth follows the sample, but independently in x and in y.
    assert abs(means[UNBIASED]) < 4 * error[UNBIASED]
    assert means[BIASED] > 20 * error[BIASED]


def test_dependence_stands_out():
    x = np.random.default_rng(3).normal(size=(60, 2)).astype(np.float32)
    other = np.random.default_rng(4).normal(size=(60, 2)).astype(np.float32)
    for criterion in (BIASED, UNBIASED):
        assert criterion(x, x**2) > 3 * abs(criterion(x, other))


def test_small_and_unequal_batches_are_named():
    x, y = draw()
    assert hsic.biased(x[:1], y[:1]) == 0
    with pytest.raises(errors.UserError, match="at least 4"):
        hsic.unbiased(x[:3], y[:3])
    with pytest.raises(errors.UserError, match=r"\(7, 3\) and \(6, 2\)"):
        hsic.biased(x, y[:6])
