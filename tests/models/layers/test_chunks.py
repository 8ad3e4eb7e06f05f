"""Functions of chunks equal those of the whole batch, and chunks suit the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import chunks


def test_count_divides_the_rows_of_a_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert chunks.count(6, 200, most=100) == 6  # Nothing fits: one image a chunk.
    assert chunks.count(6, 50, most=100) == 3
    assert chunks.count(6, 50, most=300) == 1
    assert chunks.count(0, 2**30, most=100) == 1
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert chunks.count(24, 200, most=100) == 6  # Four images, one for each device.
    assert chunks.count(2, 200, most=100) == 1


@pytest.mark.parametrize("count", [1, 2, 6])
def test_chunks_equal_the_whole_batch(count):
    x = jnp.arange(24.0).reshape(6, 4)
    y = x + 1

    def multiply(x, y):
        return {"products": x.T @ y, "sum": x.sum(0)}

    total = jax.jit(lambda x, y: chunks.add(multiply, x, y, count))(x, y)
    np.testing.assert_allclose(total["products"], x.T @ y)
    np.testing.assert_allclose(total["sum"], x.sum(0))
