"""CIFAR-10, CIFAR-100 and CIFAR-20, the 20 superclasses of CIFAR-100.

50,000 records for training, 10,000 for testing. View `image`, `[32, 32, 3]` uint8. The
files are the published ones for Python, unpacked: `cifar-10-batches-py` or
`cifar-100-python` in the folder `config.data.options.folder`; no registry carries them.
"""

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import cifar
from mvjax.data import plane_order

_VIEW = batch.ViewSpec((cifar.SIDE, cifar.SIDE, 3), "uint8", 0.0, 255.0)


def spec(
    *,
    split: str = "train",
    classes: limits.one_of(10, 20, 100) = 10,
    folder: str | None = None,
    checksums: bool = True,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, checksums, max_gib
    names = cifar.FAMILIES[classes].names
    return batch.Spec({"image": _VIEW}, classes, class_names=names)


def find_problems(
    *,
    split: str = "train",
    classes: int = 10,
    folder: str | None = None,
    checksums: bool = True,
    max_gib: float | None = None,
) -> list[str]:
    """Lists what is wrong with the files, or with the order of their pixels."""
    options = dict(checksums=checksums, max_gib=max_gib)
    try:
        images, _ = cifar.read(classes, folder, split, **options)
    except errors.UserError as error:
        return [str(error)]
    where = f"CIFAR-{classes}, split {split!r}"
    return plane_order.problems(images, column_major=False, where=where)


class Source(arrays.ArraySource):
    """The images of a split in memory."""

    def __init__(
        self,
        *,
        split: str = "train",
        classes: int = 10,
        folder: str | None = None,
        checksums: bool = True,
        max_gib: float | None = None,
        limit: int | None = None,
    ):
        """Reads the files.

        Args:
          split: "train", "test" or "all" (train, then test).
          classes: 10, 100, or 20: the superclasses of the 100.
          folder: Holds the files, or the folder with them.
          checksums: Whether the files must be the published ones.
          max_gib: What a file may take in memory, in GiB; None: half of what is free.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: The files are missing, damaged or others.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        images, labels = cifar.read(
            classes, folder, split, checksums=checksums, max_gib=max_gib
        )
        views = {"image": images[:limit].copy()}
        super().__init__(spec(classes=classes), views, labels[:limit])
