"""Scenes with a class for each pixel in CMX's layout: pictures, a second modality, masks.

    FOLDER/RGB/<stem>.jpg   FOLDER/HHA/<stem>.jpg   FOLDER/Label/<stem>.png
    FOLDER/train.txt        FOLDER/test.txt         a stem on each line

Views `rgb` and `hha`, `[H, W, 3]` uint8, and the target `mask`, `[H, W]` uint8; the second
view has the name of its folder in small letters. Files of either modality are PNG or JPEG;
of one channel, such as depth or heat, they become three alike. Both are read blue first, as
the released code of CMX (arXiv 2203.04838) reads them whatever its flag says;
`channel_order=rgb` turns that.

`dataset` knows NYUDv2 (40 classes, HHA), SUN RGB-D (37, HHA) and MFNet (9, Thermal). Labels
of the first two count from 1: 1 is taken off, so that 0, which stands for unknown, becomes
255. For `dataset=own` set `class_names`, `x` to the folder of the second modality (X), and
`shift=1` where labels count from 1.
"""

import pathlib

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands
from mvjax.data import batch
from mvjax.data import image_file
from mvjax.data import paired_files
from mvjax.data import paths

SPLITS = ("train", "test")
MASK = "mask"
IGNORE = 255
_SUN = (
    "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, "
    "counter, blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, "
    "clothes, ceiling, books, refrigerator, television, paper, towel, shower curtain, "
    "box, whiteboard, person, night stand, toilet, sink, lamp, bathtub, bag"
).split(", ")
_NYU = [*_SUN, "other structure", "other furniture", "other prop"]
_MFNET = (
    "unlabelled, car, person, bike, curve, car stop, guardrail, colour cone, bump"
).split(", ")
CLASS_NAMES = {
    "nyudv2": tuple(_NYU),
    "sunrgbd": tuple(_SUN),
    "mfnet": tuple(_MFNET),
}
_SIZES = {"nyudv2": (480, 640), "mfnet": (480, 640)}  # Of all of their files.
_EXAMPLE = (480, 640)
_X = {"mfnet": "Thermal", "own": "X"}  # Folders of the second modality, else HHA.
_COUNT_FROM_1 = ("nyudv2", "sunrgbd")
_ENDINGS = (".jpg", ".png", ".jpeg")
_Dataset = limits.one_of(*CLASS_NAMES, "own")


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    dataset: _Dataset = "nyudv2",
    class_names: limits.AnyNames = (),
    rgb: limits.Text = "RGB",
    x: limits.Text | None = None,
    labels: limits.Text = "Label",
    shift: limits.one_of(0, 1) | None = None,
    channel_order: limits.one_of("bgr", "rgb") = "bgr",
    size: tuple[limits.Pixels, limits.Pixels] | None = None,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, rgb, labels, shift
    names = _names(dataset, class_names)
    size = size or _SIZES.get(dataset)
    sides, varies = size or _EXAMPLE, size is None
    view = batch.ViewSpec((*sides, 3), "uint8", 0.0, 255.0, varies=varies)
    mask = batch.TargetSpec(
        sides, "uint8", 0.0, len(names) - 1.0, ignore=IGNORE, varies=varies
    )
    colours = bands.COLOURS[:: -1 if channel_order == "bgr" else 1]
    return batch.Spec(
        {"rgb": view, _second(dataset, x)[1]: view},
        None,
        targets={MASK: mask},
        channel_names={"rgb": colours},
        target_names={MASK: names},
    )


