"""Coloured MNIST: the pairs of SDIM/EDIM, from MNIST's files.

60,000 records for training, 10,000 for testing: 28x28 digits and two colours, from which
the method makes its views on the device. Where the files come from: see
`mvjax/data/mnist.py`.
"""

from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import colours
from mvjax.data import fetch
from mvjax.data import mnist

FAMILY = mnist.Family("coloured_mnist", "mnist", ("MNIST/raw",))
FETCH = {"mnist": fetch.PACKAGES["mnist"]}
SIZE = 28


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    tfds_dir: str | None = None,
    cache: str | None = None,
    pairing: limits.one_of(*colours.PAIRINGS) = "same_instance",
    color_seed: limits.Natural = 0,
    color_rng: limits.one_of(*colours.RNGS) = "stateless",
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, tfds_dir, cache, color_seed, color_rng, max_gib
    return colours.spec(SIZE, pairing)


def find_problems(
    *,
    split: str = "train",
    folder: str | None = None,
    tfds_dir: str | None = None,
    cache: str | None = None,
    max_gib: float | None = None,
    **options: object,
) -> list[str]:
    """Lists what is wrong with the files, one line for each problem."""
    del options
    return mnist.find_problems(
        FAMILY,
        split=split,
        folder=folder,
        tfds_dir=tfds_dir,
        cache=cache,
        max_gib=max_gib,
    )


class Source(colours.ColourSource):
    """Digits and colours in memory; see `colours.ColourSource` for the options."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        tfds_dir: str | None = None,
        cache: str | None = None,
        pairing: str = "same_instance",
        color_seed: int = 0,
        color_rng: str = "stateless",
        max_gib: float | None = None,
        limit: int | None = None,
    ):
        """Reads the files from `folder`, `tfds_dir` or the cache.

        Raises:
          UserError: The files are missing or damaged, or an option is unknown.
        """
        arrays.check_limit(limit)
        images, labels = mnist.read(
            FAMILY,
            split=split,
            folder=folder,
            tfds_dir=tfds_dir,
            cache=cache,
            max_gib=max_gib,
        )
        super().__init__(
            images[:limit],
            labels[:limit],
            split=split,
            pairing=pairing,
            color_seed=color_seed,
            color_rng=color_rng,
        )
