"""A user's own paired images in folders: PNG, JPEG, TIFF, WebP or BMP files.

    FOLDER/<split>/<view>/<id>.png                  a data set without labels
    FOLDER/<split>/<view>/<class>/<id>.png          with labels, named by folders
    FOLDER/<split>/target/<name>/<the same>.png     masks of classes, optional

Splits are the folders there are, one of which is `train`; a record is one id that every
view has. Images are decoded when they are asked for, `[H, W, C]` uint8 of any size, so a
run needs policies that make them one size: `config.data.train_policy` and `.eval_policy`.
Files of a view with other channels than its first ones are converted. Masks are `[H, W]`
uint8; palettes keep their indices.

`mvjax data build image_folder` writes the same folder with smaller images, which are
quicker to decode.
"""

import hashlib
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import image_file
from mvjax.data import paths

TARGET = "target"  # Folder of the masks, beside those of the views.
_TRAIN = "train"
_LOOKS = 16  # Files of a view whose channels are looked at.


class Listing(NamedTuple):
    """The files of a split."""

    ids: list[str]  # Paths below a view's folder, without endings, sorted.
    views: dict[str, list[pathlib.Path]]  # By view, in the order of the ids.
    targets: dict[str, list[pathlib.Path]]

    @property
    def classes(self) -> list[str | None]:
        """Name of each record's class; None: there is none."""
        return [i.rpartition("/")[0].partition("/")[0] or None for i in self.ids]


def find_splits(*, folder: str | None = None, **unused: Any) -> tuple[str, ...]:
    """Returns the names of the folder's splits, "train" first."""
    del unused
    root = _root(folder)
    found = sorted(path.name for path in root.iterdir() if _is_folder(path))
    if _TRAIN not in found:
        raise errors.UserError(
            f"{root} has no folder {_TRAIN!r}; its folders are "
            f"{', '.join(found) or 'none'}."
        )
    return (_TRAIN, *(name for name in found if name != _TRAIN))


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    mask_classes: limits.Size = 256,
    mask_ignore: int | None = 255,
) -> batch.Spec:
    """Says what the records look like; lists the folder and opens a few files."""
    listing = list_split(_root(folder), split)
    names = _class_names(folder)
    return _spec(listing, names, mask_classes, mask_ignore)


