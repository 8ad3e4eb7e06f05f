"""PASCAL VOC 2007 as multi-label classification, from the published tree.

    FOLDER/VOCdevkit/VOC2007/JPEGImages/000005.jpg
    FOLDER/VOCdevkit/VOC2007/Annotations/000005.xml
    FOLDER/VOCdevkit/VOC2007/ImageSets/Main/{train,val,trainval,test}.txt

2,501 records in `train`, 2,510 in `val`, 4,952 in `test`; with `trainval=True` the split
`train` holds the first two, and `val` is none. View `image`, `[H, W, 3]` uint8 of
any size; the truth `tags`, `[20]` uint8, is 1 where an object of the class is in the image.
An object that is marked as difficult does not count, so a class of which there are only
such ones is a 0, as in the released code; `difficult=ignore` makes it 255, unknown, as the
benchmark has it, and `difficult=positive` a 1.

The order of the classes is alphabetical. The released code takes that of a folder's
listing, which differs between machines: `class_order` names it for classifiers from there.
Options name FOLDER, or `VOCdevkit`, or `VOC2007` itself; no registry carries the images.
"""

import pathlib
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import file_source
from mvjax.data import paths

TAGS = "tags"
CLASS_NAMES = tuple(
    """
    aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse
    motorbike person pottedplant sheep sofa train tvmonitor
    """.split()
)
DIFFICULT = ("negative", "ignore", "positive")
_SPLITS = ("train", "val", "test")
_UNKNOWN = 255


def find_splits(
    *, folder: str | None = None, trainval: bool = False, **unused: Any
) -> tuple[str, ...]:
    """Returns the splits whose lists are there; without a folder the usual ones."""
    del unused
    wanted = tuple(x for x in _SPLITS if not (trainval and x == "val"))
    if not folder:
        return wanted
    lists = _root(folder) / "ImageSets/Main"
    files = {x: f"{_file(x, trainval=trainval)}.txt" for x in wanted}
    found = tuple(x for x in wanted if paths.is_file(lists / files[x]))
    if "train" not in found:
        raise errors.UserError(f"{lists} holds no {files['train']}.")
    return found


def _file(split: str, *, trainval: bool) -> str:
    """The list of a split."""
    return "trainval" if trainval and split == "train" else split


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    trainval: bool = False,
    difficult: limits.one_of(*DIFFICULT) = "negative",
    class_order: limits.AnyNames = (),
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, trainval
    names = {TAGS: _find_order(class_order)}
    ignore = _UNKNOWN if difficult == "ignore" else None
    tags = batch.TargetSpec((len(CLASS_NAMES),), "uint8", 0, 1, ignore=ignore)
    view = file_source.view_spec(0)
    return batch.Spec(
        {file_source.VIEW: view}, None, targets={TAGS: tags}, target_names=names
    )


def find_problems(
    *,
    split: str = "train",
    folder: str | None = None,
    trainval: bool = False,
    difficult: str = "negative",
    class_order: tuple[str, ...] = (),
) -> list[str]:
    """Lists images and annotations that are missing or damaged."""
    try:
        root = _root(folder)
        names = _names(folder, split, trainval=trainval)
        order = _find_order(class_order)
    except errors.UserError as error:
        return [str(error)]
    there = set(file_source.list_images(root / "JPEGImages", deep=False))
    missing = [f"{name}.jpg" for name in names if f"{name}.jpg" not in there]
    found = []
    if missing:
        found.append(
            f"{root / 'JPEGImages'} lacks {len(missing)} images: {errors.listed(missing)}."
        )
    for name in names:
        try:
            _read_tags(root, name, order, difficult)
        except errors.UserError as error:
            found.append(str(error))
    return found


def describe(
    *,
    folder: str | None = None,
    trainval: bool = False,
    difficult: str = "negative",
    class_order: tuple[str, ...] = (),
) -> list[str]:
    """How many images of each split have an object of each class."""
    lines, order = [], _find_order(class_order)
    options = dict(folder=folder, trainval=trainval)
    for split in find_splits(**options):
        source = Source(
            split=split, difficult=difficult, class_order=class_order, **options
        )
        tags = source.targets[TAGS]
        counts = zip(order, (tags == 1).sum(axis=0))
        told = ", ".join(f"{name} {count}" for name, count in counts)
        unknown = int((tags == _UNKNOWN).sum())
        lines.append(f"{split}: {told}" + (f"; {unknown} unknown" if unknown else ""))
    return lines


