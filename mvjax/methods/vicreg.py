"""VICReg between modalities, a baseline of DeCUR.

Bardes et al., 2022 (arXiv 2105.04906), of one random draw of each view: embeddings of a
sample are near, each dimension keeps its deviation, and different ones do not covary. Of
more than two views it is the mean over their pairs. The released code divides covariances
by the batch of one device less one, though they are of all devices: `cov_divisor`.
"""

import dataclasses

import jax.numpy as jnp

from mvjax.core import limits
from mvjax.losses import contrastive
from mvjax.losses import vicreg
from mvjax.models import two_towers


@dataclasses.dataclass(frozen=True)
class Method(two_towers.Towers):
    """Invariance, variance and covariance of views."""

    invariance: limits.Weight = 25.0
    variance: limits.Weight = 25.0
    covariance: limits.Weight = 1.0
    cov_divisor: limits.Positive | None = None  # None: the rows of the batch less one.

    def objective(self, variables, z):
        del variables  # Nothing is standardised.
        first = [rows[:, 0] for rows in z]
        spread = [vicreg.variance(x) / 2 for x in first]
        together = [vicreg.covariance(x, divisor=self.cov_divisor) for x in first]
        terms = [
            jnp.stack(
                [
                    vicreg.invariance(first[a], first[b]),
                    spread[a] + spread[b],
                    together[a] + together[b],
                ]
            )
            for a, b in self.pairs
        ]
        means = jnp.mean(jnp.stack(terms), axis=0)
        metrics = dict(zip(("invariance", "variance", "covariance"), means))
        loss = sum(getattr(self, name) * value for name, value in metrics.items())
        metrics["retrieval"] = contrastive.retrieval(jnp.stack(first)).accuracy
        return loss, metrics, {}
