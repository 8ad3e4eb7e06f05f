"""Distance correlation is what its definition says, and safe where it is not defined."""

import jax
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.losses import distance_correlation

correlation = jax.jit(distance_correlation.correlation)
gradient = jax.jit(jax.grad(distance_correlation.correlation))


def slow(x, y):
    def centred(x):
        n = len(x)
        a = np.array([[np.sqrt(max(np.sum((p - q) ** 2), 1e-4)) for q in x] for p in x])
        h = np.eye(n) - 1 / n
        return h @ a @ h

    a, b = centred(x.astype(np.float64)), centred(y.astype(np.float64))
    return np.sqrt(np.mean(a * b)) / (np.mean(a * a) * np.mean(b * b)) ** 0.25


def draw(rows=12):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    y = (x[:, :3] ** 2 + 0.1 * rng.normal(size=(rows, 3))).astype(np.float32)
    return x, y


def test_equals_its_definition():
    x, y = draw()
    np.testing.assert_allclose(correlation(x, y), slow(x, y), rtol=1e-5)


def test_is_one_for_what_moves_and_scales_alike():
    x, _ = draw()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    y = (3 * x @ rotation + 2).astype(np.float32)
    np.testing.assert_allclose(correlation(x, y), 1, rtol=1e-5)


@pytest.mark.parametrize("rows", [2, 12])
def test_equal_rows_have_finite_gradients(rows):
    x, y = draw(rows)
    x[1] = x[0]
    assert np.isfinite(correlation(x, y))
    assert np.isfinite(gradient(x, y)).all()


def test_a_constant_is_independent_of_everything():
    x, y = draw()
    constant = np.ones_like(x)
    assert correlation(constant, y) == 0
    assert correlation(y, constant) == 0
    assert not np.asarray(gradient(constant, y)).any()


@pytest.mark.parametrize("rows", [2, 12])
@pytest.mark.parametrize("value", [0.0, 1000.3])
def test_neither_variable_learns_from_a_constant(rows, value):
    _, y = draw(rows)
    constant = np.full((rows, 7), value, np.float32)  # Of codes that have collapsed.
    both = jax.jit(jax.value_and_grad(distance_correlation.correlation, (0, 1)))
    for pair in ((constant, y), (y, constant), (constant, constant)):
        found, gradients = both(*pair)
        assert found == 0
        for gradient in gradients:
            np.testing.assert_array_equal(gradient, 0)


def test_other_shapes_are_refused():
    x, y = draw()
    for a, b in ((x, y[1:]), (x[:1], y[:1]), (x[:, 0], y)):
        with pytest.raises(errors.UserError, match="at least 2 samples"):
            distance_correlation.correlation(a, b)
