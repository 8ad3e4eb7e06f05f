"""Grey images whose two views are coloured on the device; see `ops/colouring.py`.

A record holds the grey image `digit` and, as factors, the digit and two colours. These
colours are fixed; methods may draw new ones for each epoch of training.
"""

import random

import numpy as np

from mvjax.core import errors
from mvjax.data import arrays
from mvjax.data import batch

COLOURS = 12  # Rows of the published palette.
CLASSES = 10
PAIRINGS = ("same_instance", "same_class")
RNGS = ("stateless", "python")


def spec(size: int, pairing: str) -> batch.Spec:
    """View `digit`, and `partner` for pairs of a class, `[size, size, 1]` uint8."""
    if pairing not in PAIRINGS:
        raise errors.unknown("pairing", pairing, PAIRINGS)
    view = batch.ViewSpec((size, size, 1), "uint8", 0.0, 255.0)
    views = {"digit": view}
    if pairing == "same_class":
        views["partner"] = view
    factors = {"digit": CLASSES, "color_bg": COLOURS, "color_fg": COLOURS}
    return batch.Spec(views, CLASSES, factors)


def draw(
    count: int, *, split: str, seed: int, rng: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the fixed colours of a split.

    Args:
      count: N.
      split: Each has its own stream.
      seed: Chooses the streams.
      rng: "stateless", or "python" for the stream of the released code: background,
        then foreground of each record in turn, from Python's `random`.

    Returns:
      Background and foreground, each `[N]` int32.
    """
    if rng not in RNGS:
        raise errors.unknown("color_rng", rng, RNGS)
    if rng == "python":
        stream = random.Random(seed)
        colours = [stream.randint(0, COLOURS - 1) for _ in range(2 * count)]
        return tuple(np.array(colours, np.int32).reshape(-1, 2).T)
    generator = np.random.default_rng((seed, arrays.SPLITS.index(split)))
    return tuple(generator.integers(0, COLOURS, (2, count), dtype=np.int32))


def pair(labels: np.ndarray, seed: int) -> np.ndarray:
    """Another sample of the same class for each sample where there is one, `[N]`."""
    rng = np.random.default_rng(seed)
    partner = np.arange(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        partner[members] = np.roll(members, 1)
    return partner


class ColourSource(arrays.ArraySource):
    """Grey images in memory with fixed colours."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        split: str,
        pairing: str,
        color_seed: int,
        color_rng: str,
    ):
        """Draws colours and partners.

        Args:
          images: `[N, S, S, 1]` uint8.
          labels: `[N]`.
          split: "train", "test" or "all".
          pairing: "same_instance": both views show one image; "same_class": the second
            shows another image of the class.
          color_seed: Chooses the colours, not negative.
          color_rng: See `draw`.
        """
        background, foreground = draw(
            len(images), split=split, seed=color_seed, rng=color_rng
        )
        views = {"digit": images}
        if pairing == "same_class":
            views["partner"] = images[pair(labels, color_seed)]
        factors = {"digit": labels, "color_bg": background, "color_fg": foreground}
        super().__init__(spec(images.shape[1], pairing), views, labels, factors=factors)
