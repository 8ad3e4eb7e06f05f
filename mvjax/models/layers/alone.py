"""A computation that XLA's CPU compiler fuses with nothing around it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def run(function: Callable[..., Any], *arrays: jax.Array, probe: jax.Array) -> Any:
    """`function(*arrays)`, whose result is written to memory once, as are the arrays.

    XLA's CPU compiler computes a cheap result again in each operation that reads it, and
    fuses it with slices and updates of larger arrays, which takes several times as long;
    `optimization_barrier` is taken away before that. What stands in a branch is left
    alone, as long as the compiler cannot tell which branch is taken. JAX's own gradient of
    a branch keeps its inner results, so the caller should have one of its own. Under
    `jax.vmap` both branches are computed. On other devices it is the function itself.

    Args:
      function: Of arrays to arrays, of any shapes and types.
      *arrays: Its arguments.
      probe: A number, `[]`, on which all of the result depends; where it is NaN, so is the
        result.

    Returns:
      What the function gives, of the same shapes and types.
    """
    if jax.default_backend() != "cpu":  # A GPU would wait for the host to decide.
        return function(*arrays)
    made = jax.eval_shape(function, *arrays)

    def broken(*arrays: jax.Array) -> Any:
        return jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan, x.dtype), made)

    return jax.lax.cond(probe == probe, function, broken, *arrays)
