"""GeoNRW: aerial pictures of 1 m a pixel, elevation and land cover of a part of Germany.

    FOLDER/img_dir/{train,test}/<x>_<y>_<k>_rgb.png     250x250, cut by the builder
    FOLDER/dem_dir/{train,test}/<x>_<y>_<k>_dem.tif     metres
    FOLDER/ann_dir/{train,test}/<x>_<y>_<k>_seg.tif     classes 0 to 10, 0 is unknown

Views `rgb` `[250, 250, 3]` uint8, blue first as the released code reads it, and `dem`
`[250, 250, 1]`: levels, uint8, stretched from the 1st to the 99th percentile of the tile
(`use="pretrain"`), or 0..1 from its least to its greatest elevation, float32
(`use="transfer"`, with the target `land_cover` `[250, 250]`).

`mvjax data build geonrw` cuts the published tiles of 1000x1000, `<x>_<y>_rgb.jp2`,
`_dem.tif` and `_seg.tif`, into sixteen. The name says where a tile lies, in kilometres, which its
elevations must agree with.
"""

import os
import pathlib
import re

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands
from mvjax.data import batch
from mvjax.data import eight_bit
from mvjax.data import geotiff
from mvjax.data import image_file
from mvjax.data import paired_files
from mvjax.data import paths

SPLITS = ("train", "test")
SIDE = 250
CLASS_NAMES = (
    "unknown",
    "forest",
    "water",
    "agricultural",
    "residential, commercial, industrial",
    "grassland, swamp, shrubbery",
    "railway, trainstation",
    "highway, squares",
    "airport, shipyard",
    "roads",
    "buildings",
)
MASK = "land_cover"
_PATTERNS = {
    "rgb": "img_dir/{split}/{id}_rgb.png",
    "dem": "dem_dir/{split}/{id}_dem.tif",
    MASK: "ann_dir/{split}/{id}_seg.tif",
}
_ENDINGS = {"rgb": "_rgb.jp2", "dem": "_dem.tif", MASK: "_seg.tif"}  # Of whole tiles.
_TILE = re.compile(r"(\d+)_(\d+)")
_PART = re.compile(r"(\d+)_(\d+)_\d+_dem.tif")  # A file of the builder.
_UTM = ("EPSG 25832", "EPSG 32632")  # Zone 32, of which the names are kilometres.
_TESTS = ("duesseldorf", "herne", "neuss")


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    use: limits.one_of("pretrain", "transfer") = "pretrain",
    channel_order: limits.one_of("bgr", "rgb") = "bgr",
    side: limits.Pixels = SIDE,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder
    levels = batch.ViewSpec((side, side, 1), "uint8", 0.0, 255.0)
    height = batch.ViewSpec((side, side, 1), "float32", 0.0, 1.0)
    views = {"rgb": batch.ViewSpec((side, side, 3), "uint8", 0.0, 255.0)}
    colours = bands.COLOURS[::-1] if channel_order == "bgr" else bands.COLOURS
    names = {"rgb": colours, "dem": ("elevation",)}
    if use == "pretrain":
        return batch.Spec(views | {"dem": levels}, None, channel_names=names)
    high = len(CLASS_NAMES) - 1.0
    mask = batch.TargetSpec((side, side), "uint8", 0.0, high, ignore=0)
    return batch.Spec(
        views | {"dem": height},
        None,
        targets={MASK: mask},
        channel_names=names,
        target_names={MASK: CLASS_NAMES},
    )


