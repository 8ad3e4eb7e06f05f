#!/usr/bin/env bash
# The gradient of a linear layer's kernel is x.T @ dy, with rows in common. Where x is wide
# and dy narrow, XLA's product on a CPU takes about twice as long as dy.T @ x, the same
# numbers turned round. Writing (dy.T @ x).T does not help: the compiler exchanges the
# factors again. A transpose in a branch of a lax.cond that cannot be decided beforehand
# stays, and the sum of both is faster.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import re
import time

import jax
import jax.numpy as jnp
import numpy as np

ROWS, WIDE, NARROW = 968, 1024, 128


def wide_first(x, dy):
    return x.T @ dy


def transposed(x, dy):
    return (dy.T @ x).T


def transposed_in_a_branch(x, dy):
    product = dy.T @ x
    probe = product[0, 0]

    def broken(product):
        return jnp.full((WIDE, NARROW), jnp.nan)

    return jax.lax.cond(probe == probe, jnp.transpose, broken, product)


def narrow_first(x, dy):
    return dy.T @ x


rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(ROWS, WIDE)), jnp.float32)
dy = jnp.asarray(rng.normal(size=(ROWS, NARROW)), jnp.float32)
print("jax", jax.__version__)
functions = (wide_first, transposed, transposed_in_a_branch, narrow_first)
compiled = {f.__name__: jax.jit(f).lower(x, dy).compile() for f in functions}
shapes = {
    name: re.search(r"f32\[([\d,]+)\]\S* dot\(", program.as_text()).group(1)
    for name, program in compiled.items()
}
best = dict.fromkeys(compiled, float("inf"))
for _ in range(60):
    for name, program in compiled.items():
        start = time.perf_counter()
        program(x, dy).block_until_ready()
        best[name] = min(best[name], time.perf_counter() - start)
for name in compiled:
    print(f"{name}: product of {shapes[name]}, {1e3 * best[name]:.2f} ms")
assert shapes["transposed"] == "1024,128", "changed: the factors are not exchanged"
assert shapes["transposed_in_a_branch"] == "128,1024", "changed: they are in a branch"
assert best["wide_first"] > 1.2 * best["transposed_in_a_branch"], "changed: as fast"
PYTHON
