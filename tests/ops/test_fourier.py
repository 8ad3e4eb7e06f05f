"""Transforms are NumPy's, and each device transforms its own samples."""

import jax
import numpy as np
import pytest

from mvjax.ops import fourier

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["fft2", "ifft2"])
def test_equals_numpy_also_mapped(name):
    x = (RNG.normal(size=(2, 3, 6, 5)) + 1j).astype(np.complex64)
    wanted = getattr(np.fft, name)(x)
    run = getattr(fourier, name)
    for found in (jax.jit(run)(x), jax.jit(jax.vmap(run, 1, 1))(x)):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    for side in (1, 2, 5, 6):
        real = RNG.normal(size=(2, 7 - side, side)).astype(np.float32)
        wanted = getattr(np.fft, name)(real)
        np.testing.assert_allclose(jax.jit(run)(real), wanted, atol=1e-5)


@pytest.mark.eight_devices
def test_devices_gather_nothing():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    x = jax.device_put(RNG.normal(size=(16, 4, 6)).astype(np.float32), rows)

    def run(x):  # As within a loop over filters.
        spectrum = fourier.fft2(x)
        return jax.lax.map(lambda k: fourier.ifft2(k * spectrum).real, np.arange(3.0))

    program = jax.jit(run, in_shardings=rows).lower(x).compile()
    assert "all-gather" not in program.as_text()
    found = program(x)
    assert found.sharding.spec[1] == "data"
    np.testing.assert_allclose(found[2], 2 * np.asarray(x), atol=1e-5)
