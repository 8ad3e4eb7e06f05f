"""Dropout whose mask is a hash of the element's position.

`nn.Dropout` runs a cryptographic generator for each mask, which on CPUs took half of the
compilation of a network with thirty of them, and runs slower. A hash of seed, layer and
position is one short elementwise kernel, and gives the same mask on any number of devices.
"""

from collections.abc import Callable
import functools
import math
import zlib

from flax import linen as nn
import jax
import jax.numpy as jnp


def _mix(x: jax.Array) -> jax.Array:
    """An invertible 32-bit hash of two multiplications (Wellons' lowbias32)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def random_bits(seed: jax.Array, salt: int, shape: tuple[int, ...]) -> jax.Array:
    """Uniform `uint32` of a shape, a function of seed, salt and position.

    Args:
      seed: `[2]` uint32, such as `jax.random.key_data` gives.
      salt: Tells the uses of one seed apart.
      shape: Of the result; at most 2^32 elements.
    """
    position = jnp.zeros(shape, jnp.uint32)
    for axis, _ in enumerate(shape):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]))
        position += stride * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return _mix(_mix(position ^ seed[0]) ^ (seed[1] + jnp.uint32(salt)))


def keep(
    seed: jax.Array, salt: int, shape: tuple[int, ...], rate: jax.Array | float
) -> jax.Array:
    """What a dropout of a rate below 1 keeps, bool; see `random_bits`."""
    below = jnp.minimum(jnp.asarray(rate, jnp.float32), 1 - 2.0**-24)
    return random_bits(seed, salt, shape) >= (below * 2.0**32).astype(jnp.uint32)


def seed(module: nn.Module, *, train: bool, rate: float) -> jax.Array | None:
    """`[2]` uint32 of a module's key "dropout"; None where nothing is dropped."""
    if not train or not rate:
        return None
    return jax.random.key_data(module.make_rng("dropout"))


def seeds(module: nn.Module, count: int) -> jax.Array:
    """As many seeds, `[count, 2]` uint32, of a module's key "dropout"."""
    first = jax.random.key_data(module.make_rng("dropout"))
    numbers = jnp.arange(count, dtype=first.dtype)
    return jnp.stack([jnp.full_like(numbers, first[0]), first[1] + numbers], axis=1)


class Dropout(nn.Module):
    """Sets a part of the elements to zero and scales the others up."""

    rate: float
    channels: bool = False  # Whether it takes whole maps: channels of `[B, ..., C]`.

    def __call__(self, x: jax.Array, seed: jax.Array | None) -> jax.Array:
        """Drops elements of x, any shape; `seed` `[2]` uint32, None: drops nothing."""
        if seed is None or self.rate == 0:
            return x
        if self.rate >= 1:
            return jnp.zeros_like(x)
        salt = zlib.crc32("/".join(self.path).encode())
        shape = x.shape
        if self.channels:
            shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        kept = keep(seed, salt, shape, self.rate)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))


def make(
    rate: float, seed: jax.Array | None, name: str
) -> Callable[[jax.Array], jax.Array] | None:
    """A `Dropout` of the module that calls this, with its seed; None: it drops nothing."""
    if seed is None or not rate:
        return None
    return functools.partial(Dropout(rate, name=name), seed=seed)
