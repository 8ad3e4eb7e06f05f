"""Fourier transforms of batches that lie on several devices.

XLA gathers a batch on every device before it transforms it on GPUs and CPUs, though no
sample needs another one; here each device transforms its own. On TPUs, XLA does so of
itself. No gradients pass.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax.experimental import custom_partitioning
import jax.numpy as jnp


def fft2(x: jax.Array) -> jax.Array:
    """Transform over the last two axes, complex; the others may lie on any devices."""
    forward = _forward if jnp.iscomplexobj(x) else _forward_real
    return jax.lax.platform_dependent(x, tpu=_forward, default=_apart(forward))


def ifft2(x: jax.Array) -> jax.Array:
    """Inverse transform over the last two axes, complex."""
    return jax.lax.platform_dependent(x, tpu=_backward, default=_apart(_backward))


def _forward(x: jax.Array) -> jax.Array:
    return jnp.fft.fft2(x)


def _forward_real(x: jax.Array) -> jax.Array:
    """The same of real maps: half of their spectrum mirrors the other half."""
    half = jnp.fft.rfft2(x)
    mirrored = half[..., ::-1, (x.shape[-1] + 1) // 2 - 1 : 0 : -1]
    rest = jnp.conj(jnp.roll(mirrored, 1, axis=-2))
    return jnp.concatenate([half, rest], axis=-1)


def _backward(x: jax.Array) -> jax.Array:
    return jnp.fft.ifft2(x)


@functools.cache
def _apart(transform: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """A transform that devices compute for their own samples."""
    split = custom_partitioning.custom_partitioning(transform)

    def partition(mesh: Any, operands: Any, result: Any) -> tuple[Any, ...]:
        del result  # Lies as the operand does.
        return mesh, transform, operands[0].sharding, (operands[0].sharding,)

    split.def_partition(
        partition=partition,
        infer_sharding_from_operands=lambda mesh, operands, result: (
            operands[0].sharding
        ),
        sharding_rule="... h w -> ... h w",
        need_replication_factors=("h", "w"),
    )
    apart = jax.custom_batching.custom_vmap(split)

    @apart.def_vmap
    def over_batch(
        size: int, batched: list[bool], x: jax.Array
    ) -> tuple[jax.Array, bool]:
        del size, batched  # The only argument is; its new axis comes first.
        return apart(x), True

    return apart
