"""Products that keep all digits of float32.

By default GPUs may round the factors to TF32 and TPUs to bfloat16, which losses that
subtract large sums, or rank what is nearly equal, do not bear.
"""

import functools

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST
matmul = functools.partial(jnp.matmul, precision=HIGHEST)
einsum = functools.partial(jnp.einsum, precision=HIGHEST)
