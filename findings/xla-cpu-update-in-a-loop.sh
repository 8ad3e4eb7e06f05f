#!/usr/bin/env bash
# A loop on a CPU that computes a map band by band and writes each band into the whole one
# runs on one thread: XLA fuses the computation with the update in place, and such a fusion
# is not split over threads, though the same sum outside of a loop is. Where the computation
# stands in a branch of a lax.cond that cannot be decided beforehand, it is split, since
# nothing is fused with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu NPROC=4 "$folder/env/bin/python" - <<'PYTHON'
import re

import jax
import jax.numpy as jnp

BANDS, ROWS, WIDTH, CHANNELS = 8, 16, 160, 256


def depthwise(x, kernel):
    height, width = x.shape[0] - 2, x.shape[1] - 2
    return sum(
        x[i : i + height, j : j + width] * kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def in_a_branch(x, kernel):
    def broken(x, kernel):
        return jnp.full((ROWS, WIDTH, CHANNELS), jnp.nan)

    probe = kernel[0, 0, 0]
    return jax.lax.cond(probe == probe, depthwise, broken, x, kernel)


def by_band(compute):
    def run(x, kernel):
        def put(t, y):
            band = jax.lax.dynamic_slice_in_dim(x, t * ROWS, ROWS + 2)
            found = compute(band, kernel)
            return jax.lax.dynamic_update_slice_in_dim(y, found, t * ROWS, axis=0)

        start = jnp.zeros((BANDS * ROWS, WIDTH, CHANNELS))
        return jax.lax.fori_loop(0, BANDS, put, start)

    return run


def threads(function):
    """Whether the fusion that multiplies is split over threads."""
    x, kernel = jnp.ones((BANDS * ROWS + 2, WIDTH + 2, CHANNELS)), jnp.ones((3, 3, 256))
    program = jax.jit(function).lower(x, kernel).compile().as_text()
    bodies = re.findall(r"^%?(\S+) \([^\n]*\{\n(.*?)^\}", program, re.M | re.S)
    multiplies = {name for name, body in bodies if body.count(" multiply(") >= 9}
    calls = [
        line
        for line in program.splitlines()
        if " fusion(" in line
        and (match := re.search(r"calls=%?([\w.\-]+)", line))
        and match.group(1) in multiplies
    ]
    assert calls, "no fusion multiplies"
    return all("outer_dimension_partitions" in line for line in calls)


print("jax", jax.__version__)
found = {
    "whole": threads(depthwise),
    "band by band": threads(by_band(depthwise)),
    "band by band, in a branch": threads(by_band(in_a_branch)),
}
for name, split in found.items():
    print(f"{name}: {'several threads' if split else 'one thread'}")
assert list(found.values()) == [True, False, True], f"changed: {found}"
PYTHON
