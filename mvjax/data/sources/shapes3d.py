"""3D Shapes as pairs: two rooms with one object, all three colours different.

Both views of a record agree in scale, shape and orientation and differ in the hue of
floor, wall and object. The data come from the published HDF5 file `3dshapes.h5`, which
holds `images` `[480000, 64, 64, 3]` uint8 and `labels` `[480000, 6]`, the values of the
factors in the order of `FACTORS`; h5py reads it. A whole split of it takes 1.2 (test) to
4.7 GB of memory; `limit` reads only what it keeps, `size` shrinks it.

The images are split at random, each combination of the shared factors on its own, and
partners come from the same split, so no image is in both.
"""

import hashlib
import importlib.util
import math
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import limits
from mvjax.core import memory
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import images as images_lib
from mvjax.data import paths

SIZE = 64
# Smallest value, distance of two values and number of values, in the file's order.
FACTORS = {
    "floor_hue": (0.0, 0.1, 10),
    "wall_hue": (0.0, 0.1, 10),
    "object_hue": (0.0, 0.1, 10),
    "scale": (0.75, 0.5 / 7, 8),
    "shape": (0.0, 1.0, 4),
    "orientation": (-30.0, 60 / 14, 15),
}
SHARED = ("scale", "shape", "orientation")
EXCLUSIVE = ("floor_hue", "wall_hue", "object_hue")
VIEWS = ("x", "y")
_BLOCK = 2048  # So many images are read at a time.
_DRAWS = 1000  # In the whole file three of four draws fit.


