"""Coloured pairs of the digits bundled with scikit-learn: real, small and offline.

The images of `digits.py` (8x8) enlarged three times and framed by 2 pixels to 28x28, with
that file's split; otherwise as `coloured_mnist.py`.
"""

import numpy as np

from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import colours
from mvjax.data.sources import digits

SIZE = 28


def spec(
    *,
    split: str = "train",
    pairing: limits.one_of(*colours.PAIRINGS) = "same_instance",
    color_seed: limits.Natural = 0,
    color_rng: limits.one_of(*colours.RNGS) = "stateless",
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, color_seed, color_rng
    return colours.spec(SIZE, pairing)


class Source(colours.ColourSource):
    """Digits and colours in memory; see `colours.ColourSource` for the options."""

    def __init__(
        self,
        *,
        split: str = "train",
        pairing: str = "same_instance",
        color_seed: int = 0,
        color_rng: str = "stateless",
        limit: int | None = None,
    ):
        """Loads and enlarges."""
        small = digits.Source(split=split, size=8, limit=limit)
        large = small.views["image"].repeat(3, axis=1).repeat(3, axis=2)
        super().__init__(
            np.pad(large, ((0, 0), (2, 2), (2, 2), (0, 0))),
            small.labels,
            split=split,
            pairing=pairing,
            color_seed=color_seed,
            color_rng=color_rng,
        )
