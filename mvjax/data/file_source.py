"""Sources whose records are image files: one RGB view, decoded when it is asked for."""

from collections.abc import Sequence
import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import image_file

VIEW = "image"
_EXAMPLE = 256  # A side of images whose sizes vary.
_SIZES = 10_000  # Files whose sizes go into the fingerprint.


def view_spec(side: int) -> batch.ViewSpec:
    """The view `[side, side, 3]` uint8; 0: of any size."""
    sides = (side or _EXAMPLE,) * 2
    return batch.ViewSpec((*sides, 3), "uint8", 0.0, 255.0, varies=not side)


class FileSource:
    """Image files and what is known of each.

    Attributes:
      spec: What every record looks like.
      labels: Classes `[N]` int32, -1 where there are none.
      targets: Truths `[N, *shape]` by name.
    """

    def __init__(
        self,
        root: pathlib.Path,
        names: Sequence[str],
        spec: batch.Spec,
        *,
        labels: np.ndarray | None = None,
        targets: dict[str, np.ndarray] | None = None,
        shorter: int = 0,
    ):
        """Takes what was listed.

        Args:
          root: The folder of all files.
          names: N paths below it.
          spec: Of the records, see `view_spec`.
          labels: `[N]`; None: there are none.
          targets: `[N, *shape]` by name.
          shorter: What images are resized to by their shorter side; 0: not at all.
        """
        self.spec, self._root, self._names = spec, root, list(names)
        self.labels = np.full(len(names), -1, np.int32)
        if labels is not None:
            self.labels = np.asarray(labels, np.int32)
        self.targets, self._shorter = targets or {}, shorter

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len.

        Raises:
          UserError: The file is damaged, or has another size than all are to have.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        path = self._root / self._names[index]
        image, wanted = self._read(path), self.spec.views[VIEW]
        if not wanted.varies and image.shape != wanted.shape:
            raise errors.UserError(
                f"{path} has {image.shape[0]}x{image.shape[1]} pixels, expected "
                f"{wanted.shape[0]}x{wanted.shape[1]}."
            )
        record: dict[str, Any] = {
            "views": {VIEW: image},
            "label": self.labels[index],
            "index": np.int32(index),
        }
        if self.targets:
            record["targets"] = {k: v[index] for k, v in self.targets.items()}
        return record

    def _read(self, path: pathlib.Path) -> np.ndarray:
        """`[H, W, 3]` uint8."""
        image = image_file.read(path, 3)
        if not self._shorter:
            return image
        from mvjax.data import pictures

        return pictures.resize_shorter(image, self._shorter)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of names, truths and the sizes of some files.

        Reading every byte of a large folder would take as long as an epoch.
        """
        digest = hashlib.sha256(f"{self.spec} {self._shorter}".encode())
        for name in self._names:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        for path in self._names[:: max(1, len(self) // _SIZES)]:
            digest.update(f"{(self._root / path).stat().st_size} ".encode())
        digest.update(self.labels.tobytes())
        for name in sorted(self.targets):
            digest.update(np.ascontiguousarray(self.targets[name]).data)
        return digest.hexdigest()[:16]


def list_images(folder: pathlib.Path, *, deep: bool) -> list[str]:
    """Names of the images in a folder, sorted, relative to it.

    Args:
      folder: Where they are.
      deep: Whether those in folders of the folder count too.

    Raises:
      UserError: Nobody may look there.
    """
    try:
        with os.scandir(folder) as entries:
            found = [e for e in entries if not e.name.startswith(".")]
    except OSError as error:
        raise errors.UserError(f"Cannot read {folder}: {error.strerror}.") from None
    names = []
    for entry in found:
        if os.path.splitext(entry.name)[1].lower() in image_file.ENDINGS:
            names.append(entry.name)
        elif deep and entry.is_dir():
            inside = list_images(folder / entry.name, deep=True)
            names += [f"{entry.name}/{name}" for name in inside]
    return sorted(names)


def list_folders(folder: pathlib.Path) -> list[str]:
    """Names of the folders in a folder, sorted; () where there is none.

    Raises:
      UserError: Nobody may look there.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                e.name for e in entries if e.is_dir() and not e.name.startswith(".")
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.UserError(f"Cannot read {folder}: {error.strerror}.") from None
