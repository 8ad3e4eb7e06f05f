"""Random streams: keys by the name of their use."""

import zlib

import jax


def named(key: jax.Array, name: str) -> jax.Array:
    """Key for one named use of `key`, independent of all other names."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
