#!/usr/bin/env bash
# Nine shifted maps times the rows of a 3x3 depthwise kernel, added up, and the GELU of the
# sum are one loop on a CPU. Where the kernel is a slice of stacked ones, of layers in a row as
# in a lax.scan, that loop takes several times as long, with the slice fused into it. An inner
# loop over the images, to which the kernel is an array of its own, mends that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import time

import jax
import jax.numpy as jnp

LAYERS, SHAPE = 3, (8, 32, 32, 256)


def depthwise(x, kernel):
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return sum(
        padded[:, i : i + height, j : j + width] * kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def by_image(x, kernel):
    return jax.lax.map(lambda image: depthwise(image[None], kernel)[0], x)


def gelu(x):
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def row(x, kernels):
    for kernel in kernels:
        x = gelu(depthwise(x, kernel))
    return x


def scan(layer):
    def run(x, kernels):
        return jax.lax.scan(lambda x, k: (gelu(layer(x, k)), None), x, kernels)[0]

    return run


x = jax.random.normal(jax.random.key(0), SHAPE)
kernels = jax.random.normal(jax.random.key(1), (LAYERS, 3, 3, SHAPE[-1]))
print("jax", jax.__version__)
seconds = {}
for name, network in (
    ("layers in a row", row),
    ("scan", scan(depthwise)),
    ("scan, images in a loop", scan(by_image)),
):
    run = jax.jit(network)
    jax.block_until_ready(run(x, kernels))
    times = []
    for _ in range(7):
        start = time.process_time()
        jax.block_until_ready(run(x, kernels))
        times.append(time.process_time() - start)
    seconds[name] = min(times)
    print(f"{name}: {1e3 * seconds[name]:.1f} ms of CPU time")
for name in ("layers in a row", "scan"):
    assert seconds[name] > 2 * seconds["scan, images in a loop"], f"changed: {name}"
PYTHON
