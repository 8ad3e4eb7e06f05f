"""DeCUR: modalities agree in common dimensions and differ in unique ones.

Wang et al., "Decoupling Common and Unique Representations for Multimodal Self-supervised
Learning", ECCV 2024 (arXiv 2309.05300). With two random draws of each view, and C the
correlations of two batches of standardised embeddings:

    L(C) = sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2
    Lu(C) = sum_i C_ii^2 + lambda sum_{i != j} C_ij^2

The loss is the mean of L between the two draws of each view, over all dimensions, and,
for each pair of views, of half of L over the common and of Lu over the unique dimensions
of their first draws: with two views (L_1 + L_2 + L_12) / 3. Nothing is detached.

The released code divides the correlations by four times the batch of one device and
averages the gradients of its devices, which makes them smaller by the number of these:
`corr_divisor` and `gradient_scale`. More than two views are an extension.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import method
from mvjax.losses import contrastive
from mvjax.losses import cross_correlation
from mvjax.models import two_towers


def _mean(values: Any) -> jax.Array:
    """Mean of `[K]`, 0 without any."""
    return jnp.sum(values) / max(len(values), 1)


@dataclasses.dataclass(frozen=True)
class Method(two_towers.Towers):
    """Redundancy reduction within each view and, dimension by dimension, between them."""

    dim_common: limits.Natural = 7168  # The first dimensions, of each pair of views.
    # The same by pair, (1, 2), (1, 3), ..., (2, 3), ...; (): `dim_common` of all.
    dim_common_by_pair: tuple[limits.Natural, ...] = ()
    lambd: limits.Weight = 0.0051  # Of what is off the diagonals.
    corr_divisor: limits.Positive | None = None  # None: the rows of the batch.
    gradient_scale: limits.Positive = 1.0  # 1/4 is as released.

    draws: ClassVar[int] = 2
    standardised: ClassVar[bool] = True

    @property
    def common(self) -> tuple[int, ...]:
        """How many dimensions are common, by pair."""
        return self.dim_common_by_pair or (self.dim_common,) * len(self.pairs)

    def check(self, spec: Any) -> None:
        super().check(spec)
        if len(self.common) != len(self.pairs):
            raise errors.UserError(
                f"config.method.dim_common_by_pair has {len(self.common)} entries for "
                f"{len(self.pairs)} pairs of views."
            )
        if max(self.common) > self.widths[-1]:
            raise errors.UserError(
                f"config.method.dim_common is {max(self.common)}; embeddings have "
                f"{self.widths[-1]} dimensions, the last of config.method.widths."
            )

    def objective(self, variables, z):
        within = [(rows[:, 0], rows[:, 1]) for rows in z]
        across = [(z[a][:, 0], z[b][:, 0]) for a, b in self.pairs]
        rows = [one for pair in (*within, *across) for one in pair]
        rows, moved = self.standardise(variables, rows)
        standard = list(zip(rows[::2], rows[1::2]))
        within, across = standard[: len(z)], standard[len(z) :]
        divisor = self.corr_divisor or len(z[0])
        settings = dict(weight=self.lambd, divisor=divisor)
        metrics = {
            f"intra/{view}": cross_correlation.redundancy(*pair, **settings).loss
            for view, pair in zip(self.views, within)
        }
        total, terms = sum(metrics.values()), []
        for pair, common in zip(across, self.common):
            parts = cross_correlation.decoupled(*pair, common=common, **settings)
            entries = cross_correlation.diagonal(*pair, divisor)
            means = _mean(entries[:common]), _mean(entries[common:])
            terms.append(jnp.stack([*(part.loss for part in parts), *means]))
            total += (parts[0].loss + parts[1].loss) / 2
        names = ("common", "unique", "diagonal/common", "diagonal/unique")
        metrics |= dict(zip(names, jnp.mean(jnp.stack(terms), axis=0)))
        found = contrastive.retrieval(jnp.stack([rows[:, 0] for rows in z]))
        metrics["retrieval"] = found.accuracy
        loss = total / len(standard)
        return two_towers.scale_gradient(loss, self.gradient_scale), metrics, moved

    def predict(
        self, variables: method.Variables, batch: method.Batch
    ) -> dict[str, jax.Array]:
        """Returns also `common/<view>` and `unique/<view>`, parts of the embeddings.

        They are `[B, C]` and `[B, P - C]`, where the pairs of views agree on C, and left
        out where they do not; so is a part without dimensions.
        """
        outputs = super().predict(variables, batch)
        if len(set(self.common)) > 1:
            return outputs
        for view in self.views:
            z = outputs[f"embedding/{view}"]
            parts = dict(common=z[:, : self.common[0]], unique=z[:, self.common[0] :])
            outputs |= {f"{k}/{view}": x for k, x in parts.items() if x.shape[1]}
        return outputs
