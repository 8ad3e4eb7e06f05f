#!/usr/bin/env bash
# jax.checkpoint with the policy dots_saveable, which keeps the results of matrix products,
# computes a product again on the way back where it stands in a function with a custom_vjp:
# the policy is asked about the call as a whole, not about the product in it. No warning
# says so, gradients are right, and the step takes longer. checkpoint_name on the result,
# with a policy that saves the name, keeps it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - <<'PYTHON'
import jax
from jax import ad_checkpoint
import jax.numpy as jnp

policies = jax.checkpoint_policies


@jax.custom_vjp
def custom(x, kernel):
    return x @ kernel


def forward(x, kernel):
    return custom(x, kernel), (x, kernel)


def backward(saved, dy):
    x, kernel = saved
    return dy @ kernel.T, x.T @ dy


custom.defvjp(forward, backward)


def named(x, kernel):
    return ad_checkpoint.checkpoint_name(custom(x, kernel), "product")


def count_products(product, policy):
    """Products of a forward pass with gradients of both factors; two are the gradients'."""

    def block(x, kernel):
        return jnp.sum(jnp.tanh(product(x, kernel)) ** 2)

    gradient = jax.grad(jax.checkpoint(block, policy=policy), argnums=(0, 1))
    x, kernel = jnp.ones((8, 4)), jnp.ones((4, 4))
    return str(jax.make_jaxpr(gradient)(x, kernel)).count("dot_general[")


print("jax", jax.__version__)
names = policies.save_only_these_names("product")
both = policies.save_from_both_policies(policies.dots_saveable, names)
found = {
    "a plain product, dots_saveable": count_products(jnp.matmul, policies.dots_saveable),
    "with custom_vjp, dots_saveable": count_products(custom, policies.dots_saveable),
    "with custom_vjp and a name, both policies": count_products(named, both),
}
for way, number in found.items():
    print(f"{way}: {number} products")
assert list(found.values()) == [3, 4, 3], f"changed: {found}"
PYTHON
