"""How much codes depend on fixed representations of a view, beside chance and no training.

The measure is distance correlation (Szekely et al., 2007), as in MV-MR (arXiv 2303.12130)
the root of what some libraries give. Unlike in that loss there is no floor below the
distances, so the scale of a code does not matter. It is the V-statistic: of few samples it
is far above 0 even where nothing depends on anything, the more so the more columns there
are. Therefore all pairs are of the same samples, `rows` or all of a smaller split, scores of
other numbers of samples are not to be compared, and `chance` is the mean over orders in
which the rows of the representation are shuffled.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.core import rng as rng_lib
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import offer as offer_lib
from mvjax.losses import pairwise
from mvjax.ops import representations as representations_lib

SCORE, CHANCE = "dcor", "chance"
LEAST = 4  # Samples below which shuffling leaves too much in place.
_ROUNDING = 4  # Units of the last place by which centred distances may be off.


@jax.jit
def centred_distances(rows: jax.Array) -> jax.Array:
    """Distances of all pairs of rows `[N, D]`, centred, `[N, N]` float32.

    All are 0 where rounding alone tells the rows apart.
    """
    # What is equal becomes 0 exactly, and a mean that is large costs no digits.
    rows = jnp.asarray(rows, jnp.float32)
    squared = pairwise.gram_squared_distances(rows - rows[:1])
    raw = jnp.sqrt(jnp.maximum(squared, 0))
    centred = pairwise.centre(raw)
    noise = jnp.square(_ROUNDING * jnp.finfo(raw.dtype).eps * jnp.mean(raw))
    return jnp.where(jnp.mean(jnp.square(centred)) > noise, centred, 0)


@jax.jit
def compare(
    a: jax.Array, b: jax.Array, orders: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Distance correlation, and its mean over orders of the second variable.

    Args:
      a: Centred distances of the first variable, `[N, N]`.
      b: Those of the second.
      orders: Orders of the samples, `[M, N]` integers.

    Returns:
      Two numbers in [0, 1], 0 where one of the variables is constant.
    """
    scale = jnp.sqrt(jnp.mean(a * a)) * jnp.sqrt(jnp.mean(b * b))

    def correlation(b: jax.Array) -> jax.Array:
        part = jnp.mean(a * b) / jnp.where(scale > 0, scale, 1)
        return jnp.sqrt(jnp.clip(part, 0, 1))

    shuffled = jax.lax.map(lambda order: correlation(b[order][:, order]), orders)
    return correlation(b), jnp.mean(shuffled)


