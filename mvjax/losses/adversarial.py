"""Losses of an adversarial game (Goodfellow et al., NeurIPS 2014), all from logits.

Arguments have any shape and means are over all elements. Who is "real" is up to the
caller: in Sanchez et al. (ECCV 2020) mismatched pairs of codes are real and matched ones
fake, so that the generator makes the codes of a pair independent.
"""

import jax
import jax.numpy as jnp


def discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Binary cross entropy, targets 1 and 0: mean sp(-real) + mean sp(fake), `[]`."""
    return jnp.mean(_softplus(-real)) + jnp.mean(_softplus(fake))


def generator(fake: jax.Array) -> jax.Array:
    """Non-saturating: minus mean log D of the fake, mean sp(-fake), `[]`.

    As in the released code of Sanchez et al., whose paper writes a min-max game.
    """
    return jnp.mean(_softplus(-fake))


def minimax_generator(fake: jax.Array) -> jax.Array:
    """The min-max game: mean log(1 - D) of the fake, -mean sp(fake), `[]`."""
    return -jnp.mean(_softplus(fake))


def _softplus(logits: jax.Array) -> jax.Array:
    logits = jnp.asarray(logits)
    return jax.nn.softplus(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
