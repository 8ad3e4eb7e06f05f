"""SimCLR between modalities, a baseline of DeCUR.

Chen et al., 2020 (arXiv 2002.05709), of one random draw of each view: each embedding finds
that of the other view of its sample among all others of the batch. Of more than two
views it is the mean over their pairs.
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from mvjax.core import limits
from mvjax.losses import contrastive
from mvjax.models import two_towers


@dataclasses.dataclass(frozen=True)
class Method(two_towers.Towers):
    """NT-Xent between views."""

    widths: tuple[limits.Size, ...] = (512, 128)
    shared_projector: bool = False
    temperature: limits.Positive = 1.0

    projector_bias: ClassVar[bool] = True
    projector_norm: ClassVar[bool] = True
    cost: ClassVar[Any] = staticmethod(contrastive.nt_xent)

    def objective(self, variables, z):
        del variables  # Nothing is standardised.
        losses = [
            self.cost(z[a][:, 0], z[b][:, 0], temperature=self.temperature)
            for a, b in self.pairs
        ]
        found = contrastive.retrieval(jnp.stack([rows[:, 0] for rows in z]))
        metrics = {"retrieval": found.accuracy, "retrieval/precision": found.precision}
        return sum(losses) / len(losses), metrics, {}
