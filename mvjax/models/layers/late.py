"""Arrays that XLA's CPU compiler makes no sooner than others.

Its schedule makes an array as soon as what it follows from is there, so what follows from
parameters or from nothing is made at the start of a training step and kept until the
backward pass has use for it. `optimization_barrier` is taken away before the schedule is
made; what follows from another array's number is not.
"""

from typing import Any

import jax
import jax.numpy as jnp


def zeros(shape: tuple[int, ...], dtype: Any, *, after: jax.Array | None) -> jax.Array:
    """Zeros that are made after an array of floats has been, if there is one."""
    never = _never(after)
    if never is None:
        return jnp.zeros(shape, dtype)
    return jnp.broadcast_to(never.astype(dtype), shape)


def wait(x: jax.Array, *, after: jax.Array | None) -> jax.Array:
    """The array x of floats, read after another one has been made, if there is one."""
    never = _never(after)
    return x if never is None else jnp.where(never, 0, x)


def mark(primal: Any) -> tuple[None] | None:
    """Whether a gradient is wanted of what a rule with symbolic zeros is given.

    It is a structure, not a truth value, so that it passes from the forward to the
    backward rule as it is.
    """
    return (None,) if primal.perturbed else None


def array(cotangent: Any) -> jax.Array:
    """A cotangent of a rule with symbolic zeros, written out."""
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        return jnp.zeros(cotangent.shape, cotangent.dtype)
    return cotangent


def _never(array: jax.Array | None) -> jax.Array | None:
    """False, `[]`, that follows from an array of floats; None where there is no need.

    Several devices would have to send each other the number.
    """
    if array is None or jax.default_backend() != "cpu" or jax.device_count() > 1:
        return None
    if not array.size:
        return None  # Nothing has to wait.
    number = array[(0,) * array.ndim]
    return (number < 0) & (number > 0)  # The compiler does not find out.
