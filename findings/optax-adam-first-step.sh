#!/usr/bin/env bash
# optax's Adam corrects its moments by 1 - b2**t taken in float32, which loses digits where
# b2**t is near 1: with b2 = 0.9999 the first step is not lr * sign(gradient), as the
# formula and PyTorch (which takes the correction in double precision) give it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 optax==0.2.8 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata

import jax.numpy as jnp
import numpy as np
import optax

print("optax", importlib.metadata.version("optax"))


def first_step(b2):
    """Length of the first step for a gradient of 1, which should be 1."""
    adam = optax.scale_by_adam(b1=0.9, b2=b2, eps=1e-12)
    grads = jnp.ones((1,), jnp.float32)
    steps, _ = adam.update(grads, adam.init(grads))
    return float(steps[0])


off = {b2: abs(first_step(b2) - 1) for b2 in (0.9, 0.999, 0.9999, 0.99999)}
for b2, error in off.items():
    print(f"b2 = {b2}: the first step is off by {error:.2e}")
epsilon = float(np.finfo(np.float32).eps)
assert off[0.9] < 4 * epsilon, "changed: off where nothing is lost"
assert off[0.9999] > 100 * epsilon, "changed: the correction keeps its digits"
PYTHON