@functools.partial(jax.jit, static_argnames=("made", "mean", "std"))
def _represent(
    made: representations_lib.Representation,
    images: jax.Array,
    key: jax.Array,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> jax.Array:
    """A representation `[B, P]` of images `[B, H, W, C]` in [0, 1]."""
    normal = (images - jnp.array(mean)) / jnp.array(std)
    return made(normal, key, mean=mean, std=std)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """`dcor` and `chance` of each code with each representation, of `rows` samples."""

    features: limits.Names = ("shared",)
    # Names of `ops/representations.py`; those that draw get one draw for all codes.
    representations: limits.some(
        limits.one_of(*representations_lib.NAMES), distinct=True
    ) = representations_lib.RELEASED
    settings: representations_lib.Settings = representations_lib.Settings()
    factors: limits.AnyNames = ()  # Also their classes, one-hot: "label", or a factor.
    view: limits.Text = "image"  # The images, uint8 or in [0, 1], that are represented.
    mean: tuple[float, ...] = ()  # Of each channel, taken off them before.
    std: tuple[limits.Positive, ...] = ()
    split: limits.Text = "test"
    # Drawn at random; all where there are fewer. The distances of all pairs are kept.
    rows: Annotated[int, limits.Range(low=LEAST, high=2**14)] = 1000
    batch: limits.Count = 128  # Images that are represented at once.
    shuffles: limits.Count = 20  # Orders that chance is the mean of.
    baseline: bool = True  # Also the same codes of untrained variables.
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, code, factor or view, or a view that the statistics or
            a representation do not fit.
        """
        offer.check_splits(self.split)
        self._check_view(offer)
        offer.check_size(self.split, LEAST, "distance correlation")
        learned = [
            e for e in self.features if features_lib.is_learned(*offer.expand(e))
        ]
        codes = self._with_baselines(learned)
        for code in codes:
            offer.columns(code)
        names = []
        for truth in (*self.representations, *self.factors):
            with offer.leaving_out(truth):
                if truth in self.factors:
                    offer.check_factor(truth, least=2)
                names += [f"{c}/{truth}/{x}" for c in codes for x in (SCORE, CHANCE)]
        return names

    def _check_view(self, offer: offer_lib.Offer) -> None:
        """Refuses a view that cannot be represented."""
        if self.view not in offer.spec.views:
            raise errors.unknown("view", self.view, offer.spec.views)
        shape = tuple(offer.spec.views[self.view].shape)
        if len(shape) != 3:
            raise errors.UserError(
                f"View {self.view!r} has shape {shape}; representations are of images, "
                "height x width x channels."
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, shape[-1]):
                raise errors.UserError(
                    f"{name} has {len(getattr(self, name))} entries; view {self.view!r} "
                    f"has {shape[-1]} channels."
                )
        representations_lib.widths(self.representations, shape, self.settings)

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<code>/<representation>/dcor` and `.../chance`.

        With `baseline`, also the same below `untrained:<code>`.
        """
        few = features.sampled(self.split, self.rows, seed=self.seed)
        plain = {e: few.expand(self.split, e) for e in self.features}
        learned = [e for e, found in plain.items() if features_lib.is_learned(*found)]
        held = {
            code: centred_distances(few.get(self.split, code))
            for code in self._with_baselines(learned)
        }
        size = few.size(self.split)
        if size < LEAST:
            raise features_lib.Insufficient(
                f"Split {self.split!r} has {size} samples: too few for distance "
                "correlation."
            )
        rng = np.random.default_rng(self.seed)
        orders = np.stack([rng.permutation(size) for _ in range(self.shuffles)])
        found: dict[str, dict[str, float]] = {code: {} for code in held}
        for truth in (*self.representations, *self.factors):
            with features.leaving_out(truth):
                other = centred_distances(self._truth(few, truth))
                for code, mine in held.items():
                    scores = map(float, compare(mine, other, orders))
                    places = (f"{code}/{truth}/{x}" for x in (SCORE, CHANCE))
                    found[code] |= dict(zip(places, scores, strict=True))
        return {k: v for part in found.values() for k, v in part.items()}

    def _with_baselines(self, learned: Sequence[str]) -> list[str]:
        """All codes, then the learned ones of untrained variables."""
        untrained = [features_lib.UNTRAINED + e for e in learned if self.baseline]
        return list(dict.fromkeys([*self.features, *untrained]))

    def _truth(self, few: features_lib.Features, name: str) -> np.ndarray:
        """Rows of a representation, or one-hot classes of a factor, `[N, P]` float32."""
        if name in self.factors:
            _, classes = np.unique(few.factor(self.split, name), return_inverse=True)
            return np.eye(classes.max() + 1, dtype=np.float32)[classes]
        batch, _ = next(few.batches(self.split, ()))
        shape = np.shape(batch["views"][self.view])[1:]
        images = few.get(self.split, f"{features_lib.RAW}/{self.view}")
        images = images.reshape(-1, *shape)
        made = representations_lib.Representation(name, self.settings)
        statistics = dict(mean=self.mean or (0.0,), std=self.std or (1.0,))
        key = rng_lib.named(jax.random.key(self.seed), name)
        size, rows = min(self.batch, len(images)), []
        for i, start in enumerate(range(0, len(images), size)):
            part = images[start : start + size]
            full = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))
            draw = jax.random.fold_in(key, i)
            made_of = _represent(made, full, draw, **statistics)
            rows.append(np.asarray(made_of)[: len(part)])
        return np.concatenate(rows)
