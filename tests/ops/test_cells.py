"""Histograms of cells count what lies in them."""

import jax.numpy as jnp
import numpy as np

from mvjax.ops import cells


def test_histograms_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    places = rng.integers(-1, 5, (2, 7, 4, 2))  # -1 and 4 are no bins.
    shares = rng.normal(size=places.shape).astype(np.float32)
    pairs = [(jnp.asarray(places), jnp.asarray(shares)), (jnp.asarray(places), 1.0)]
    found = cells.histograms(pairs, bins=4, pool=3)
    assert found.shape == (2, 2, 1, 8)
    wanted = np.zeros((2, 2, 1, 2, 4))
    for b, i, j, c in np.ndindex(2, 6, 3, 2):
        if 0 <= places[b, i, j, c] < 4:
            wanted[b, i // 3, j // 3, c, places[b, i, j, c]] += shares[b, i, j, c] + 1
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted / 9, atol=1e-6)
