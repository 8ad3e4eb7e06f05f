"""Crops of a Landsat 7 scene of Olinda in Brazil with its elevation: real and offline.

With `pair="elevation"` views are `optical` `[size, size, 6]` (bands 1, 2, 3, 4, 5 and 7) and `dem`
`[size, size, 1]`; with `pair="infrared"` `visible` (1, 2, 3) and `infrared` (4, 5, 7), both
`[size, size, 3]`. All are uint8 at 28.5 m. Elevations of 90 m lie between four measurements by
where they are on the Earth, and are stretched from the 1st to the 99th percentile of what
training sees. Training has the north and testing a strip in the south, so no ground is in both.

The label is the ground of the crop: "coast" where more than a quarter is at the level of the sea
or below, otherwise "low" up to 15 m in the mean of the land, "middle" up to 30, or "hills". The
target `height` is the mean elevation in metres.

`mvjax data fetch olinda` gets both files.
"""

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import eight_bit
from mvjax.data import fetch
from mvjax.data import geotiff
from mvjax.data import scene_crops

SPLITS = ("train", "test")
GROUNDS = ("coast", "low", "middle", "hills")
_SEA, _LIMITS = 0.25, (15.0, 30.0)  # Share, and metres.
_BANDS = ("B1", "B2", "B3", "B4", "B5", "B7")  # In the order of the file.
_VIEWS = {  # Bands of each view by their place in the file, by pair; (): the elevation.
    "elevation": {"optical": (0, 1, 2, 3, 4, 5), "dem": ()},
    "infrared": {"visible": (0, 1, 2), "infrared": (3, 4, 5)},
}
_FETCHED = "stars"  # Folder in the cache.
_OPTICAL, _DEM = "L7_ETMs.tif", "olinda_dem_utm25s.tif"
FETCH = {
    _FETCHED: fetch.Package(
        command=("apt-get", "download", "r-cran-stars"),
        archive="r-cran-stars_*.deb",
        sha256="a273913b84ce428c8a6f5eb3538776c8bcefb5756d473f0c4c2fd2a914e98a53",
        folder="usr/lib/R/site-library/stars/tif",
        algorithm="sha256",
        files={
            _OPTICAL: (
                "3b722bf4470144b6691bf720bac08f47c99464acff4dd258252891c06312678e"
            ),
            _DEM: "6954774429a04c827c8330943ee43a176a29d52be2f220100f352894c4b9f173",
        },
        advice="`apt-get update` may be needed first",
    )
}


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    pair: limits.one_of(*_VIEWS) = "elevation",
    size: limits.Pixels = 64,
    stride: limits.Pixels = 8,
    test_stride: limits.Pixels = 8,
    test_share: limits.Part = 1 / 3,
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, stride, test_stride, test_share
    return batch.Spec(
        {
            name: batch.ViewSpec((size, size, len(bands) or 1), "uint8", 0.0, 255.0)
            for name, bands in _VIEWS[pair].items()
        },
        len(GROUNDS),
        targets={"height": batch.TargetSpec((), "float32", -500.0, 9000.0)},
        class_names=GROUNDS,
        channel_names={
            name: tuple(_BANDS[k] for k in bands) or ("elevation",)
            for name, bands in _VIEWS[pair].items()
        },
    )


class Source(scene_crops.SceneCrops):
    """The scene in memory, from which crops are cut when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        pair: str = "elevation",
        size: int = 64,
        stride: int = 8,
        test_stride: int = 8,
        test_share: float = 1 / 3,
        limit: int | None = None,
    ):
        """Reads both files and lets them meet.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Holds the files; None: the cache does.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          pair: Which two views.
          size: Side of the crops.
          stride: Pixels between neighbours on the grid.
          test_stride: The same in testing.
          test_share: Part of the scene's height for testing, at least a crop.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: A file is missing or damaged, they do not overlap, or no crops fit.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        bands, metres = _read(folder, cache)
        strides = {"train": stride, "test": test_stride}
        places, _ = scene_crops.split_grids(
            split, metres.shape, size=size, strides=strides, share=test_share, axis=0
        )
        rows = scene_crops.strips(len(metres), size, test_share)["train"]
        dem = eight_bit.stretch_percentiles(metres, metres[slice(*rows)])[..., None]
        crops = scene_crops.windows(metres, places[:limit], size)
        super().__init__(
            spec(pair=pair, size=size),
            [{k: bands[..., v] if v else dem for k, v in _VIEWS[pair].items()}],
            places[:limit],
            np.array([_ground(crop) for crop in crops]),
            targets={"height": np.array([c.mean() for c in crops], np.float32)},
        )


def _ground(metres: np.ndarray) -> int:
    """The class of a crop of elevations."""
    land = metres > 0
    if 1 - land.mean() > _SEA:
        return 0
    return 1 + int(np.digitize(metres[land].mean(), _LIMITS))


def _read(folder: str | None, cache: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The bands `[H, W, 6]` uint8 and elevations `[H, W]` float32 in metres."""
    files = (_OPTICAL, _DEM)
    root = fetch.locate(_FETCHED, files, source="olinda", folder=folder, cache=cache)
    optical, dem = (
        geotiff.read(root / _OPTICAL, bands=6),
        geotiff.read(root / _DEM, bands=1),
    )
    if optical.place and dem.place and not dem.place.system.startswith("EPSG"):
        # The system of the elevations has no number but is the same: UTM 25 S on GRS 80.
        dem = dem._replace(place=dem.place._replace(system=optical.place.system))
    bands, metres = geotiff.meet(optical, dem, files)
    if np.isnan(metres).any():
        raise errors.UserError(f"{root / _DEM} has gaps, where none are expected.")
    return bands, metres
