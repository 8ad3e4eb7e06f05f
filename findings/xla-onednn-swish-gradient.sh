#!/usr/bin/env bash
# XLA's experimental calls of oneDNN on CPUs make gradients wrong without a word: behind a
# convolution a swish is taken into the call, and the way back, which needs what the
# convolution gave, gets what the swish gave. The value is right, and so are the gradients
# with a ReLU in place of the swish, or with a barrier between convolution and swish.
# Python 3.12 or later.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.11.2 jaxlib==0.11.2 numpy==2.4.6
# By default another library takes these convolutions.
export XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=-LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

FAST = {"xla_cpu_experimental_onednn_custom_call": True}
rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(8, 16, 16, 32)), jnp.float32)
kernel = jnp.asarray(rng.normal(size=(3, 3, 32, 32)) / 17, jnp.float32)


def convolve(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=layout
    )


def with_barrier(x, kernel):
    return jax.lax.optimization_barrier(convolve(x, kernel))


def differences(activation, first):
    """Of value and gradients with oneDNN to those without, beside the largest entry."""

    def loss(x, kernel):
        return jnp.sum(convolve(activation(first(x, kernel)), kernel) ** 2)

    lowered = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(x, kernel)
    fast, plain = lowered.compile(compiler_options=FAST), lowered.compile()
    assert "__onednn$convolution" in fast.as_text(), "oneDNN is not called"
    pairs = zip(*map(jax.tree.leaves, (fast(x, kernel), plain(x, kernel))), strict=True)
    value, *gradients = (
        float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs
    )
    return value, max(gradients)


print("jax", jax.__version__)
cases = {
    "relu": (jax.nn.relu, convolve),
    "swish": (jax.nn.swish, convolve),
    "swish behind a barrier": (jax.nn.swish, with_barrier),
}
found = {name: differences(*case) for name, case in cases.items()}
for name, (value, gradient) in found.items():
    print(f"{name}: value {value:.0e} off, gradients {gradient:.0e}")
assert all(value < 1e-5 for value, _ in found.values()), "changed: values"
assert found["relu"][1] < 1e-5 and found["swish behind a barrier"][1] < 1e-5
assert found["swish"][1] > 1e-3, "changed: the gradients of swish are right"
PYTHON
