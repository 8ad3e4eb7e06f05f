"""Heads of tasks: what stands behind a backbone to tell classes."""

from collections.abc import Sequence
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.convert import torch_map
from mvjax.models.layers import initializers
from mvjax.models.layers import linear

# Of the layers that give the scores: as in the linear probes of DeCUR.
RULES = {
    "*/scores*/kernel": initializers.probe_normal,
    "*/scores*/bias": initializers.zeros,
}


class Classifier(nn.Module):
    """A linear layer, or an MLP with ReLU; the scores are float32."""

    hidden: tuple[int, ...]  # Widths before the scores.
    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        """Maps features `[B, D]` to scores `[B, K]`."""
        for i, width in enumerate(self.hidden):
            h = nn.relu(linear.Linear(width, dtype=self.dtype, name=f"linear{i}")(h))
        scores = linear.Linear(self.classes, dtype=self.dtype, name="scores")(h)
        return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))


def classifier_leaves(hidden: Sequence[int]) -> list[torch_map.Leaf]:
    """Table of a `torch.nn.Linear`, or of a `Sequential` of them with ReLU between."""
    if not hidden:
        return torch_map.linear("scores", "")
    leaves = []
    for i in range(len(hidden)):
        leaves += torch_map.linear(f"linear{i}", f"{2 * i}")
    return leaves + torch_map.linear("scores", f"{2 * len(hidden)}")