class Source(file_source.FileSource):
    """The images of a split and their tags, which are read when it is opened."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        trainval: bool = False,
        difficult: str = "negative",
        class_order: tuple[str, ...] = (),
        limit: int | None = None,
    ):
        """Reads the annotations.

        Args:
          split: One of `find_splits`, or "all".
          folder: See the top of this file.
          trainval: Whether `train` also holds the images of `val`.
          difficult: What a class is of which there are only difficult objects.
          class_order: All 20 names; (): alphabetical.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A file is missing or damaged, or the order is none of the classes.
        """
        arrays.check_limit(limit)
        root, order = _root(folder), _find_order(class_order)
        names = _names(folder, split, trainval=trainval)[:limit]
        tags = [_read_tags(root, name, order, difficult) for name in names]
        super().__init__(
            root / "JPEGImages",
            [f"{name}.jpg" for name in names],
            spec(difficult=difficult, class_order=class_order),
            targets={TAGS: np.stack(tags)},
        )


def _root(folder: str | None) -> pathlib.Path:
    """The folder `VOC2007`."""
    advice = (
        "VOC 2007 is read from the published tree, unpacked: "
        "`--config.data.options.folder=FOLDER` names VOC2007 or a folder above it"
    )
    if not folder:
        raise errors.UserError(f"No folder given. {advice}.")
    root = paths.find(folder)
    for place in (root, root / "VOC2007", root / "VOCdevkit/VOC2007"):
        if (place / "ImageSets/Main").is_dir():
            return place
    raise errors.UserError(f"{root} has no ImageSets/Main. {advice}.")


def _find_order(class_order: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes in the order of their numbers."""
    if not class_order:
        return CLASS_NAMES
    for name in class_order:
        if name not in CLASS_NAMES:
            raise errors.unknown("class in class_order:", str(name), CLASS_NAMES)
    missing = sorted(set(CLASS_NAMES) - set(class_order))
    if missing or len(class_order) != len(CLASS_NAMES):
        raise errors.UserError(
            f"class_order has {len(class_order)} names, of {len(CLASS_NAMES)} different "
            f"ones; it lacks {errors.listed(missing) or 'none'}."
        )
    return tuple(class_order)


def _names(folder: str | None, split: str, *, trainval: bool) -> list[str]:
    """The names of a split's images, or of all."""
    root, splits = _root(folder), find_splits(folder=folder, trainval=trainval)
    arrays.check_split(split, (*splits, "all"))
    wanted = splits if split == "all" else (split,)
    files = [_file(x, trainval=trainval) for x in wanted]
    return [name for file in files for name in _read_list(root, file)]


def _read_list(root: pathlib.Path, split: str) -> list[str]:
    """The names of a split's images."""
    path = root / "ImageSets/Main" / f"{split}.txt"
    try:
        names = path.read_text("utf-8", "replace").split()
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    if not names:
        raise errors.UserError(f"{path} names no images.")
    bad = [name for name in names if not name.replace("_", "").isalnum()]
    if bad:
        raise errors.UserError(f"{path} names {errors.quote(bad[0])}, no image.")
    paths.check_once(names, path)
    return names


def _read_tags(
    root: pathlib.Path, name: str, order: tuple[str, ...], difficult: str
) -> np.ndarray:
    """Which classes are in an image, `[20]` uint8."""
    path = root / "Annotations" / f"{name}.xml"
    try:
        tree = ElementTree.parse(path).getroot()
    except OSError as error:
        raise errors.UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise errors.UserError(
            f"{path} is no sound XML file ({errors.one_line(error)})."
        ) from None
    tags = np.zeros(len(order), np.uint8)
    hidden = {"negative": 0, "ignore": _UNKNOWN, "positive": 1}[difficult]
    for entry in tree.findall("object"):
        kind = (entry.findtext("name") or "").strip()
        if kind not in order:
            raise errors.unknown(f"class in {path}:", kind, order)
        place = order.index(kind)
        if (entry.findtext("difficult") or "0").strip() != "1":
            tags[place] = 1
        elif tags[place] != 1:
            tags[place] = hidden
    return tags