class Source(paired_files.PairedSource):
    """Scenes, decoded when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        dataset: str = "nyudv2",
        class_names: tuple[str, ...] = (),
        rgb: str = "RGB",
        x: str | None = None,
        labels: str = "Label",
        shift: int | None = None,
        channel_order: str = "bgr",
        size: tuple[int, int] | None = None,
        limit: int | None = None,
    ):
        """Reads the list of the split and finds its files.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: See the top of this file.
          dataset: "nyudv2", "sunrgbd", "mfnet" or "own".
          class_names: Of your own classes 0, 1, ..., at least two.
          rgb: Folder of the pictures.
          x: Folder of the second modality; None: Thermal of MFNet, X of one's own, else
            HHA.
          labels: Folder of the masks.
          shift: What is taken off the labels, 0 becoming 255; None: 1 of NYUDv2 and SUN
            RGB-D, else 0.
          channel_order: "bgr" is that of the published weights.
          size: Height and width of all files; None: 480x640 of NYUDv2 and MFNet, others
            differ from scene to scene.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such folder or list, or a stem lacks a file.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        x, second = _second(dataset, x)
        if not folder:
            raise errors.UserError(
                f"No folder given: `--config.data.options.folder=FOLDER` holds {rgb}, {x}, "
                f"{labels}, train.txt and test.txt."
            )
        found = spec(
            dataset=dataset,
            class_names=class_names,
            x=x,
            channel_order=channel_order,
            size=size,
        )
        root, places = paths.find(folder), {"rgb": rgb, second: x, MASK: labels}
        files = {name: _find(root, place) for name, place in places.items()}
        parts = [
            _pair(root, name, files, places)
            for name in (SPLITS if split == "all" else (split,))
        ]
        self._shift = int(dataset in _COUNT_FROM_1) if shift is None else shift
        self._bgr = channel_order == "bgr"
        told = (channel_order, self._shift)
        super().__init__(found, paired_files.join(parts).keep(limit), told=told)

    def read(
        self, paths: dict[str, pathlib.Path]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Views and mask of one scene.

        Raises:
          UserError: A file is damaged or of another size than the others, or a label is
            no class.
        """
        views = {name: image_file.read(paths[name], 3) for name in self.spec.views}
        labels = image_file.read(paths[MASK])
        paired_files.check_sides(views | {MASK: labels}, paths)
        truth = self.spec.targets[MASK]
        if not truth.varies and labels.shape != tuple(truth.shape):
            raise errors.UserError(
                f"{paths['rgb']} has {labels.shape[0]}x{labels.shape[1]} pixels, not "
                f"{truth.shape[0]}x{truth.shape[1]}; set config.data.options.size to the "
                "size of all files, or where they differ dataset=own."
            )
        mask = labels - np.uint8(self._shift)  # 0 becomes 255.
        outside = mask[(mask > truth.high) & (mask != IGNORE)]
        if outside.size:
            raise errors.UserError(
                f"{paths[MASK]} holds the label {int(outside[0]) + self._shift}; the "
                f"{int(truth.high) + 1} classes have {self._shift} to "
                f"{int(truth.high) + self._shift}, and "
                f"{0 if self._shift else IGNORE} stands for unknown."
            )
        if self._bgr:
            views = {k: np.ascontiguousarray(v[..., ::-1]) for k, v in views.items()}
        return views, {MASK: mask}


def _second(dataset: str, x: str | None) -> tuple[str, str]:
    """Folder and name of the second view.

    Raises:
      UserError: It is called as the first one or as the mask.
    """
    x = x or _X.get(dataset, "HHA")
    name = pathlib.PurePath(x).name.lower()
    if name in ("", "rgb", MASK):
        raise errors.UserError(
            f"config.data.options.x={x}: the second view has the name of its folder, "
            f"which may be neither rgb nor {MASK}."
        )
    return x, name


def _names(dataset: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes.

    Raises:
      UserError: There are none of one's own data, or some beside those of a known set.
    """
    if dataset != "own":
        if own:
            raise errors.UserError(
                f"config.data.options.class_names says nothing beside dataset={dataset}; "
                "set dataset=own."
            )
        return CLASS_NAMES[dataset]
    if not 2 <= len(own) <= IGNORE:
        raise errors.UserError(
            "config.data.options.dataset=own needs class_names, such as "
            "('road', 'building'), in the order of the labels."
        )
    return own


def _find(root: pathlib.Path, place: str) -> dict[str, pathlib.Path]:
    """Files of a folder by stem."""
    pattern = "|".join(f"{place}/{{id}}{ending}" for ending in _ENDINGS)
    return paired_files.find(root, pattern, "")


def _pair(
    root: pathlib.Path,
    split: str,
    found: dict[str, dict[str, pathlib.Path]],
    places: dict[str, str],
) -> paired_files.Files:
    """The files of the stems that a list names, in its order."""
    path = root / f"{split}.txt"
    try:
        stems = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(
            f"Cannot read {path}, the list of the split {split!r}: "
            f"{errors.one_line(error)}."
        ) from None
    stems = [stem.strip() for stem in stems if stem.strip()]
    if not stems:
        raise errors.UserError(f"{path} is empty; it has a stem on each line.")
    paths.check_once(stems, path)
    for name, files in found.items():
        missing = [stem for stem in stems if stem not in files]
        if missing:
            raise errors.UserError(
                f"{path} names {missing[0]!r}, which {root / places[name]} lacks as "
                f"{', '.join(missing[0] + e for e in _ENDINGS)} "
                f"({len(missing)} of {len(stems)} are missing there)."
            )
    return paired_files.Files(
        stems, {name: [files[stem] for stem in stems] for name, files in found.items()}
    )
