"""Contrastive losses of two views of a batch: NT-Xent and InfoNCE.

SimCLR (Chen et al., 2020, arXiv 2002.05709) and CLIP (Radford et al., 2021, arXiv
2103.00020) as DeCUR's baselines have them: temperature 1, and CLIP in one direction.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mvjax.core import precision

_SMALLEST = 1e-12  # Length below which a vector is not divided by it.


def unit(z: jax.Array) -> jax.Array:
    """Rows `[B, D]` divided by their lengths, float32 or wider; zeros stay zeros."""
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    square = jnp.sum(jnp.square(z), axis=-1, keepdims=True)
    tiny = square <= _SMALLEST**2
    length = jnp.sqrt(jnp.where(tiny, 1, square))
    return z / jnp.where(tiny, _SMALLEST, length)


def nt_xent(za: jax.Array, zb: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """SimCLR's loss: each of 2B vectors finds its partner among all others.

    Args:
      za: Embeddings of one view, `[B, D]`.
      zb: Of the other view, in the same order.
      temperature: Divides the cosines.

    Returns:
      Mean over the 2B vectors, `[]`, float32 or wider.
    """
    count = za.shape[0]
    z = unit(jnp.concatenate([za, zb]))
    logits = precision.matmul(z, z.T) / temperature
    itself = jnp.eye(2 * count, dtype=bool)
    logits = jnp.where(itself, -jnp.inf, logits)
    partners = (jnp.arange(2 * count) + count) % (2 * count)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, partners)
    return jnp.mean(losses)


def info_nce(za: jax.Array, zb: jax.Array, *, temperature: float = 1.0) -> jax.Array:
    """CLIP's loss from the first view to the second: each `za` finds its `zb`.

    Args:
      za: Embeddings of one view, `[B, D]`.
      zb: Of the other view, in the same order.
      temperature: Divides the cosines.

    Returns:
      Mean over the B rows, `[]`, float32 or wider. CLIP itself takes the mean of both
      directions; DeCUR's baseline this one alone.
    """
    logits = precision.matmul(unit(za), unit(zb).T)
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits / temperature, jnp.arange(za.shape[0])
    )
    return jnp.mean(losses)


class Retrieval(NamedTuple):
    """How well embeddings find those of the same sample, each `[]` float32 or wider."""

    accuracy: jax.Array
    precision: jax.Array


def retrieval(z: jax.Array, *, most: int = 1024) -> Retrieval:
    """Looks for the views of each sample among all other embeddings of a batch.

    What DeCUR's code logs beside SimCLR: the share of the V - 1 partners that are among the
    V - 1 nearest by cosine, and the mean average precision. Of equally near ones partners
    come last, so that embeddings which are all alike find nothing.

    Args:
      z: Embeddings `[V, B, D]`, V > 1.
      most: Samples, evenly spread over the batch, beyond which none is looked for: of a
        large batch on many devices this would take longer than the rest of the step.
    """
    z = z[:, :: -(-z.shape[1] // most)]
    views, count, _ = z.shape
    # The views of a sample lie side by side: so rows that are split over devices stay split.
    z = unit(jax.lax.stop_gradient(z)).swapaxes(0, 1).reshape(count * views, -1)
    near = precision.matmul(z, z.T)
    near = jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, near)
    sample, view = jnp.divmod(jnp.arange(len(z)), views)
    partners = jnp.stack(  # [B V, V - 1], rows of the other views of the same sample.
        [sample * views + (view + i) % views for i in range(1, views)], axis=1
    )
    reached = near[:, None] >= jnp.take_along_axis(near, partners, axis=1)[..., None]
    ranks = jnp.sum(reached, axis=-1)
    found = jnp.sum(reached & (sample == sample[:, None])[:, None], axis=-1)
    return Retrieval(jnp.mean(ranks < views), jnp.mean(found / ranks))
