"""STL-10 from its binary files, which are mapped into memory.

View `image`, `[96, 96, 3]` uint8. Splits: `train` (5,000 records), `test` (8,000) and
`unlabelled` (100,000, label -1). With `unlabelled=True` the split `train` holds the
unlabelled images behind its own, as self-supervised training wants them, and `labelled` its
own alone, for a stream of labels beside it.

The files are the published ones, unpacked: `stl10_binary` with `train_X.bin`, `train_y.bin`
and so on, which `config.data.options.folder` names, or the folder above it; no registry
carries them.
"""

from collections.abc import Sequence
import hashlib
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import mapped
from mvjax.data import paths
from mvjax.data import plane_order

CLASS_NAMES = tuple("airplane bird car cat deer dog horse monkey ship truck".split())
SIDE = 96
_BYTES = 3 * SIDE * SIDE
_VIEW = batch.ViewSpec((SIDE, SIDE, 3), "uint8", 0.0, 255.0)
# Files and numbers of images by part, as published.
_PARTS = {"train": 5_000, "test": 8_000, "unlabeled": 100_000}
_LOOKS = 997  # Of so many images one goes into the fingerprint.


def find_splits(*, unlabelled: bool = False, **unused: Any) -> tuple[str, ...]:
    """Returns the names of the splits, "train" first."""
    del unused
    return ("train", "test", "labelled" if unlabelled else "unlabelled")


def spec(
    *, split: str = "train", folder: str | None = None, unlabelled: bool = False
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, unlabelled
    return batch.Spec({"image": _VIEW}, len(CLASS_NAMES), class_names=CLASS_NAMES)


def find_problems(
    *, split: str = "train", folder: str | None = None, unlabelled: bool = False
) -> list[str]:
    """Lists what is wrong with the files, or with the order of their pixels."""
    found = []
    for part in _parts(split, unlabelled=unlabelled):
        try:
            images, _ = _open(folder, part)
        except errors.UserError as error:
            found.append(str(error))
            continue
        step = max(1, len(images) // 2_000)
        sample = images[::step].transpose(0, 3, 2, 1)
        found += plane_order.problems(sample, column_major=True, where=str(images.path))
    return found


def describe(*, folder: str | None = None, unlabelled: bool = False) -> list[str]:
    """Facts about the files: unusual numbers of images, and rows without a label."""
    lines = []
    for part, count in _PARTS.items():
        try:
            found = len(_open(folder, part)[0])
        except errors.UserError:
            continue
        if found != count:
            lines.append(
                f"{part}_X.bin holds {found:,} images, the published one {count:,}."
            )
        if part == "unlabeled" and unlabelled:
            lines.append(
                f"The split 'train' holds {found:,} records without a label (-1); what "
                "learns from labels takes the split 'labelled'."
            )
    return lines


class Source:
    """The records of a split.

    Attributes:
      spec: What every record looks like.
      labels: Classes `[N]` int32, -1 where there are none.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        unlabelled: bool = False,
        limit: int | None = None,
    ):
        """Opens the files.

        Args:
          split: See the top of this file, or "all".
          folder: `stl10_binary`, or the folder above it.
          unlabelled: Whether `train` also holds the images without labels.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A file is missing, damaged or holds other labels.
        """
        arrays.check_limit(limit)
        self.spec = spec()
        opened = [_open(folder, p) for p in _parts(split, unlabelled=unlabelled)]
        self._images = [images for images, _ in opened]
        self.labels = np.concatenate([labels for _, labels in opened])[:limit]
        ends = np.cumsum([len(images) for images in self._images])
        self._starts = np.concatenate([[0], ends])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        found = self.gather([index])
        return {
            "views": {"image": found["views"]["image"][0]},
            "label": self.labels[index],
            "index": np.int32(index),
        }

    def gather(self, indices: Sequence[int] | np.ndarray) -> batch.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        indices = np.asarray(indices, np.int64)
        planes = np.empty((len(indices), 3, SIDE, SIDE), np.uint8)
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        for number, images in enumerate(self._images):
            mine = parts == number
            if mine.any():
                planes[mine] = images[indices[mine] - self._starts[number]]
        return {
            # Each plane is stored column by column.
            "views": {"image": np.ascontiguousarray(planes.transpose(0, 3, 2, 1))},
            "label": self.labels[indices],
            "index": indices.astype(np.int32),
        }

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of the labels, sizes and some of the images.

        Reading all 2.9 GB would take as long as an epoch.
        """
        digest = hashlib.sha256(self.labels.tobytes())
        for images in self._images:
            digest.update(f"{images.path.name} {len(images)} ".encode())
            digest.update(np.ascontiguousarray(images[::_LOOKS]).data)
        return digest.hexdigest()[:16]


def _parts(split: str, *, unlabelled: bool) -> tuple[str, ...]:
    """The parts of the published data that make a split."""
    splits = find_splits(unlabelled=unlabelled)
    arrays.check_split(split, (*splits, "all"))
    if split == "all":
        return tuple(_PARTS)
    if split == "train" and unlabelled:
        return ("train", "unlabeled")
    return ({"labelled": "train", "unlabelled": "unlabeled"}.get(split, split),)


def _open(folder: str | None, part: str) -> tuple[mapped.Mapped, np.ndarray]:
    """Images `[N, 3, width, height]` and labels `[N]` int32 of a part."""
    path = _find(folder, f"{part}_X.bin")
    size = path.stat().st_size
    if not size or size % _BYTES:
        raise errors.UserError(
            f"{path} has {size:,} bytes, no multiple of the {_BYTES:,} of an image: it is "
            f"truncated or another file{file_kind.clause(path)}."
        )
    images = mapped.Mapped(path, (size // _BYTES, 3, SIDE, SIDE), "uint8")
    if part == "unlabeled":
        return images, np.full(len(images), -1, np.int32)
    path = _find(folder, f"{part}_y.bin")
    try:
        labels = np.fromfile(path, np.uint8).astype(np.int32) - 1  # From 1 in the file.
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    if len(labels) != len(images):
        raise errors.UserError(
            f"{path} holds {len(labels)} labels, but {images.path} {len(images)} images."
        )
    bad = np.flatnonzero((labels < 0) | (labels >= len(CLASS_NAMES)))
    if bad.size:
        raise errors.UserError(
            f"{path} holds {labels[bad[0]] + 1} at index {bad[0]}, expected 1..10."
        )
    return images, labels


def _find(folder: str | None, name: str) -> pathlib.Path:
    advice = (
        "STL-10 is read from the binary files of the published archive, unpacked: "
        "`--config.data.options.folder=FOLDER` names stl10_binary or the folder above it"
    )
    if not folder:
        raise errors.UserError(f"No folder given. {advice}.")
    root = paths.find(folder)
    for place in (root, root / "stl10_binary"):
        if paths.is_file(place / name):
            return place / name
    raise errors.UserError(f"{root} has no {name}. {advice}.")
