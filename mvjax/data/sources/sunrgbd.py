"""SUN RGB-D for pretraining: pictures and the HHA images of their depth, without labels.

    FOLDER/RGB/<id>.jpg     FOLDER/HHA/<id>.jpg or, where there is none, <id>.png

Views `rgb` and `hha`, `[H, W, 3]` uint8 of any size, blue first as the released code reads
both: the angle of HHA comes first. Options name other folders than RGB and HHA.

`mvjax data build sunrgbd` makes both folders of the published archive: of every folder with
`image/*.jpg`, `depth_bfx/*.png` and `intrinsics.txt`. Its HHA images are our own, see
`data/hha.py`.
"""

from collections.abc import Callable
import functools
import os
import pathlib
import shutil

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands
from mvjax.data import batch
from mvjax.data import hha as hha_lib
from mvjax.data import image_file
from mvjax.data import paired_files
from mvjax.data import paths

SPLITS = ("train",)
_EXAMPLE = (530, 730)  # Height and width of many.
_FARTHEST = 8.0  # Metres; the archive's own limit.


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    rgb: limits.Text = "RGB",
    hha: limits.Text = "HHA",
    channel_order: limits.one_of("bgr", "rgb") = "bgr",
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, rgb, hha
    view = batch.ViewSpec((*_EXAMPLE, 3), "uint8", 0.0, 255.0, varies=True)
    step = -1 if channel_order == "bgr" else 1
    names = {"rgb": bands.COLOURS[::step], "hha": hha_lib.CHANNELS[::step]}
    return batch.Spec({"rgb": view, "hha": view}, None, channel_names=names)


class Source(paired_files.PairedSource):
    """Pairs, decoded when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        rgb: str = "RGB",
        hha: str = "HHA",
        channel_order: str = "bgr",
        limit: int | None = None,
    ):
        """Lists the files.

        Args:
          split: "train" or "all", which are the same.
          folder: See the top of this file.
          rgb: Folder of the pictures.
          hha: Folder of the HHA images.
          channel_order: "bgr" is that of the published weights.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such folder, or a picture lacks its partner.
        """
        arrays.check_limit(limit)
        arrays.check_split(split, (*SPLITS, "all"))
        if not folder:
            raise errors.UserError(
                "No folder given: `--config.data.options.folder=FOLDER` holds RGB/ID.jpg "
                "and HHA/ID.jpg or HHA/ID.png, see `mvjax data build sunrgbd`."
            )
        patterns = {
            "rgb": f"{rgb}/{{id}}.jpg",
            "hha": f"{hha}/{{id}}.jpg|{hha}/{{id}}.png",
        }
        files = paired_files.pair(paths.find(folder), patterns, split).keep(limit)
        super().__init__(
            spec(channel_order=channel_order), files, told=(channel_order,)
        )
        self._bgr = channel_order == "bgr"

    def read(
        self, paths: dict[str, pathlib.Path]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Views of one pair, and no targets."""
        views = {name: image_file.read(path, 3) for name, path in paths.items()}
        paired_files.check_sides(views, paths)
        if self._bgr:
            views = {k: np.ascontiguousarray(v[..., ::-1]) for k, v in views.items()}
        return views, {}


def build(input: str, output: str, *, window: limits.Count = 7) -> int:
    """Copies the pictures and makes the HHA images of the published archive.

    What is there already is kept, so an interrupted build goes on.

    Args:
      input: The unpacked archive.
      output: Gets the folders `RGB` and `HHA`; ids are the paths of the scenes, joined by _.
      window: See `hha.encode`.

    Returns:
      The number of pairs.

    Raises:
      UserError: There are no scenes, or a file is missing or damaged.
    """
    root, goal = paths.find(input), paths.find(output)
    parts = ("intrinsics.txt", "image", "depth_bfx")  # A scene may lack one of them.
    scenes = sorted({path.parent for part in parts for path in root.rglob(part)})
    if not scenes:
        raise errors.UserError(f"{root} holds no folders with {', '.join(parts)}.")
    for scene in scenes:
        name = "_".join(scene.relative_to(root).parts) or scene.name
        image, depth = (
            _only(scene / "image", "*.jpg"),
            _only(scene / "depth_bfx", "*.png"),
        )
        copy = functools.partial(shutil.copyfile, image)
        encode = functools.partial(_encode, depth, scene / "intrinsics.txt", window)
        _write(goal / "RGB" / f"{name}.jpg", copy)
        _write(goal / "HHA" / f"{name}.png", encode)
    return len(scenes)


def _only(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise errors.UserError(
            f"{folder} holds {len(found)} files {pattern}, expected 1."
        )
    return found[0]


def _write(path: pathlib.Path, make: Callable[[pathlib.Path], object]) -> None:
    """Makes a file in one step, unless it is there."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    make(part)
    os.replace(part, path)


def _encode(
    depth: pathlib.Path, intrinsics: pathlib.Path, window: int, goal: pathlib.Path
) -> None:
    """Writes the HHA image of a file of depth as a PNG."""
    from PIL import Image

    camera = read_camera(intrinsics)
    try:
        image = hha_lib.encode(read_depth(depth), camera, window=window)
    except errors.UserError as error:
        raise errors.UserError(f"{depth}: {error}") from None
    Image.fromarray(image).save(goal, "PNG")


def read_depth(path: pathlib.Path) -> np.ndarray:
    """Depth `[H, W]` float32 in metres of a file of the archive, 0 where none is measured.

    Its 16 bits are turned by three, and the rest is millimetres.

    Raises:
      UserError: It is damaged, or no image of 16 bits.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, stored = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise errors.UserError(
            f"{path} is no sound image ({errors.one_line(error)})."
        ) from None
    if not mode.startswith("I"):
        raise errors.UserError(
            f"{path} has the mode {mode}, expected 16 bits of depth."
        )
    stored = stored.astype(np.uint16)
    metres = ((stored >> 3) | (stored << 13)).astype(np.float32) / 1000
    return np.minimum(metres, _FARTHEST)


def read_camera(path: pathlib.Path) -> hha_lib.Camera:
    """The camera of `intrinsics.txt`: nine numbers, row by row.

    Raises:
      UserError: It does not hold them.
    """
    try:
        numbers = [float(x) for x in path.read_text().split()]
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"Cannot read {path}: {errors.one_line(error)}."
        ) from None
    if len(numbers) != 9 or not (numbers[0] > 0 and numbers[4] > 0):
        raise errors.UserError(
            f"{path} holds {len(numbers)} numbers, expected the nine of a camera."
        )
    return hha_lib.Camera(numbers[0], numbers[4], numbers[2], numbers[5])
