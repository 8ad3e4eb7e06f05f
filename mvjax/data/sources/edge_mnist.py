"""EdgeMNIST: MNIST digits and their edges.

60,000 records for training, 10,000 for testing. Views `image` and `edge`, `[size, size,
1]` uint8. The edge view is the 3x3 dilation minus the image, taken at 28x28 before the
resizing, as in the released MRDD code.
"""

from mvjax.core import limits
from mvjax.data import batch
from mvjax.data import mnist

FAMILY = mnist.Family("edge_mnist", "mnist", ("MNIST/raw", "EdgeMNISTDataset/raw"))


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    tfds_dir: str | None = None,
    cache: str | None = None,
    size: limits.Pixels = 32,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, tfds_dir, cache, max_gib
    return mnist.spec(size)


def find_problems(
    *,
    split: str = "train",
    folder: str | None = None,
    tfds_dir: str | None = None,
    cache: str | None = None,
    size: int = 32,
    max_gib: float | None = None,
) -> list[str]:
    """Lists what is wrong with the files, one line for each problem."""
    del size
    return mnist.find_problems(
        FAMILY,
        split=split,
        folder=folder,
        tfds_dir=tfds_dir,
        cache=cache,
        max_gib=max_gib,
    )


class Source(mnist.EdgeSource):
    """Images and edges in memory; see `mnist.EdgeSource` for the options."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        tfds_dir: str | None = None,
        cache: str | None = None,
        size: int = 32,
        max_gib: float | None = None,
        limit: int | None = None,
    ):
        """Reads the files from `folder`, `tfds_dir` or the cache.

        Raises:
          UserError: The files are missing or damaged.
        """
        super().__init__(
            FAMILY,
            split=split,
            folder=folder,
            tfds_dir=tfds_dir,
            cache=cache,
            size=size,
            max_gib=max_gib,
            limit=limit,
        )