def spec(
    *,
    split: str = "train",
    file: str | None = None,
    size: limits.Pixels = SIZE,
    train_fraction: limits.Part = 0.8,
    pair_seed: limits.Natural = 0,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Views `x` and `y`, `[size, size, 3]` uint8; needs no data.

    Factors are those that both share, and the hues of each, such as `wall_hue_y`; the
    label is the shape.
    """
    del split, file, train_fraction, pair_seed, max_gib
    view = batch.ViewSpec((size, size, 3), "uint8", 0.0, 255.0)
    factors = {name: FACTORS[name][2] for name in SHARED}
    factors |= {f"{name}_{v}": FACTORS[name][2] for v in VIEWS for name in EXCLUSIVE}
    return batch.Spec(dict.fromkeys(VIEWS, view), FACTORS["shape"][2], factors)


class Source(arrays.ArraySource):
    """The images in memory, each once; a record picks two of them."""

    def __init__(
        self,
        *,
        split: str = "train",
        file: str | None = None,
        size: int = SIZE,
        train_fraction: float = 0.8,
        pair_seed: int = 0,
        max_gib: float | None = None,
        limit: int | None = None,
    ):
        """Splits and pairs by the factors, then reads the images.

        Args:
          split: "train", "test" or "all".
          file: The HDF5 file.
          size: Height and width of the views.
          train_fraction: Part of the images for training.
          pair_seed: Chooses the order of the records and the partners, not negative.
          max_gib: Memory that labels and images may take, in GiB; None: half of what
            is free.
          limit: Number of records to keep, which are random ones; None: all.

        Raises:
          UserError: h5py or the file is missing, the file is damaged or another one, or
            an image has no partner.
        """
        arrays.check_limit(limit)
        if not 0 < train_fraction <= 1:
            raise errors.UserError(
                f"train_fraction must be above 0 and at most 1, got {train_fraction}."
            )
        with _open(file) as content:
            stored = _find(content, "images", (SIZE, SIZE, 3))
            labels = _find(content, "labels", (len(FACTORS),))
            if len(stored) != len(labels):
                raise errors.UserError(
                    f"{file}: {len(stored)} images but {len(labels)} labels."
                )
            _check_size(labels, labels.shape, max_gib)
            classes = classify(_rows(labels, slice(None)), str(file))
            pool = arrays.random_split(
                _groups(classes), split=split, train_fraction=train_fraction
            )
            if not len(pool):
                raise errors.UserError(f"{file}: the split {split!r} is empty.")
            rng = np.random.default_rng((pair_seed, arrays.SPLITS.index(split)))
            first = rng.permutation(pool)[:limit]
            second = pair(first, pool, classes, rng)
            rows = np.unique(np.concatenate([first, second]))
            _check_size(stored, (len(rows), size, size, 3), max_gib)
            self._images = _read(stored, rows, size)
        self._picked = [np.searchsorted(rows, chosen) for chosen in (first, second)]
        views = [_Rows(self._images, chosen) for chosen in self._picked]
        factors = {name: classes[name][first] for name in SHARED}
        for view, chosen in zip(VIEWS, (first, second), strict=True):
            factors |= {f"{name}_{view}": classes[name][chosen] for name in EXCLUSIVE}
        super().__init__(
            spec(size=size),
            dict(zip(VIEWS, views, strict=True)),
            factors["shape"],
            factors=factors,
        )

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that change with any value of the data."""
        if self._fingerprint is None:
            digest = hashlib.sha256(memoryview(self._images))
            for array in (*self._picked, *self.factors.values()):
                digest.update(memoryview(np.ascontiguousarray(array)))
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint


class _Rows:
    """Rows of a larger array that are picked when asked for."""

    def __init__(self, images: np.ndarray, rows: np.ndarray):
        """Stands for `images[rows]`, `[N, H, W, 3]`."""
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._images[self._rows[index]]

    def take(self, indices: np.ndarray, *, axis: int) -> np.ndarray:
        """Rows `indices`, as `np.ndarray.take`."""
        return self._images.take(self._rows[indices], axis=axis)


def classify(values: np.ndarray, file: str) -> dict[str, np.ndarray]:
    """Classes of the file's values.

    Args:
      values: `[N, 6]` floats.
      file: Path that an error names.

    Returns:
      0, 1, ... from the smallest value on, `[N]` int32 by factor.

    Raises:
      UserError: A value is not one of the data set's.
    """
    classes = {}
    for column, (name, (low, step, count)) in zip(values.T, FACTORS.items()):
        with np.errstate(over="ignore"):
            place = (column - low) / step
        nearest = np.rint(np.nan_to_num(place, nan=-1, posinf=-1, neginf=-1))
        wrong = ~(np.abs(place - nearest) < 0.01) | (nearest < 0) | (nearest >= count)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise errors.UserError(
                f"{file}: label {name} of image {row} is {column[row]:g}, expected "
                f"{low:g} to {low + step * (count - 1):g} in steps of {step:.4g}."
            )
        classes[name] = nearest.astype(np.int32)
    return classes


def pair(
    first: np.ndarray,
    pool: np.ndarray,
    classes: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws a partner of the same shared factors and three other hues for each image.

    Args:
      first: Rows of the images, `[M]`.
      pool: Rows that may be partners, `[P]`.
      classes: Classes `[N]` of all rows of the file, by factor.
      rng: Draws.

    Returns:
      Rows, `[M]`.

    Raises:
      UserError: An image has no partner in the pool.
    """
    groups = _groups(classes)
    hues = np.stack([classes[name] for name in EXCLUSIVE])  # [3, N]
    pool = pool[np.argsort(groups[pool], kind="stable")]
    start = np.searchsorted(groups[pool], groups[first], "left")
    end = np.searchsorted(groups[pool], groups[first], "right")
    second, left = np.empty_like(first), np.arange(len(first))
    for _ in range(_DRAWS):
        drawn = pool[rng.integers(start[left], end[left])]
        fits = (hues[:, first[left]] != hues[:, drawn]).all(axis=0)
        second[left[fits]] = drawn[fits]
        left = left[~fits]
        if not len(left):
            return second
    lonely = left[0]
    raise errors.UserError(
        f"Image {first[lonely]} has no partner in its split: none of the "
        f"{end[lonely] - start[lonely]} images of its scale, shape and orientation has "
        "three other hues."
    )


def _groups(classes: dict[str, np.ndarray]) -> np.ndarray:
    """A number for each combination of the shared factors, `[N]`."""
    sizes = [FACTORS[name][2] for name in SHARED]
    return np.ravel_multi_index([classes[name] for name in SHARED], sizes)


def _open(file: str | None) -> Any:
    """Opens the HDF5 file."""
    if importlib.util.find_spec("h5py") is None:
        raise errors.UserError(
            'Reading 3D Shapes needs h5py: pip install "mvjax[shapes3d]"'
        )
    import h5py

    if not file:
        raise errors.UserError(
            "No file given: set `--config.data.options.file=3dshapes.h5`, the file of "
            "the 3D Shapes data set."
        )
    path = paths.find(file)
    if not paths.is_file(path):
        raise errors.UserError(f"There is no file {path}{file_kind.clause(path)}.")
    try:
        return h5py.File(path, "r")
    except OSError:
        kind = file_kind.clause(path)
        raise errors.UserError(
            f"{path} is no HDF5 file, or a truncated one{kind}."
        ) from None


def _find(content: Any, name: str, shape: tuple[int, ...]) -> Any:
    """A data set of the file, checked; `shape` is that of one row."""
    found = content.get(name)
    if found is None or not hasattr(found, "dtype"):
        names = ", ".join(content) or "nothing"
        raise errors.UserError(f"{content.filename} holds no {name!r} but {names}.")
    wanted = "uint8" if name == "images" else "numbers"
    kinds = "u" if name == "images" else "fiu"
    wrong = found.dtype.kind not in kinds or (kinds == "u" and found.dtype.itemsize > 1)
    if wrong or found.shape[1:] != shape:
        raise errors.UserError(
            f"{content.filename}: {name!r} is {list(found.shape)} of {found.dtype}, "
            f"expected [N, {', '.join(map(str, shape))}] of {wanted}."
        )
    return found


def _check_size(found: Any, shape: tuple[int, ...], max_gib: float | None) -> None:
    """Refuses what does not fit; a file may declare more than it stores."""
    size, most = math.prod(shape) * found.dtype.itemsize, memory.bound(max_gib)
    if size > most:
        raise errors.UserError(
            f"{found.file.filename}: {found.name.strip('/')!r} would take "
            f"{memory.say(size)}, {memory.say(most)} may be taken; set "
            "config.data.limit, or raise config.data.options.max_gib."
        )


def _rows(found: Any, rows: slice) -> np.ndarray:
    """Reads rows of a data set of the file."""
    try:
        return found[rows]
    except Exception as error:  # HDF5 may raise anything for a damaged file.
        raise errors.UserError(
            f"{found.file.filename}: {found.name.strip('/')!r} is damaged ("
            f"{errors.one_line(error)})."
        ) from None


def _read(stored: Any, rows: np.ndarray, size: int) -> np.ndarray:
    """Reads ascending rows, `[len(rows), size, size, 3]`.

    The file is compressed in blocks, so whole stretches are far quicker than rows.
    """
    images = np.empty((len(rows), size, size, 3), np.uint8)
    for start in range(0, len(stored), _BLOCK):
        low, high = np.searchsorted(rows, (start, start + _BLOCK))
        if low < high:
            block = _rows(stored, slice(start, start + _BLOCK))[rows[low:high] - start]
            images[low:high] = images_lib.resize(block, size)
    return images
