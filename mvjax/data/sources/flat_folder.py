"""Images in one folder, without classes.

    FOLDER/*.jpg                    all of them are for training
    FOLDER/train/*.jpg              splits are the folders there are

View `image`, `[H, W, 3]` uint8 of any size, decoded when it is asked for; labels are -1.
`config.data.options.folder` names the user's own folder.
"""

import pathlib
from typing import Any

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import file_source
from mvjax.data import image_file
from mvjax.data import paths

_TRAIN = "train"


def find_splits(*, folder: str | None = None, **unused: Any) -> tuple[str, ...]:
    """Returns the names of the splits, "train" first."""
    del unused
    if not folder:
        return (_TRAIN,)
    found = file_source.list_folders(paths.find(folder))
    if _TRAIN not in found:
        return (_TRAIN,)
    return (_TRAIN, *(name for name in found if name != _TRAIN))


def spec(
    *, split: str = "train", folder: str | None = None, side: limits.Natural = 0
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder
    return batch.Spec({file_source.VIEW: file_source.view_spec(side)}, None)


class Source(file_source.FileSource):
    """The images of a split."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        side: int = 0,
        limit: int | None = None,
    ):
        """Lists the files.

        Args:
          split: One of `find_splits`, or "all".
          folder: See the top of this file.
          side: Of images that are squares of one size; 0: their sizes vary.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such folder or no image in it.
        """
        arrays.check_limit(limit)
        if not folder:
            raise errors.UserError(
                "No folder given: set `--config.data.options.folder=FOLDER`, which holds "
                "images, or folders of splits with images."
            )
        root, splits = paths.find(folder), find_splits(folder=folder)
        arrays.check_split(split, (*splits, "all"))
        names = []
        for name in splits if split == "all" else (split,):
            names += _list(root, name)
        super().__init__(root, names[:limit], spec(side=side))


def _list(root: pathlib.Path, split: str) -> list[str]:
    """The images of a split, relative to the root."""
    place = root / split if (root / split).is_dir() else root
    found = file_source.list_images(place, deep=False)
    if not found:
        inside = file_source.list_folders(place)
        more = (
            f", but the folders {errors.listed(inside)}: images in folders of their "
            "classes are read by name=imagenet"
            if inside
            else ""
        )
        raise errors.UserError(
            f"{place} holds no images ({', '.join(image_file.ENDINGS)}){more}."
        )
    return [(place / name).relative_to(root).as_posix() for name in found]
