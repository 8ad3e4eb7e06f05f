"""ImageNet and what lies in folders as it does: a folder of a class, two splits.

    FOLDER/train/<class>/*.JPEG
    FOLDER/val/<class>/*.JPEG

View `image`, `[H, W, 3]` uint8 of any size, decoded when it is asked for. Classes are
numbered in the order of their folders' names, or, in the subsets of 50, 100 and 200
classes, by their places in the published lists. The released code resizes every image of a
subset first: `shorter=256`. Tiny ImageNet is read as it is published, with
`val/val_annotations.txt`; its images are alike: `side=64`.

Where FOLDER holds `LOC_synset_mapping.txt` or `words.txt`, classes have names in words. No
registry carries the images: `config.data.options.folder` names the user's own.
"""

import collections
import pathlib
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import file_source
from mvjax.data import imagenet_subsets
from mvjax.data import paths

SPLITS = ("train", "val")
_CLASSES = 1_000  # Where there is no folder to look at.
_ANNOTATIONS = "val_annotations.txt"
_WORDS = ("LOC_synset_mapping.txt", "words.txt")


class _Listing(NamedTuple):
    """The files of a split."""

    names: list[str]  # Below the folder of all.
    labels: list[int]
    problems: list[str]


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    subset: limits.one_of(0, *imagenet_subsets.SYNSETS) = 0,
    side: limits.Natural = 0,
    shorter: limits.Natural = 0,
) -> batch.Spec:
    """Says what the records look like; looks at the names of folders only."""
    del split, shorter
    views = {file_source.VIEW: file_source.view_spec(side)}
    if not folder and not subset:
        return batch.Spec(views, _CLASSES)
    classes = _find_classes(folder, subset)
    words = _read_words(paths.find(folder)) if folder else {}
    texts = [words.get(name, name) for name in classes]
    often = collections.Counter(texts)
    # Two classes are called crane, and two maillot.
    names = [
        f"{text} ({name})" if often[text] > 1 else text
        for text, name in zip(texts, classes)
    ]
    return batch.Spec(views, len(classes), class_names=tuple(names))


def find_problems(
    *,
    split: str = "train",
    folder: str | None = None,
    subset: int = 0,
    side: int = 0,
    shorter: int = 0,
) -> list[str]:
    """Lists folders of classes that are missing, empty or strange."""
    del side, shorter
    try:
        classes = _find_classes(folder, subset)
        splits = SPLITS if split == "all" else (split,)
        return [p for x in splits for p in _list(_root(folder), x, classes).problems]
    except errors.UserError as error:
        return [str(error)]


class Source(file_source.FileSource):
    """The images of a split."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        subset: int = 0,
        side: int = 0,
        shorter: int = 0,
        limit: int | None = None,
    ):
        """Lists the files.

        Args:
          split: "train", "val" or "all".
          folder: See the top of this file.
          subset: 50, 100, 200, or 0: all folders of `train`.
          side: Of images that are squares of one size; 0: their sizes vary.
          shorter: What images are resized to by their shorter side; 0: not at all.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such folder, or one of a class is missing or empty.
        """
        arrays.check_limit(limit)
        arrays.check_split(split, (*SPLITS, "all"))
        root, classes = _root(folder), _find_classes(folder, subset)
        parts = [
            _list(root, x, classes) for x in (SPLITS if split == "all" else (split,))
        ]
        for part in parts:
            if part.problems:
                raise errors.UserError(part.problems[0])
        super().__init__(
            root,
            [name for part in parts for name in part.names][:limit],
            spec(folder=folder, subset=subset, side=side),
            labels=np.array([k for part in parts for k in part.labels][:limit]),
            shorter=shorter,
        )


def _root(folder: str | None) -> pathlib.Path:
    if not folder:
        raise errors.UserError(
            "No folder given: set `--config.data.options.folder=FOLDER`, which holds "
            "train/CLASS/*.JPEG and val/CLASS/*.JPEG."
        )
    return paths.find(folder)


def _without_classes(place: pathlib.Path) -> str:
    """Says that there are no classes in a place, or no such place."""
    if not place.is_dir():
        return f"There is no folder {place}."
    return f"{place} holds no folders of classes."


def _find_classes(folder: str | None, subset: int) -> tuple[str, ...]:
    """Names of the classes' folders in the order of their numbers."""
    if subset:
        return imagenet_subsets.SYNSETS[subset]
    root = _root(folder)
    found = tuple(file_source.list_folders(root / "train"))
    if not found:
        raise errors.UserError(_without_classes(root / "train"))
    return found


def _list(root: pathlib.Path, split: str, classes: tuple[str, ...]) -> _Listing:
    """Lists a split class by class, files sorted by name."""
    place = root / split
    if split == "val" and paths.is_file(place / _ANNOTATIONS):
        return _list_annotated(place, classes)
    there = set(file_source.list_folders(place))
    problems, names, labels = [], [], []
    missing = [name for name in classes if name not in there]
    if not there:
        problems.append(_without_classes(place))
    elif missing:
        problems.append(
            f"{place} lacks the folders of {len(missing)} of {len(classes)} classes: "
            f"{errors.listed(missing)}."
        )
    empty = []
    for number, name in enumerate(classes):
        if name in there:
            found = file_source.list_images(place / name, deep=True)
            empty += [] if found else [name]
            names += [f"{split}/{name}/{file}" for file in found]
            labels += [number] * len(found)
    if empty:
        problems.append(
            f"{place}: {len(empty)} classes have no images: {errors.listed(empty)}."
        )
    whole = set(file_source.list_folders(root / "train"))
    strange = sorted(there - set(classes) - whole)
    if strange and split != "train":
        problems.append(
            f"{place} has {len(strange)} folders that train lacks: "
            f"{errors.listed(strange)}."
        )
    return _Listing(names, labels, problems)


def _list_annotated(place: pathlib.Path, classes: tuple[str, ...]) -> _Listing:
    """Lists the validation images of Tiny ImageNet: lines of file, class, and a box."""
    numbers = {name: i for i, name in enumerate(classes)}
    path, found = place / _ANNOTATIONS, []
    for i, line in enumerate(_read_lines(path), 1):
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0].strip()
        if not file or not name:
            problem = f"{path}, line {i}: expected a file and a class between tabs."
            return _Listing([], [], [problem])
        if name in numbers:
            found.append((f"val/images/{file}", numbers[name]))
    paths.check_once((f.removeprefix("val/images/") for f, _ in found), path)
    there = set(file_source.list_images(place / "images", deep=False))
    missing = [f for f, _ in found if f.removeprefix("val/images/") not in there]
    problems = []
    if missing:
        problems.append(
            f"{path} names {len(missing)} files that are not there: "
            f"{errors.listed(missing)}."
        )
    found.sort()
    return _Listing([f for f, _ in found], [k for _, k in found], problems)


def _read_lines(path: pathlib.Path) -> list[str]:
    try:
        return [x for x in path.read_text("utf-8", "replace").splitlines() if x.strip()]
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None


def _read_words(root: pathlib.Path) -> dict[str, str]:
    """What classes are called, by the names of their folders; {} where no file tells."""
    for name in _WORDS:
        if paths.is_file(root / name):
            lines = [line.split(None, 1) for line in _read_lines(root / name)]
            return {
                parts[0]: parts[1].split(",")[0].strip()
                for parts in lines
                if len(parts) == 2
            }
    return {}
