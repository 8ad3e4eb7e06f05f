"""How much each channel of each view counts for an output: integrated gradients.

Sundararajan, Taly and Yan, 2017 (arXiv 1703.01365): along the straight way from a baseline
to the sample the gradient of a number is averaged, and times the distance from the
baseline it tells what each pixel adds to that number; all pixels together are what the
number has grown by. `of="top"` is the largest entry of the output, such as the logit of
the likeliest class. `of="self"` needs no classes: it is the projection of the output onto
its own direction (Crabbe and van der Schaar, 2022, arXiv 2203.01928), for features.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.ops import images

SCORE, ERROR = "importance", "completeness_error"
Views = dict[str, Any]


def integrate(
    score: Callable[[Views], jax.Array], views: Views, start: Views, steps: int
) -> Views:
    """Integrated gradients of each sample's number, by the midpoint rule.

    Args:
      score: Numbers `[B]` of views; that of a sample hangs on its own views alone.
      views: `[B, ...]` float, by name.
      start: The baseline, of the same shapes.
      steps: Places along the way.

    Returns:
      What each pixel adds, in the shapes of the views.
    """
    away = jax.tree.map(jnp.subtract, views, start)
    slope = jax.grad(lambda views: jnp.sum(score(views)))
    total = jax.tree.map(jnp.zeros_like, views)
    for step in range(steps):
        share = (step + 0.5) / steps
        here = jax.tree.map(lambda x, d, s=share: x + s * d, start, away)
        total = jax.tree.map(jnp.add, total, slope(here))
    return jax.tree.map(lambda t, d: t * d / steps, total, away)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Share of each channel in what all channels of all views add, as amounts."""

    output: limits.Text = "logits"  # Of `predict`.
    of: limits.one_of("top", "self") = "top"
    split: limits.Text = "test"
    rows: limits.Count = 256  # Drawn at random; all where there are fewer.
    steps: limits.Count = 32  # Places along the way from the baseline.
    # Where the way begins: at zero, or at the mean of each channel of each sample.
    baseline: limits.one_of("zero", "mean") = "zero"
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split or output, or a view whose values are no amounts.
        """
        offer.check_splits(self.split)
        offer.output_shape(self.output)
        names = []
        for view, spec in offer.spec.views.items():
            if not spec.shape or np.dtype(spec.dtype).kind not in "fu":
                raise errors.UserError(
                    f"View {view!r} holds {spec.dtype} of shape {tuple(spec.shape)}; "
                    "gradients are of images and of rows of floats."
                )
            names += [f"{view}/{c}/{SCORE}" for c in offer.spec.channels(view)]
        return [*names, ERROR]

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Mean shares over the samples, and how far the sums are off.

        Returns:
          `<view>/<channel>/importance`, of a sample the amount that its pixels of a
          channel add together, over that of all channels; and `completeness_error`, the
          mean distance of all that is added from what the number has grown by, over the
          mean amount of that. More `steps` make it smaller.
        """
        few = features.sampled(self.split, self.rows, seed=self.seed)
        shares: dict[str, list[np.ndarray]] = {}
        off, grown = 0.0, 0.0
        for batch, _ in few.batches(self.split, ()):
            added, change = self.attribute(few, batch)
            # Sums of pixels, `[B, C]`.
            sums = {
                view: np.asarray(a).reshape(len(a), -1, a.shape[-1]).sum(axis=1)
                for view, a in added.items()
            }
            whole = sum(np.abs(found).sum(axis=1) for found in sums.values())
            for view, found in sums.items():
                part = np.abs(found) / np.where(whole > 0, whole, 1)[:, None]
                shares.setdefault(view, []).append(part)
            total = sum(found.sum(axis=1) for found in sums.values())
            off += float(np.abs(total - change).sum())
            grown += float(np.abs(change).sum())
        spec, scores = few.spec(self.split), {}
        for view, parts in shares.items():
            means = np.concatenate(parts).mean(axis=0)
            for channel, mean in zip(spec.channels(view), means, strict=True):
                scores[f"{view}/{channel}/{SCORE}"] = float(mean)
        return scores | {ERROR: off / grown if grown else 0.0}

    def attribute(
        self, features: features_lib.Features, batch: dict[str, Any]
    ) -> tuple[Views, np.ndarray]:
        """What each pixel of a batch adds, and what the number has grown by, `[B]`."""
        views = {k: images.to_float(jnp.asarray(x)) for k, x in batch["views"].items()}

        def output(views: Views) -> jax.Array:
            found = features.predict(batch | {"views": views}, (self.output,))
            return found[self.output].reshape(len(batch["index"]), -1)

        there = output(views)
        if self.of == "top":
            along = jax.nn.one_hot(jnp.argmax(there, axis=1), there.shape[1])
        else:
            length = jnp.linalg.norm(there, axis=1, keepdims=True)
            along = there / jnp.where(length > 0, length, 1)
        start = {name: self._start(x) for name, x in views.items()}
        found = integrate(
            lambda views: jnp.sum(output(views) * along, axis=1),
            views,
            start,
            self.steps,
        )
        change = jnp.sum((there - output(start)) * along, axis=1)
        return jax.device_get((found, change))

    def _start(self, x: jax.Array) -> jax.Array:
        """The baseline of a view `[B, ..., C]`."""
        if self.baseline == "zero":
            return jnp.zeros_like(x)
        axes = tuple(range(1, x.ndim - 1))
        return jnp.broadcast_to(x.mean(axis=axes, keepdims=True), x.shape)