class Source(paired_files.PairedSource):
    """Tiles, read when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        use: str = "pretrain",
        channel_order: str = "bgr",
        side: int = SIDE,
        limit: int | None = None,
    ):
        """Lists the files.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: See the top of this file.
          use: "pretrain", or "transfer" with masks.
          channel_order: "bgr" is that of the published weights.
          side: Pixels that all files must have.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: There is no such folder, or a tile lacks a file.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        if not folder:
            raise errors.UserError(
                "No folder given: `--config.data.options.folder=FOLDER` holds img_dir, "
                "dem_dir and ann_dir, see `mvjax data build geonrw`."
            )
        root = paths.find(folder)
        wanted = {k: v for k, v in _PATTERNS.items() if k != MASK or use == "transfer"}
        parts = [
            paired_files.pair(root, wanted, name)
            for name in (SPLITS if split == "all" else (split,))
        ]
        super().__init__(
            spec(use=use, side=side, channel_order=channel_order),
            paired_files.join(parts).keep(limit),
            told=(use, channel_order),
        )
        self._transfer, self._bgr = use == "transfer", channel_order == "bgr"

    def read(
        self, paths: dict[str, pathlib.Path]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Views and targets of one tile.

        Raises:
          UserError: A file is damaged, or they do not show the same ground.
        """
        rgb, dem = image_file.read(paths["rgb"], 3), geotiff.read(paths["dem"], bands=1)
        found = {"rgb": rgb, "dem": dem.values}
        if self._transfer:
            mask = geotiff.read(paths[MASK], bands=1)
            geotiff.check_same(dem, mask, (str(paths["dem"]), str(paths[MASK])))
            found[MASK] = mask.values
        _check_kilometre(dem, paths["dem"])
        paired_files.check_sides(found, paths)
        rgb = rgb[..., ::-1] if self._bgr else rgb
        stretch = (
            eight_bit.unit_range if self._transfer else eight_bit.stretch_percentiles
        )
        height = stretch(geotiff.fill(dem, str(paths["dem"])))[..., None]
        views = {"rgb": np.ascontiguousarray(rgb), "dem": height}
        masks = {MASK: found[MASK].astype(np.uint8)} if self._transfer else {}
        return views, masks


def build(
    input: str,
    output: str,
    *,
    side: limits.Pixels = SIDE,
    test: limits.AnyNames = _TESTS,
) -> int:
    """Cuts tiles into smaller ones, row by row, numbered from 1.

    What is there already is kept, so an interrupted build goes on.

    Args:
      input: Folders `train` and `test` with the three files of each tile, or folders of
        towns.
      output: Gets `img_dir`, `dem_dir` and `ann_dir`.
      side: Of the small tiles, which must divide the large ones'.
      test: Towns for testing; those of torchgeo's reader.

    Returns:
      The number of small tiles.

    Raises:
      UserError: A file is missing or damaged, or lies elsewhere than its name says.
    """
    root, goal = paths.find(input), paths.find(output)
    tiles = {k: paired_files.find(root, f"{{id}}{v}", "") for k, v in _ENDINGS.items()}
    if not tiles["rgb"]:
        raise errors.UserError(f"{root} holds no tiles <x>_<y>_rgb.jp2.")
    count = 0
    for name, path in sorted(tiles["rgb"].items()):
        for kind, ending in _ENDINGS.items():
            if name not in tiles[kind]:
                raise errors.UserError(f"{path} has no {name}{ending} beside it.")
        towns, _, tile = name.rpartition("/")
        tested = {"test", *test} & set(towns.split("/"))
        where = {k: tiles[k][name] for k in tiles}
        count += _cut_tile(where, goal, "test" if tested else "train", tile, side)
    return count


def _cut_tile(
    where: dict[str, pathlib.Path],
    goal: pathlib.Path,
    split: str,
    tile: str,
    side: int,
) -> int:
    """Cuts one tile; returns how many small ones it has."""
    rgb = image_file.read(where["rgb"], 3)
    dem, mask = (geotiff.read(where[k], bands=1) for k in ("dem", MASK))
    found = {"rgb": rgb, "dem": dem.values, MASK: mask.values}
    paired_files.check_sides(found, where)
    geotiff.check_same(dem, mask, (str(where["dem"]), str(where[MASK])))
    _check_name(dem, tile, where["dem"])
    height, width = rgb.shape[:2]
    if height % side or width % side:
        raise errors.UserError(
            f"{where['rgb']} has {height}x{width} pixels, which {side} does not divide."
        )
    number = 0
    for top in range(0, height, side):
        for left in range(0, width, side):
            number += 1
            for kind, pattern in _PATTERNS.items():
                name = pattern.format(split=split, id=f"{tile}_{number}")
                part = found[kind][top : top + side, left : left + side]
                raster = {"dem": dem, MASK: mask}.get(kind)
                _write(goal / name, part, raster, top, left)
    return number


def _write(
    path: pathlib.Path,
    part: np.ndarray,
    raster: geotiff.Raster | None,
    top: int,
    left: int,
) -> None:
    """Writes a part of a picture, or of a raster with its place, unless it is there."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    goal = path.with_name(f"{path.name}.part")
    if raster is None:
        from PIL import Image

        Image.fromarray(part).save(goal, "PNG")
    else:
        place = geotiff.move(raster.place, top, left)
        goal.write_bytes(geotiff.encode(raster._replace(values=part, place=place)))
    os.replace(goal, path)


def _check_kilometre(dem: geotiff.Raster, path: pathlib.Path) -> None:
    """Checks that elevations of a cut tile lie in the kilometre of its name.

    The picture has no place but that. The name is that of the lower left corner, or of
    the upper left one in older files.
    """
    match = _PART.fullmatch(path.name)
    if not match or dem.place is None or dem.place.system not in _UTM:
        return
    x, y = (1000 * int(n) for n in match.groups())
    place, most = dem.place, 1.5 * dem.place.width
    inside = -most <= place.left - x < 1000 and abs(place.top - y) <= 1000 + most
    if not inside:
        raise errors.UserError(
            f"{path} has its upper left corner at ({place.left:.0f}, {place.top:.0f}), but "
            f"its name says that it is of the square kilometre at ({x}, {y}): picture and "
            "elevation do not show the same ground."
        )


def _check_name(dem: geotiff.Raster, tile: str, path: pathlib.Path) -> None:
    """Checks that elevations lie where the name of the tile says the picture does."""
    match = _TILE.fullmatch(tile)
    if not match or dem.place is None or dem.place.system not in _UTM:
        return
    x, y = (1000 * int(n) for n in match.groups())
    place, most = dem.place, 1.5 * dem.place.width
    bottom = place.top - place.height * dem.values.shape[0]
    # The corner is the lower left one, or the upper left one in older files.
    if abs(place.left - x) > most or min(abs(bottom - y), abs(place.top - y)) > most:
        raise errors.UserError(
            f"{path} lies at ({place.left:.0f}, {bottom:.0f}), but its name says "
            f"({x}, {y}): picture and elevation do not show the same ground."
        )
