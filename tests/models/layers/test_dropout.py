"""Dropout of elements, and of whole maps."""

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.models.layers import dropout


def test_whole_maps_of_a_sample_stay_or_go():
    seed = jax.random.key_data(jax.random.key(1))
    x = jnp.ones((64, 3, 5, 40))
    y = np.asarray(dropout.Dropout(0.2, channels=True).apply({}, x, seed))
    assert (y == y[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(y), [0, 1.25])
    assert abs(y.mean() - 1) < 0.06  # Six deviations of 2,560 maps.
    by_sample = y[:, 0, 0].any(axis=1) & ~y[:, 0, 0].all(axis=1)
    assert by_sample.all()  # Each loses some, not all alike.
    assert len(np.unique(y[:, 0, 0], axis=0)) > 60