class Source:
    """The records of a split, decoded one by one.

    Attributes:
      spec: What every record looks like.
      labels: Classes `[N]` int32, -1 where there are none.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        mask_classes: int = 256,
        mask_ignore: int | None = 255,
        limit: int | None = None,
    ):
        """Lists the files.

        Args:
          split: A folder of `folder`, or "all": one after the other.
          folder: See the top of this file.
          mask_classes: Number of classes of the masks.
          mask_ignore: Value of the masks that stands for unknown; None: none does.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such folder, or an id lacks a view.
        """
        arrays.check_limit(limit)
        root, names = _root(folder), _class_names(folder)
        wanted = find_splits(folder=folder) if split == "all" else (split,)
        parts = [list_split(root, name) for name in wanted]
        self._listing = _join(parts, limit)
        self.spec = _spec(self._listing, names, mask_classes, mask_ignore)
        numbers = {name: i for i, name in enumerate(names)}
        found = [numbers.get(name, -1) for name in self._listing.classes]
        self.labels = np.array(found, np.int32)

    def __len__(self) -> int:
        return len(self._listing.ids)

    def __getitem__(self, index: int) -> batch.Record:
        """Returns record `index`, 0 <= index < len.

        Raises:
          UserError: A file is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"Record {index} of {len(self)}.")
        record: dict[str, Any] = {
            "views": {
                name: image_file.read(files[index], self.spec.views[name].shape[2])
                for name, files in self._listing.views.items()
            },
            "label": self.labels[index],
            "index": np.int32(index),
        }
        if self._listing.targets:
            files = self._listing.targets.items()
            record["targets"] = {
                name: image_file.read(found[index]) for name, found in files
            }
        return record

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits of the files' names and sizes, not their content.

        Reading every byte of a large folder would take as long as an epoch.
        """
        digest = hashlib.sha256()
        for part in (self._listing.views, self._listing.targets):
            for name, files in part.items():
                for path in files:
                    line = (
                        f"{name} {path.parent.name}/{path.name} {path.stat().st_size}"
                    )
                    digest.update(line.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()[:16]


def list_split(root: pathlib.Path, split: str) -> Listing:
    """Lists the files of a split and pairs them.

    Raises:
      UserError: There are no views or files, or they do not pair up.
    """
    place = root / split
    if not _is_folder(place):
        raise errors.UserError(f"{root} has no folder {split!r}.")
    views = {
        path.name: _files(path)
        for path in sorted(place.iterdir())
        if _is_folder(path) and path.name != TARGET
    }
    masks = sorted((place / TARGET).iterdir()) if _is_folder(place / TARGET) else []
    targets = {path.name: _files(path) for path in masks if _is_folder(path)}
    if not views or not any(views.values()):
        raise errors.UserError(
            f"{place} holds no images ({', '.join(image_file.ENDINGS)}) in folders of its views."
        )
    first, ids = next((name, sorted(files)) for name, files in views.items())
    for name, files in {**views, **targets}.items():
        unpaired = sorted(set(ids) ^ set(files))
        if unpaired:
            there, missing = (first, name) if unpaired[0] in set(ids) else (name, first)
            raise errors.UserError(
                f"{place}: {unpaired[0]!r} is in {there!r} but not in {missing!r} "
                f"({len(unpaired)} unpaired in all)."
            )
    return Listing(
        ids,
        {name: [files[i] for i in ids] for name, files in views.items()},
        {name: [files[i] for i in ids] for name, files in targets.items()},
    )


def build(input: str, output: str, *, side: limits.Pixels = 256) -> int:
    """Writes a folder with the same ids, the shorter side of each image at most `side`.

    Images are JPEG files of quality 95, masks PNG. What is there already is kept, so an
    interrupted build goes on.

    Args:
      input: A folder as at the top of this file.
      output: Where to write, outside of `input`.
      side: In pixels; smaller images stay as large as they are.

    Returns:
      The number of records.
    """
    from PIL import Image

    root, target = _root(input), pathlib.Path(output)
    if target.resolve().is_relative_to(root.resolve()):
        raise errors.UserError(f"{target} lies in {root}, which is read.")
    count = 0
    for split in find_splits(folder=input):
        listing = list_split(root, split)
        count += len(listing.ids)
        masks = {f"{TARGET}/{name}": files for name, files in listing.targets.items()}
        for name, files in {**listing.views, **masks}.items():
            ending = ".png" if name in masks else ".jpg"
            for record, path in zip(listing.ids, files, strict=True):
                goal = target / split / name / f"{record}{ending}"
                if goal.is_file():
                    continue
                goal.parent.mkdir(parents=True, exist_ok=True)
                channels = None if name in masks else _channels([path])
                image = Image.fromarray(np.squeeze(image_file.read(path, channels)))
                scale = min(1.0, side / min(image.size))
                size = tuple(max(1, round(scale * length)) for length in image.size)
                nearest = Image.Resampling.NEAREST
                way = nearest if name in masks else Image.Resampling.BICUBIC
                part = goal.with_name(f"{goal.name}.part")
                kind = "PNG" if name in masks else "JPEG"
                image.resize(size, way).save(part, kind, quality=95)
                os.replace(part, goal)
    return count


def _root(folder: str | None) -> pathlib.Path:
    if not folder:
        raise errors.UserError(
            "No folder given: set `--config.data.options.folder=FOLDER`, which holds "
            "SPLIT/VIEW/ID.png or SPLIT/VIEW/CLASS/ID.png."
        )
    root = paths.find(folder)
    if not _is_folder(root):
        raise errors.UserError(f"{root} is no folder.")
    return root


def _is_folder(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The images below a folder by id."""
    found: dict[str, pathlib.Path] = {}
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending.lower() not in image_file.ENDINGS or name.startswith("."):
                continue
            path = pathlib.Path(place, name)
            key = path.relative_to(folder).with_name(stem).as_posix()
            if key in found:
                raise errors.UserError(f"{found[key]} and {path} have one id.")
            found[key] = path
    return found


def _class_names(folder: str | None) -> tuple[str, ...]:
    """The classes of all splits, sorted, so that the splits agree about the numbers."""
    root, names = _root(folder), set()
    for split in find_splits(folder=folder):
        for view in sorted((root / split).iterdir()):
            if _is_folder(view) and view.name != TARGET:
                names |= {path.name for path in view.iterdir() if _is_folder(path)}
                break  # The others have the same, or are refused.
    return tuple(sorted(names))


def _join(parts: list[Listing], limit: int | None) -> Listing:
    """One listing after the other, cut off."""
    first = parts[0]

    def joined(which: str) -> dict[str, list[pathlib.Path]]:
        return {
            name: [p for part in parts for p in getattr(part, which)[name]][:limit]
            for name in getattr(first, which)
        }

    ids = [i for part in parts for i in part.ids][:limit]
    return Listing(ids, joined("views"), joined("targets"))


def _channels(files: list[pathlib.Path]) -> int:
    """1 where all of the first files are grey, else 3."""
    from PIL import Image

    for path in files[:_LOOKS]:
        try:
            with Image.open(path) as image:
                if image.mode not in ("L", "1", "I", "I;16", "F", "LA"):
                    return 3
        except (OSError, SyntaxError, ValueError):
            continue  # The check of all records tells.
    return 1


def _spec(
    listing: Listing, names: tuple[str, ...], mask_classes: int, ignore: int | None
) -> batch.Spec:
    """What the records of a listing look like."""
    views, sides = {}, None
    for name, files in listing.views.items():
        channels = _channels(files)
        shape = image_file.read(files[0], channels).shape
        sides = sides or shape[:2]
        views[name] = batch.ViewSpec(shape, "uint8", 0.0, 255.0, varies=True)
    high = float(mask_classes - 1)
    mask = batch.TargetSpec(sides, "uint8", 0.0, high, ignore=ignore, varies=True)
    targets = dict.fromkeys(listing.targets, mask)
    return batch.Spec(views, len(names) or None, targets=targets, class_names=names)
