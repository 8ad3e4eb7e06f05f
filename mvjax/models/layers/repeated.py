"""Equal blocks in a row as one loop, which is compiled once."""

from collections.abc import Sequence

from flax import linen as nn
import jax
from jax import ad_checkpoint
import jax.numpy as jnp

_KEPT = "kept"


def keep(x: jax.Array) -> jax.Array:
    """Marks what the blocks of `run` keep for the way back, and returns it.

    Results of functions with gradients of their own need it, into which `jax.checkpoint`
    does not look; outside of blocks it does nothing.
    """
    return ad_checkpoint.checkpoint_name(x, _KEPT)


def run(
    blocks: Sequence[nn.Module],
    x: jax.Array,
    *arguments: jax.Array,
    remat: bool = False,
) -> jax.Array:
    """Applies blocks one after the other: `x = block(x, *arguments[i])`.

    A loop compiles in the time of one block. And it writes the stream between the blocks
    to memory: of blocks in a row XLA's CPU compiler computes the gradient of the stream,
    a sum over all later blocks, anew for each operation that reads it.

    For the way back each block keeps its input, its matrix products and what `keep` has
    marked, and computes the rest again.

    Args:
      blocks: Bound modules that differ in their parameters alone and have no other
        variables; each keeps its own name among the parameters.
      x: Input of the first block, of the shape and type of each one's output.
      *arguments: Further inputs of the blocks, stacked along a leading axis.
      remat: Whether each block keeps its input alone and computes all the rest again:
        less memory, a longer step.

    Returns:
      Output of the last block.
    """
    if blocks[0].is_initializing() or (len(blocks) == 1 and not remat):
        for i, block in enumerate(blocks):
            x = block(x, *(argument[i] for argument in arguments))
        return x
    pure = blocks[0].clone(parent=None, name=None)
    parameters = [block.variables["params"] for block in blocks]
    parameters = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parameters)

    def step(x: jax.Array, own: tuple) -> tuple[jax.Array, None]:
        parameters, arguments = own
        return pure.apply({"params": parameters}, x, *arguments), None

    policies = jax.checkpoint_policies
    kept = policies.save_from_both_policies(
        policies.dots_saveable, policies.save_only_these_names(_KEPT)
    )
    policy = policies.nothing_saveable if remat else kept
    step = jax.checkpoint(step, policy=policy, prevent_cse=False)
    x, _ = jax.lax.scan(step, x, (parameters, arguments))
    return x
