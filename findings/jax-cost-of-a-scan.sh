#!/usr/bin/env bash
# cost_analysis of a jitted function counts the body of a lax.scan once, whatever its
# length: gradient accumulation over four micro-batches seems to cost a quarter.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp

N = 64
print("jax", jax.__version__)


def repeated(length):
    """FLOPs that JAX tells of `length` products of two N x N matrices in a scan."""

    def body(carry, _):
        return carry @ carry, None

    function = jax.jit(lambda x: jax.lax.scan(body, x, None, length=length)[0])
    lowered = function.lower(jnp.ones((N, N)))
    flops = []
    for stage in (lowered, lowered.compile()):
        cost = stage.cost_analysis()
        flops.append((cost[0] if isinstance(cost, list) else cost)["flops"])
    return flops


one, four = repeated(2), repeated(8)
print("2 products, traced and compiled:", one)
print("8 products, traced and compiled:", four)
assert all(b < 1.5 * a for a, b in zip(one, four)), "changed: the length counts"
assert all(f < 1.5 * 2 * N**3 for f in four), "changed: more than one product counts"
PYTHON
