"""Random streams: one root key, folded by step and by the name of the use."""

import zlib

import jax


def step_key(seed: int, step: jax.Array | int) -> jax.Array:
    """Key of one training step, the same whether or not the run was resumed."""
    return jax.random.fold_in(jax.random.key(seed), step)


def named(key: jax.Array, name: str) -> jax.Array:
    """Key for one named use of `key`, independent of all other names."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
