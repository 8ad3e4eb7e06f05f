"""Crops of six patches of BigEarthNet, Sentinel-1 and Sentinel-2: real and offline.

Views `sar` `[size, size, 2]` (VV, VH) and `optical` `[size, size, 12]` uint8, at 10 m a
pixel, prepared as `data/bigearthnet.py` says. Training has four patches and testing two, which
`fold` chooses, so no ground is in both. `mvjax data fetch bigearthnet_sample` gets them.

The label is how green the crop is, by the mean of its NDVI (near infra-red against red, of
the values that were measured): below 0.55, up to 0.75, or above. Factor `patch` is which
of the six it is of, and target `labels` are the published 19 of the whole patch. One patch is
covered by snow.
"""

import io
import tarfile

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.data import arrays
from mvjax.data import bands as bands_lib
from mvjax.data import batch
from mvjax.data import bigearthnet
from mvjax.data import fetch
from mvjax.data import scene_crops

SPLITS = ("train", "test")
FETCH = bigearthnet.FETCH
_FILES = ("BigEarthNet-S1-Example.tar.bz2", "BigEarthNet-S2-Example.tar.bz2")
# Two neighbours in this row are the test patches of a fold.
PATCHES = (
    "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48",
    "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24",
    "S1A_IW_GRDH_1SDV_20171221T064238_29SND_56_35",
    "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_36_85",
    "S1A_IW_GRDH_1SDV_20180204T043253_35VPK_57_38",
    "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_4_55",
)
_PLACES = ("33UUP_87_48", "35VPK_69_24", "29SND_56_35", "29UPU_36_85", "35VPK_57_38")
PATCH_NAMES = (*_PLACES, "29UPU_4_55")
GREENNESS = ("sparse", "green", "dense")
_LIMITS = (0.55, 0.75)  # Of the mean NDVI.


def spec(
    *,
    split: str = "train",
    folder: str | None = None,
    cache: str | None = None,
    size: limits.Pixels = 64,
    stride: limits.Pixels = 8,
    test_stride: limits.Pixels = 8,
    fold: limits.one_of(0, 1, 2) = 0,
    bands: limits.AnyNames = (),
    missing: limits.one_of(*bands_lib.MISSING) = "zero",
) -> batch.Spec:
    """Says what the records look like; needs no data."""
    del split, folder, cache, stride, test_stride, fold
    wanted = bands_lib.choose(bands, bands_lib.OPTICAL_12, missing)
    labels = batch.TargetSpec((len(bigearthnet.LABELS),), "uint8", 0.0, 1.0)
    return batch.Spec(
        {
            bigearthnet.SAR: batch.ViewSpec((size, size, 2), "uint8", 0.0, 255.0),
            bigearthnet.OPTICAL: batch.ViewSpec(
                (size, size, len(wanted)), "uint8", 0.0, 255.0
            ),
        },
        len(GREENNESS),
        {"patch": len(PATCHES)},
        {"ndvi": batch.TargetSpec((), "float32", -1.0, 1.0), "labels": labels},
        class_names=GREENNESS,
        factor_names={"patch": PATCH_NAMES},
        channel_names={bigearthnet.SAR: bands_lib.SAR, bigearthnet.OPTICAL: wanted},
        target_names={"labels": bigearthnet.LABELS},
    )


