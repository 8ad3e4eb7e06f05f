"""What is computed alone has the same values, and XLA computes it once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import alone


def double(x, y):
    return 2 * x + y


def test_equals_the_function_also_under_vmap():
    x, y = jnp.arange(6.0).reshape(2, 3), jnp.ones((2, 3))

    def run(x, y):
        return alone.run(double, x, y, probe=x[0])

    np.testing.assert_array_equal(jax.vmap(run)(x, y), double(x, y))
    np.testing.assert_array_equal(jax.jit(run)(x[0], y[0]), double(x[0], y[0]))


@pytest.mark.only_cpu
def test_several_arrays_may_come_out():
    x = jnp.arange(4.0)
    both = alone.run(lambda x: {"twice": 2 * x, "sum": x.sum()}, x, probe=x[0])
    np.testing.assert_array_equal(both["twice"], 2 * x)
    assert both["sum"] == 6
    both = alone.run(lambda x: [x, x.sum()], x, probe=jnp.nan)
    assert all(np.isnan(part).all() for part in both)


@pytest.mark.only_cpu
def test_a_probe_of_nan_makes_all_nan():
    x = jnp.array([jnp.nan, 1.0])
    assert np.isnan(alone.run(double, x, x, probe=x[0])).all()


@pytest.mark.only_cpu
def test_nothing_is_fused_with_it():
    """A cheap result that two operations read is computed once."""

    def twice(x, probe):
        y = alone.run(jnp.sin, x, probe=probe)
        return jnp.cos(y), jnp.flip(y) ** 2

    x = jnp.ones(100)
    program = jax.jit(twice).lower(x, jnp.ones(())).compile().as_text()
    assert program.count(" sine(") == 1
    assert "conditional(" in program
