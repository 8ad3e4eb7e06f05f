"""The cosine transform is SciPy's."""

import numpy as np
import scipy.fft

from mvjax.ops import dct


def test_equals_scipy():
    images = np.random.default_rng(0).normal(size=(2, 6, 9, 3)).astype(np.float32)
    wanted = scipy.fft.dctn(images.astype(np.float64), axes=(1, 2))
    np.testing.assert_allclose(dct.dct2(images), wanted, atol=1e-5)


def test_a_constant_has_the_lowest_frequency_alone():
    found = np.array(dct.dct2(np.ones((1, 224, 8, 1), np.float32)))
    assert found[0, 0, 0, 0] == 4 * 224 * 8
    found[0, 0, 0, 0] = 0
    np.testing.assert_allclose(found, 0, atol=2e-3)  # Sums of 1,792 roundings.
