"""Records that are crops of a few scenes in memory, on a grid."""

from collections.abc import Mapping, Sequence
import hashlib

import numpy as np

from mvjax.core import errors
from mvjax.data import batch


class SceneCrops:
    """Squares of scenes, cut when they are asked for.

    Attributes:
      spec: What every record looks like.
      labels: Classes `[N]` int32, -1 where there are none.
      factors: Classes `[N]` int32 by factor.
      targets: Truths `[N, *shape]` by name.
    """

    def __init__(
        self,
        spec: batch.Spec,
        scenes: Sequence[Mapping[str, np.ndarray]],
        places: np.ndarray,
        labels: np.ndarray,
        *,
        factors: Mapping[str, np.ndarray] | None = None,
        targets: Mapping[str, np.ndarray] | None = None,
    ):
        """Takes scenes and what is cut of them.

        Args:
          spec: Of the records; the views say the size of a crop.
          scenes: Views `[H, W, C]` by name, of each scene all of one height and width.
          places: Scene, top and left of each crop, `[N, 3]`.
          labels: `[N]`.
          factors: `[N]` by name.
          targets: `[N, *shape]` by name.
        """
        self.spec, self._scenes, self._places = spec, list(scenes), places
        self.labels = np.asarray(labels, np.int32)
        self.factors = {k: np.asarray(v, np.int32) for k, v in (factors or {}).items()}
        self.targets = dict(targets or {})

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len."""
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        record = {
            "views": self._cut(self._places[index]),
            "label": self.labels[index],
            "index": np.int32(index),
        }
        return record | self._beside(index)

    def gather(self, indices: Sequence[int] | np.ndarray) -> batch.Record:
        """Returns the batch of the records `indices`, `[B]`, in that order."""
        indices = np.asarray(indices, np.int64)
        crops = [self._cut(self._places[i]) for i in indices]
        found = {
            "views": {k: np.stack([c[k] for c in crops]) for k in self.spec.views},
            "label": self.labels[indices],
            "index": indices.astype(np.int32),
        }
        return found | self._beside(indices)

    def _cut(self, place: np.ndarray) -> dict[str, np.ndarray]:
        """The views of the crop at a scene, top and left, `[size, size, C]`."""
        scene = self._scenes[place[0]]
        return {
            k: window(scene[k], place, v.shape[0]) for k, v in self.spec.views.items()
        }

    def _beside(self, index: int | np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        parts = {"factors": self.factors, "targets": self.targets}
        return {
            name: {k: values[index] for k, values in part.items()}
            for name, part in parts.items()
            if part
        }

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that change with any value of the data."""
        digest = hashlib.sha256(f"{self.spec}".encode() + self._places.tobytes())
        for part in (*self._scenes, self.factors, self.targets, {"": self.labels}):
            for name in sorted(part):
                digest.update(
                    name.encode() + np.ascontiguousarray(part[name]).tobytes()
                )
        return digest.hexdigest()[:16]


def window(scene: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """The square of `size` of a scene `[H, W, ...]` at a place (scene, top, left)."""
    _, top, left = place
    return scene[top : top + size, left : left + size]


def windows(scene: np.ndarray, places: np.ndarray, size: int) -> list[np.ndarray]:
    """The squares of one scene at places `[n, 3]`."""
    return [window(scene, place, size) for place in places]


def split_grids(
    split: str,
    shape: tuple[int, int],
    *,
    size: int,
    strides: Mapping[str, int],
    share: float,
    axis: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the crops of one scene, of which a strip is for testing.

    Args:
      split: "train", "test" or "all" (train, then test).
      shape: Height and width of the scene.
      size: Side of a crop.
      strides: Pixels between neighbours by split.
      share: See `strips`.
      axis: Along which the strip is cut off: 0: at the lower end; 1: at the right.

    Returns:
      Those of the split, and those of training, `[n, 3]`.

    Raises:
      UserError: No crops fit.
    """
    parts = strips(shape[axis], size, share)
    if shape[1 - axis] < size or parts["train"][1] < size:
        raise errors.UserError(
            f"The scene has {shape[0]}x{shape[1]} pixels; no crops of {size} for training "
            "and testing fit. Choose a smaller options.size or options.test_share."
        )
    found = {}
    for name, part in parts.items():
        whole = (0, shape[1 - axis])
        rows, columns = (part, whole) if axis == 0 else (whole, part)
        found[name] = grid(0, rows, columns, size, strides[name])
    chosen = found.values() if split == "all" else (found[split],)
    return np.concatenate(list(chosen)), found["train"]


def grid(
    number: int, rows: tuple[int, int], columns: tuple[int, int], size: int, stride: int
) -> np.ndarray:
    """Places of crops within a part of a scene.

    Args:
      number: Of the scene.
      rows: First row, and the one behind the last.
      columns: The same.
      size: Side of a crop.
      stride: Pixels between neighbours.

    Returns:
      Scene, top and left of each, `[n, 3]`.
    """
    tops = np.arange(rows[0], rows[1] - size + 1, stride)
    lefts = np.arange(columns[0], columns[1] - size + 1, stride)
    places = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.concatenate([np.full((len(places), 1), number), places], axis=1)


def strips(length: int, size: int, share: float) -> dict[str, tuple[int, int]]:
    """Rows or columns of a scene for training and testing, which share none.

    Args:
      length: How many there are; the last ones are for testing.
      size: Side of a crop; testing gets at least as much.
      share: Of the length, for testing.
    """
    border = length - max(size, round(share * length))
    return {"train": (0, border), "test": (border, length)}
