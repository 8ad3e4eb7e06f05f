"""Reads the Python files of CIFAR-10 and CIFAR-100.

They are pickles of Python 2: a dict with `data`, `[N, 3072]` uint8, three planes of 32 rows
each, and one list of labels or two. Nothing that a file names is run, and files are
compared with the published MD5 sums.
"""

import hashlib
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind
from mvjax.data import array_pickle
from mvjax.data import paths

SIDE = 32
_PIXELS = 3 * SIDE * SIDE
# The superclass of each of the 100 classes.
COARSE = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
    *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
    *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
    *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
    *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)


class Family(NamedTuple):
    """One way to read the files."""

    folder: str  # Below the user's folder, or that itself.
    files: dict[str, tuple[str, ...]]  # By split.
    labels: str  # Their key.
    names: tuple[str, ...]  # Of the classes.


_TENS = tuple(f"data_batch_{i}" for i in range(1, 6))
_HUNDREDS = {"train": ("train",), "test": ("test",)}
_NAMES_10 = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
_NAMES_20 = tuple(
    """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables
    household_electrical_devices household_furniture insects large_carnivores
    large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles
    small_mammals trees vehicles_1 vehicles_2
    """.split()
)
_NAMES_100 = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
    couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
    house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
    rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
    streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
    trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)
FAMILIES: dict[int, Family] = {
    10: Family(
        "cifar-10-batches-py",
        {"train": _TENS, "test": ("test_batch",)},
        "labels",
        _NAMES_10,
    ),
    100: Family("cifar-100-python", _HUNDREDS, "fine_labels", _NAMES_100),
    20: Family("cifar-100-python", _HUNDREDS, "coarse_labels", _NAMES_20),
}
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}


def find_folder(classes: int, folder: str | None) -> pathlib.Path:
    """Returns the folder that holds the files: the user's or the usual one below it.

    Raises:
      UserError: There is none.
    """
    family = FAMILIES[classes]
    first = family.files["train"][0]
    advice = (
        f"CIFAR-{classes} is read from {family.folder} ({first}, ...), unpacked from the "
        "Python version of the published archive: `--config.data.options.folder=FOLDER` "
        "names it or the folder above it"
    )
    if not folder:
        raise errors.UserError(f"No folder given. {advice}.")
    root = paths.find(folder)
    for place in (root, root / family.folder):
        if any(
            paths.is_file(place / x) for part in family.files.values() for x in part
        ):
            return place
    raise errors.UserError(f"{root} holds none of its files. {advice}.")


def read(
    classes: int,
    folder: str | None,
    split: str,
    *,
    checksums: bool,
    max_gib: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a split.

    Args:
      classes: One of `FAMILIES`.
      folder: See `find_folder`.
      split: "train", "test" or "all": one after the other.
      checksums: Whether the files must be the published ones.
      max_gib: What a file's objects may take in memory; None: half of what is free.

    Returns:
      Images `[N, 32, 32, 3]` uint8, a view of planes, and labels `[N]` int64.

    Raises:
      UserError: A file is missing, damaged, another one, or holds something else.
    """
    place, family = find_folder(classes, folder), FAMILIES[classes]
    parts = []
    splits = ("train", "test") if split == "all" else (split,)
    for path in (place / name for part in splits for name in family.files[part]):
        content = _load(path, checksums=checksums, max_gib=max_gib)
        pixels = _pixels(content.get("data"), path)
        labels = _labels(content.get(family.labels), len(pixels), classes, path)
        if "fine_labels" in content and "coarse_labels" in content:
            _check_coarse(content, path)
        parts.append((pixels, labels))
    pixels, labels = (np.concatenate(part) for part in zip(*parts))
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def _text(value: Any) -> Any:
    """Bytes, as other writers of these pickles leave them, as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _load(
    path: pathlib.Path, *, checksums: bool, max_gib: float | None
) -> dict[str, Any]:
    """Reads one file, whose keys become text."""
    if not paths.is_file(path):
        raise errors.UserError(f"{path} is missing{file_kind.clause(path)}.")
    if checksums:
        check_md5(path)
    content = array_pickle.read(path, python2=True, max_gib=max_gib)
    if not isinstance(content, dict):
        raise errors.UserError(f"{path} holds a {type(content).__name__}, no dict.")
    return {_text(key): value for key, value in content.items()}


def check_md5(path: pathlib.Path) -> None:
    """Raises `UserError` where a file is not the published one of its name."""
    try:
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    if found != MD5[path.name]:
        raise errors.UserError(
            f"{path} has the MD5 sum {found}, the published one {MD5[path.name]}: it is "
            "damaged or another file. Files of one's own in this form: "
            "`--config.data.options.checksums=False`."
        )


def _pixels(data: Any, path: pathlib.Path) -> np.ndarray:
    """`[N, 3072]` uint8."""
    shape, dtype = getattr(data, "shape", None), str(getattr(data, "dtype", "nothing"))
    if dtype != "uint8" or len(shape) != 2 or shape[1] != _PIXELS or not shape[0]:
        raise errors.UserError(
            f"{path}: 'data' must be [N, {_PIXELS}] of uint8, is {shape or ''} of "
            f"{dtype}."
        )
    return data


def _labels(found: Any, count: int, classes: int, path: pathlib.Path) -> np.ndarray:
    """`[N]` int64."""
    key = FAMILIES[classes].labels
    try:
        labels = np.asarray(found)
        sound = labels.shape == (count,) and labels.dtype.kind in "iu"
    except (ValueError, OverflowError):
        sound = False
    if not sound:
        raise errors.UserError(f"{path} holds no {count} whole numbers under {key!r}.")
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise errors.UserError(
            f"{path}: {key} has {labels[bad[0]]} at index {bad[0]}, expected 0.."
            f"{classes - 1}."
        )
    return labels.astype(np.int64)


def _check_coarse(content: dict[str, Any], path: pathlib.Path) -> None:
    """Raises `UserError` where classes and superclasses do not belong together."""
    count = len(content["data"])
    fine = _labels(content["fine_labels"], count, 100, path)
    coarse = _labels(content["coarse_labels"], count, 20, path)
    bad = np.flatnonzero(np.array(COARSE)[fine] != coarse)
    if bad.size:
        i = bad[0]
        raise errors.UserError(
            f"{path}: record {i} has the class {fine[i]} and the superclass {coarse[i]}; "
            f"that class belongs to {COARSE[fine[i]]}."
        )
