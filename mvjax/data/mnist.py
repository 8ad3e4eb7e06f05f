"""Finds and reads data sets in the form of MNIST, and makes their edge view.

Files are looked for in a folder that the user names, in a directory prepared by
tensorflow-datasets, and in the cache that `mvjax data fetch` fills, in this order.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.core import limits
from mvjax.core import notice
from mvjax.core import storage
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import edges
from mvjax.data import idx
from mvjax.data import images as images_lib
from mvjax.data import paths
from mvjax.data import splits as splits_lib
from mvjax.data import tfds_directory

CLASSES = 10
PREFIXES = {"train": "train", "test": "t10k"}
_KINDS = {"images-idx3": 3, "labels-idx1": 1}  # Number of axes by kind of file.


class Family(NamedTuple):
    """One data set in this form."""

    source: str  # Name of the source, as in a config.
    fetched: str  # Name for `mvjax data fetch` and of the tensorflow-datasets builder.
    folders: tuple[str, ...]  # Where the files may lie below the user's folder.
    class_names: tuple[str, ...] = ()  # (): the digits.


class EdgeSource(arrays.ArraySource):
    """The images of a family and their edges, resized once and kept in memory.

    The data set of a family is a class with its own `FAMILY`.
    """

    FAMILY: Family

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
        """Reads, derives and resizes.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Folder with IDX files; see `find_folder`.
          tfds_dir: Directory prepared by tensorflow-datasets; see `read_tfds`.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          size: Height and width of the views.
          max_gib: Memory that a file may take, in GiB; None: half of what is free.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: The files are missing or damaged.
        """
        arrays.check_limit(limit)
        images, labels = read(
            self.FAMILY,
            split=split,
            folder=folder,
            tfds_dir=tfds_dir,
            cache=cache,
            max_gib=max_gib,
        )
        images, labels = images[:limit], labels[:limit]
        views = {  # Edges first, at the size of the file.
            "image": images_lib.resize(images, size),
            "edge": images_lib.resize(edges.edge_view(images), size),
        }
        super().__init__(edge_spec(size=size), views, labels)

    @classmethod
    def find_problems(
        cls,
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
        return find_problems(
            cls.FAMILY,
            split=split,
            folder=folder,
            tfds_dir=tfds_dir,
            cache=cache,
            max_gib=max_gib,
        )


def edge_spec(
    *,
    split: str = "train",
    folder: str | None = None,
    tfds_dir: str | None = None,
    cache: str | None = None,
    size: limits.Pixels = 32,
    max_gib: limits.Positive | None = None,
) -> batch.Spec:
    """Image and edge view, `[size, size, 1]` uint8; needs no data."""
    del split, folder, tfds_dir, cache, max_gib
    view = batch.ViewSpec((size, size, 1), "uint8", 0.0, 255.0)
    return batch.Spec({"image": view, "edge": view}, CLASSES)


def read(
    family: Family,
    *,
    split: str,
    folder: str | None,
    tfds_dir: str | None,
    cache: str | None,
    max_gib: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a split from wherever the files are; arguments as for `EdgeSource`.

    Returns:
      Images `[N, H, W, 1]` uint8 and labels `[N]`.
    """
    arrays.check_split(split)
    splits = ("train", "test") if split == "all" else (split,)
    if folder is None and tfds_dir is not None:
        parts = [read_tfds(family, tfds_dir, name) for name in splits]
    else:
        place = find_folder(family, folder=folder, cache=cache)
        parts = [read_idx(place, name, max_gib=max_gib) for name in splits]
        if "train" in splits:
            _tell_others(place)
    images = np.concatenate([part[0] for part in parts])[..., None]
    return images, np.concatenate([part[1] for part in parts])


def find_folder(
    family: Family, *, folder: str | None, cache: str | None
) -> pathlib.Path:
    """Returns the folder that holds the IDX files.

    Args:
      family: Which data set.
      folder: The user's folder, which holds the files itself or in one of the
        family's usual places below it; None: look in the cache.
      cache: Cache of mvjax; None: `~/.cache/mvjax`.

    Raises:
      UserError: No file of the data set is there; the message says how to get it.
    """
    if folder is not None:
        root = paths.find(folder)
        places = [root, *(root / name for name in family.folders)]
    else:
        root = pathlib.Path(cache) if cache else storage.default_cache({})
        places = [root / family.fetched]
    for place in places:
        for prefix in PREFIXES.values():
            if idx.find(place, f"{prefix}-images-idx3-ubyte"):
                return place
    looked = ", ".join(str(place) for place in places)
    raise errors.UserError(
        f"No IDX files of {family.source} (train-images-idx3-ubyte, ... or the same "
        f"with .gz); looked in {looked}. Either run `mvjax data fetch "
        f"{family.fetched}`, or name your own files: "
        "`--config.data.options.folder=FOLDER` (IDX) or "
        "`--config.data.options.tfds_dir=FOLDER` (tensorflow-datasets)."
    )


