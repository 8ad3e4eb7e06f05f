"""Barlow Twins between modalities, a baseline of DeCUR.

Zbontar et al., 2021 (arXiv 2103.03230), of one random draw of each view: each dimension
of the standardised embeddings agrees across views and correlates with no other. Of more
than two views it is the mean over their pairs. For the fields see `decur.py`.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from mvjax.core import limits
from mvjax.losses import contrastive
from mvjax.losses import cross_correlation
from mvjax.models import two_towers


@dataclasses.dataclass(frozen=True)
class Method(two_towers.Towers):
    """Redundancy reduction between views."""

    lambd: limits.Weight = 0.0051  # Of what is off the diagonal.
    corr_divisor: limits.Positive | None = None  # None: the rows of the batch.
    gradient_scale: limits.Positive = 1.0  # 1/4 is as released.

    standardised: ClassVar[bool] = True

    def objective(self, variables, z):
        pairs = [(z[a][:, 0], z[b][:, 0]) for a, b in self.pairs]
        rows, moved = self.standardise(variables, [x for pair in pairs for x in pair])
        divisor = self.corr_divisor or len(z[0])
        terms = [
            cross_correlation.redundancy(za, zb, weight=self.lambd, divisor=divisor)
            for za, zb in zip(rows[::2], rows[1::2])
        ]
        entries = [
            cross_correlation.diagonal(za, zb, divisor)
            for za, zb in zip(rows[::2], rows[1::2])
        ]
        loss, on, off = (sum(values) / len(pairs) for values in zip(*terms))
        found = contrastive.retrieval(jnp.stack([rows[:, 0] for rows in z]))
        metrics = {
            "on_diagonal": on,
            "off_diagonal": off,
            "diagonal": jnp.mean(jnp.stack(entries)),
            "retrieval": found.accuracy,
        }
        return two_towers.scale_gradient(loss, self.gradient_scale), metrics, moved
