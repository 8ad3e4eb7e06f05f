"""Time and memory of the cross-correlation loss, against that of the whole matrix.

    python tests/measure_cross_correlation.py [N [K [rounds]]]

Both forms, with gradients of both embeddings, are compiled for this machine's first device
and run in turn; the time is the least of the rounds, the memory what the compiled program
takes beside its arguments and results.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.losses import cross_correlation

WEIGHT = 0.0051


def by_products(za: jax.Array, zb: jax.Array) -> jax.Array:
    """The loss of the package."""
    terms = cross_correlation.redundancy(za, zb, weight=WEIGHT, divisor=len(za))
    return terms.loss


def by_matrix(za: jax.Array, zb: jax.Array) -> jax.Array:
    """The published form, through all K x K correlations."""
    c = jnp.matmul(za.T, zb, precision="highest") / len(za)
    own = jnp.diagonal(c)
    off = jnp.sum(jnp.square(c)) - jnp.sum(jnp.square(own))
    return jnp.sum(jnp.square(own - 1)) + WEIGHT * off


def main(n: int = 512, k: int = 8192, rounds: int = 5) -> None:
    """Prints one line for each form, then how far they are apart."""
    rng = np.random.default_rng(0)
    za = rng.normal(size=(n, k)).astype(np.float32)
    zb = 0.6 * za + 0.8 * rng.normal(size=(n, k)).astype(np.float32)
    z = [jnp.asarray((x - x.mean(0)) / x.std(0)) for x in (za, zb)]
    seconds, mebibytes, results = {}, {}, {}
    compiled = {}
    for form in (by_matrix, by_products):
        name = form.__name__
        loss = jax.jit(jax.value_and_grad(form, argnums=(0, 1)))
        compiled[name] = loss.lower(*z).compile()
        memory = compiled[name].memory_analysis()
        mebibytes[name] = memory.temp_size_in_bytes / 2**20
        results[name] = jax.block_until_ready(compiled[name](*z))
        seconds[name] = np.inf
    for _ in range(rounds):
        for name, program in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(program(*z))
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    print(f"N = {n}, K = {k}, {jax.devices()[0].device_kind}")
    for name in compiled:
        print(f"{name:12s} {seconds[name]:8.4f} s {mebibytes[name]:8.1f} MiB")
    (_, old), (_, new) = results.values()
    apart = max(
        float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))) for a, b in zip(old, new)
    )
    values = [float(value) for value, _ in results.values()]
    print(f"losses {values}; gradients apart by {apart:.1e} of the largest entry")
    for what, found in (("time", seconds), ("memory", mebibytes)):
        print(f"{what}: {found['by_products'] / found['by_matrix']:.3f} of by_matrix")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