def _tell_others(folder: pathlib.Path) -> None:
    """Says which files of images belong to no split."""
    endings = ("-images-idx3-ubyte", "-images-idx3-ubyte.gz")
    ours = {prefix + ending for prefix in PREFIXES.values() for ending in endings}
    others = [p.name for p in folder.iterdir() if p.name.endswith(endings)]
    for name in sorted(set(others) - ours):
        notice.warn(
            f"{folder / name} is not read: the splits are the files of "
            f"{' and '.join(PREFIXES.values())}."
        )


def read_idx(
    folder: pathlib.Path, split: str, *, max_gib: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads one split.

    Args:
      folder: Holds the IDX files.
      split: "train" or "test".
      max_gib: Memory that a file may take, in GiB; None: half of what is free.

    Returns:
      Images `[N, H, W]` uint8 and labels `[N]` uint8.

    Raises:
      UserError: A file is missing, damaged, or the two do not belong together.
    """
    found = [_read_file(folder, split, kind, max_gib) for kind in _KINDS]
    (images_path, images), (labels_path, labels) = found
    for path, array in found:
        if array.dtype != np.uint8:
            raise errors.UserError(f"{path} holds {array.dtype}, expected uint8.")
    if len(images) != len(labels):
        raise errors.UserError(
            f"{images_path} holds {len(images)} images but {labels_path} "
            f"{len(labels)} labels."
        )
    if images.size == 0:
        raise errors.UserError(f"{images_path} holds no images.")
    _check_labels(labels, labels_path)
    return images, labels


def _check_labels(labels: np.ndarray, where: pathlib.Path) -> None:
    """Refuses labels `[N]` that are no digits."""
    bad = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if bad.size:
        raise errors.UserError(
            f"{where}: label {labels[bad[0]]} at index {bad[0]}, expected 0.."
            f"{CLASSES - 1}."
        )


def find_problems(
    family: Family,
    *,
    split: str,
    folder: str | None,
    tfds_dir: str | None,
    cache: str | None,
    max_gib: float | None,
) -> list[str]:
    """Lists what is wrong with every file, where the constructor stops at the first."""
    if folder is None and tfds_dir is not None:
        return []  # Opening it says what is wrong.
    try:
        place = find_folder(family, folder=folder, cache=cache)
    except errors.UserError as error:
        return [str(error)]
    problems = []
    for name in ("train", "test") if split == "all" else (split,):
        found = []
        for kind in _KINDS:
            try:
                _read_file(place, name, kind, max_gib)
            except errors.UserError as error:
                found.append(str(error))
        if not found:  # Each is sound; do they belong together?
            try:
                read_idx(place, name, max_gib=max_gib)
            except errors.UserError as error:
                found.append(str(error))
        problems += found
    return problems


def _read_file(
    folder: pathlib.Path, split: str, kind: str, max_gib: float | None
) -> tuple[pathlib.Path, np.ndarray]:
    """Finds and reads one file; returns where it was and its array."""
    name = f"{PREFIXES[split]}-{kind}-ubyte"
    path = idx.find(folder, name)
    if path is None:
        what = file_kind.clause(folder / name)
        raise errors.UserError(
            f"{folder / name} (or the same with .gz) is missing{what}."
        )
    return path, idx.read(path, ndim=_KINDS[kind], max_gib=max_gib)


def read_tfds(
    family: Family, directory: str, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Reads one split from a directory that tensorflow-datasets prepared.

    Args:
      family: Which data set.
      directory: The folder of one version (it holds `dataset_info.json`), or a folder
        above it, such as the `data_dir` of tensorflow-datasets.
      split: "train" or "test".

    Returns:
      Images `[N, H, W]` uint8 and labels `[N]` int32.

    Raises:
      UserError: There is no prepared data set, or its files need TensorFlow.
    """
    place = tfds_directory.find(directory, family.fetched)
    instead = f", or use `mvjax data fetch {family.fetched}`"
    builder = tfds_directory.open_builder(place, instead)
    name = _find_split(list(builder.info.splits), split, place)
    try:
        records = builder.as_data_source(split=name)
        found = [(np.asarray(record["image"]), record["label"]) for record in records]
    except Exception as error:  # As above, of damaged records.
        raise errors.UserError(
            f"Cannot read {place} ({errors.one_line(error)})."
        ) from None
    images, labels = [image for image, _ in found], np.array([y for _, y in found])
    kinds = {(image.shape, str(image.dtype)) for image in images}
    shape, dtype = next(iter(kinds), ((), ""))
    if len(kinds) != 1 or shape[2:] != (1,) or dtype != "uint8":
        raise errors.UserError(
            f"{builder.data_path}: expected grey images of one size, [H, W, 1] of uint8, "
            f"found {sorted(kinds)}."
        )
    _check_labels(labels, place)
    return np.stack(images)[..., 0], labels.astype(np.int32)


def _find_split(names: list[str], split: str, place: pathlib.Path) -> str:
    """Returns what a prepared directory calls a split; says what else is in it."""
    known = splits_lib.find(names, str(place))
    for name, ours in known.items():
        if ours not in PREFIXES and split == "train":
            notice.warn(f"{place}: the split {name!r} is not read.")
        elif ours == split != name:
            notice.warn(f"{place}: {splits_lib.note(name, ours)}")
    found = [name for name, ours in known.items() if ours == split]
    if not found:
        raise errors.unknown("split of tfds_dir", split, names)
    return found[0]
