"""MNIST and its relatives as one view: padded, and perhaps grey in three channels."""

from collections.abc import Callable

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import mnist

VIEW = "image"
_SIDE = 28


def make_spec(family: mnist.Family) -> Callable[..., batch.Spec]:
    """Returns the `spec` of a data set's module."""

    def spec(
        *,
        split: str = "train",
        folder: str | None = None,
        tfds_dir: str | None = None,
        cache: str | None = None,
        padding: limits.Natural = 2,
        channels: limits.one_of(1, 3) = 3,
        max_gib: limits.Positive | None = None,
    ) -> batch.Spec:
        """`image`, `[28 + 2 padding, 28 + 2 padding, channels]` uint8; needs no data."""
        del split, folder, tfds_dir, cache, max_gib
        side = _SIDE + 2 * padding
        view = batch.ViewSpec((side, side, channels), "uint8", 0.0, 255.0)
        return batch.Spec({VIEW: view}, mnist.CLASSES, class_names=family.class_names)

    return spec


class PlainSource(arrays.ArraySource):
    """The images of a family, kept in memory.

    The data set of a family is a class with its own `FAMILY`.
    """

    FAMILY: mnist.Family

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        tfds_dir: str | None = None,
        cache: str | None = None,
        padding: int = 2,
        channels: int = 3,
        max_gib: float | None = None,
        limit: int | None = None,
    ):
        """Reads and pads.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Folder with IDX files; see `mnist.find_folder`.
          tfds_dir: Directory prepared by tensorflow-datasets; see `mnist.read_tfds`.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          padding: Black pixels on each side; 2 make 32x32.
          channels: 3: the grey values three times, as encoders of photographs want them.
          max_gib: Memory that a file may take, in GiB; None: half of what is free.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: The files are missing or damaged, or of another size.
        """
        arrays.check_limit(limit)
        images, labels = mnist.read(
            self.FAMILY,
            split=split,
            folder=folder,
            tfds_dir=tfds_dir,
            cache=cache,
            max_gib=max_gib,
        )
        if images.shape[1:3] != (_SIDE, _SIDE):
            raise errors.UserError(
                f"The images of {self.FAMILY.source} are {images.shape[1]}x"
                f"{images.shape[2]}, expected {_SIDE}x{_SIDE}."
            )
        margin = (padding, padding)
        images = np.pad(images[:limit], ((0, 0), margin, margin, (0, 0)))
        images = np.repeat(images, channels, axis=3)
        promised = make_spec(self.FAMILY)(padding=padding, channels=channels)
        super().__init__(promised, {VIEW: images}, labels[:limit])

    @classmethod
    def find_problems(
        cls,
        *,
        split: str = "train",
        folder: str | None = None,
        tfds_dir: str | None = None,
        cache: str | None = None,
        padding: int = 2,
        channels: int = 3,
        max_gib: float | None = None,
    ) -> list[str]:
        """Lists what is wrong with the files, one line for each problem."""
        del padding, channels
        return mnist.find_problems(
            cls.FAMILY,
            split=split,
            folder=folder,
            tfds_dir=tfds_dir,
            cache=cache,
            max_gib=max_gib,
        )