class Source(scene_crops.SceneCrops):
    """The patches in memory, from which crops are cut when they are asked for."""

    def __init__(
        self,
        *,
        split: str = "train",
        folder: str | None = None,
        cache: str | None = None,
        size: int = 64,
        stride: int = 8,
        test_stride: int = 8,
        fold: int = 0,
        bands: tuple[str, ...] = (),
        missing: str = "zero",
        limit: int | None = None,
    ):
        """Reads the patches.

        Args:
          split: "train", "test" or "all" (train, then test).
          folder: Holds the archives; None: the cache does.
          cache: Cache of mvjax; None: `~/.cache/mvjax`.
          size: Side of the crops, at most 120.
          stride: Pixels between neighbours on the grid.
          test_stride: The same in testing.
          fold: Which two of the six patches are for testing: 2 * fold and the next one.
          bands: Of the optical view, by name, such as ("B4", "B3", "B2"); (): all 12.
          missing: "zero": B10, which the data have not, is 0; "refuse": it is an error.
          limit: Number of records to keep; None: all.

        Raises:
          UserError: An archive or a band is missing or damaged, or no crop fits.
        """
        arrays.check_limit(limit)
        arrays.check_split(split)
        wanted = bands_lib.choose(bands, bands_lib.OPTICAL_12, missing)
        if size > bigearthnet.SIDE:
            raise errors.UserError(
                f"The patches have {bigearthnet.SIDE} pixels a side; options.size="
                f"{size} does not fit."
            )
        scenes, labels = _read(folder, cache, wanted)
        places = _places(split, fold, size, (stride, test_stride))[:limit]
        described = spec(size=size, bands=bands, missing=missing)
        greens = [
            scene_crops.window(scenes[place[0]]["ndvi"], place, size).mean()
            for place in places
        ]
        ndvi = np.array(greens, np.float32)
        super().__init__(
            described,
            [{k: scene[k] for k in described.views} for scene in scenes],
            places,
            np.digitize(ndvi, _LIMITS),
            factors={"patch": places[:, 0]},
            targets={"ndvi": ndvi, "labels": labels[places[:, 0]]},
        )


def _places(split: str, fold: int, size: int, strides: tuple[int, int]) -> np.ndarray:
    """Patch, top and left of the crops of a split, `[N, 3]`."""
    tests = (2 * fold, 2 * fold + 1)
    trains = tuple(i for i in range(len(PATCHES)) if i not in tests)
    whole, chosen = (0, bigearthnet.SIDE), []
    for name, numbers, step in zip(SPLITS, (trains, tests), strides):
        if split in (name, "all"):
            chosen += [scene_crops.grid(i, whole, whole, size, step) for i in numbers]
    return np.concatenate(chosen)


def _read(
    folder: str | None, cache: str | None, wanted: tuple[str, ...]
) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Views and NDVI `[120, 120, ...]` of the patches, and their labels `[6, 19]`."""
    root = fetch.locate(
        bigearthnet.PACKAGE,
        _FILES,
        source="bigearthnet_sample",
        folder=folder,
        cache=cache,
    )
    files: dict[str, bytes] = {}
    for name in _FILES:
        files |= _unpack((root / name).read_bytes(), str(root / name))

    def read(name: str) -> bytes:
        if name not in files:
            raise FileNotFoundError(2, "there is none", name)
        return files[name]

    scenes, labels = [], []
    for patch in PATCHES:
        metadata = bigearthnet.read_metadata(read, patch)
        other = bigearthnet.partner(metadata, patch)
        radar = bigearthnet.read_bands(read, patch, bands_lib.SAR)
        held = bigearthnet.read_bands(read, other, bands_lib.OPTICAL_12)
        bigearthnet.check_pair(radar, held, (patch, other))
        scenes.append(_prepare(radar, held, wanted, patch))
        labels.append(bigearthnet.multi_hot(metadata["labels"], patch))
    return scenes, np.stack(labels)


def _unpack(data: bytes, name: str) -> dict[str, bytes]:
    """The files of an archive by name, without its outer folder."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return {
                m.name.partition("/")[2]: archive.extractfile(m).read()
                for m in archive
                if m.isfile()
            }
    except (tarfile.TarError, OSError, EOFError) as error:
        raise errors.UserError(
            f"{name} is no sound archive ({errors.one_line(error)})."
        ) from None


def _prepare(radar, held, wanted: tuple[str, ...], patch: str) -> dict[str, np.ndarray]:
    """The views of a patch, and what its labels are made of."""
    side = bigearthnet.SIDE
    levels = bigearthnet.optical_levels(held, side)
    decibels = {name: raster.values for name, raster in radar.items()}
    sar = bands_lib.sar_levels(decibels, bands_lib.BIGEARTHNET_S1)
    red, infrared = (held[b].values.astype(np.float32) for b in ("B4", "B8"))
    return {
        bigearthnet.SAR: bands_lib.pick(sar, bands_lib.SAR, "refuse", patch),
        bigearthnet.OPTICAL: bands_lib.pick(levels, wanted, "zero", patch),
        "ndvi": (infrared - red) / np.maximum(infrared + red, 1),
    }
