#!/usr/bin/env bash
# A jitted FFT over the last two axes of a batch that is split over devices gathers the
# whole batch on every device first, though no sample needs another one; an element-wise
# function or a product of the same batch does not. Seen on CPU devices.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 "$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np

print("jax", importlib.metadata.version("jax"))
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
images = jax.device_put(np.ones((16, 8, 8), np.float32), rows)


def gathers(function):
    """Whether the compiled program collects the batch."""
    jitted = jax.jit(function, in_shardings=rows, out_shardings=rows)
    return "all-gather" in jitted.lower(images).compile().as_text()


matrix = jnp.asarray(np.fft.fft(np.eye(8)))
found = {
    "fft2": gathers(jnp.fft.fft2),
    "rfft2": gathers(jnp.fft.rfft2),
    "products": gathers(lambda x: matrix @ x @ matrix),
}
for name, gathered in found.items():
    print(f"{name}: {'gathers the batch' if gathered else 'keeps to its own rows'}")
products = jax.jit(lambda x: matrix @ x @ matrix)(images)
np.testing.assert_allclose(products, jnp.fft.fft2(images), atol=1e-3)
assert found["fft2"] and found["rfft2"], "changed: the batch stays where it is"
assert not found["products"], "changed: products gather, too"
PYTHON
