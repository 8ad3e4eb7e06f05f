#!/usr/bin/env bash
# On a CPU XLA computes the gradient of a residual stream over and over. The gradient at a
# block is a sum over all later blocks, and XLA fuses that sum, and the layer norms in it,
# into what reads it, so that the largest fusion grows with the depth and the work with its
# square. jax.lax.optimization_barrier between the blocks changes nothing: it is taken away
# before fusion. A scan over the blocks keeps the stream in memory.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import re

import jax
import jax.numpy as jnp

WIDTH = 128


def block(x, kernel):
    centred = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return x + jnp.tanh((centred * scale) @ kernel)


def plain(x, kernels):
    for kernel in kernels:
        x = block(x, kernel)
    return x


def barriers(x, kernels):
    for kernel in kernels:
        x = jax.lax.optimization_barrier(block(x, kernel))
    return x


def scan(x, kernels):
    return jax.lax.scan(lambda x, kernel: (block(x, kernel), None), x, kernels)[0]


def largest_fusion(network, depth):
    x = jnp.ones((512, WIDTH))
    kernels = jnp.ones((depth, WIDTH, WIDTH))
    loss = lambda kernels, x: jnp.sum(network(x, kernels) ** 2)
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(kernels, x).compile()
    bodies = re.findall(r"^%fused_computation\S* [^\n]*\{\n(.*?)^\}", program.as_text(), re.M | re.S)
    return max(body.count("\n") for body in bodies)


print("jax", jax.__version__)
sizes = {}
for network in (plain, barriers, scan):
    sizes[network.__name__] = [largest_fusion(network, depth) for depth in (4, 8, 16)]
    print(network.__name__, "largest fusion of 4, 8, 16 blocks:", sizes[network.__name__])
for name in ("plain", "barriers"):
    four, eight, sixteen = sizes[name]
    assert sixteen - eight > 1.5 * (eight - four) > 0, f"changed: {name}"
assert sizes["scan"][0] == sizes["scan"][2], "changed: scan"
PYTHON
