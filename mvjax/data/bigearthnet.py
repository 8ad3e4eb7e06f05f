"""BigEarthNet: its labels, and its patches of Sentinel-1 and -2 as they are published.

    <patch of Sentinel-2>/<the same>_B01.tif ... _B12.tif, <the same>_labels_metadata.json
    <patch of Sentinel-1>/<the same>_VV.tif, _VH.tif, <the same>_labels_metadata.json

Bands have 10, 20 or 60 m a pixel, so 120, 60 or 20 a side. As in the released builder, bands
of Sentinel-2 become levels first (mean and two deviations of the band) and are then resized
(bicubic); those of Sentinel-1 are cut to their quantiles of each patch and made levels.
"""

from collections.abc import Callable, Sequence
import json
import pathlib
from typing import Any

import numpy as np

from mvjax.core import errors
from mvjax.data import band_photometry
from mvjax.data import bands as bands_lib
from mvjax.data import eight_bit
from mvjax.data import fetch
from mvjax.data import geotiff

SIDE = 120  # Of the bands of 10 m.
SAR, OPTICAL = "sar", "optical"  # Views.
_GROUPS = {  # The 19 labels, in the order of the index, with those of the 43 in each.
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": ("Industrial or commercial units",),
    "Arable land": (
        "Non-irrigated arable land",
        "Permanently irrigated land",
        "Rice fields",
    ),
    "Permanent crops": (
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Pastures": ("Pastures",),
    "Complex cultivation patterns": ("Complex cultivation patterns",),
    (
        "Land principally occupied by agriculture, with significant areas of natural "
        "vegetation"
    ): (
        "Land principally occupied by agriculture, with significant areas of natural "
        "vegetation",
    ),
    "Agro-forestry areas": ("Agro-forestry areas",),
    "Broad-leaved forest": ("Broad-leaved forest",),
    "Coniferous forest": ("Coniferous forest",),
    "Mixed forest": ("Mixed forest",),
    "Natural grassland and sparsely vegetated areas": (
        "Natural grassland",
        "Sparsely vegetated areas",
    ),
    "Moors, heathland and sclerophyllous vegetation": (
        "Moors and heathland",
        "Sclerophyllous vegetation",
    ),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Beaches, dunes, sands": ("Beaches, dunes, sands",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water courses", "Water bodies"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}
LABELS = tuple(_GROUPS)
# Of the 43, those that belong to none of the 19.
_DROPPED = (
    "Road and rail networks and associated land",
    "Port areas",
    "Airports",
    "Mineral extraction sites",
    "Dump sites",
    "Construction sites",
    "Green urban areas",
    "Sport and leisure facilities",
    "Bare rock",
    "Burnt areas",
    "Intertidal flats",
)
_INDEX = {name: i for i, names in enumerate(_GROUPS.values()) for name in names}
_METADATA = "labels_metadata.json"
_PARTNER = "corresponding_s2_patch"

PACKAGE = "bigearthnet_common"  # Folder in the cache.
FETCH = {
    PACKAGE: fetch.Package(
        command=("pip", "download", "--no-deps", "bigearthnet-common==2.8.0"),
        archive="bigearthnet_common-2.8.0-py3-none-any.whl",
        sha256="6c2bcf2b1d39a3f48925b0d941557152f9e523576fbb9d2b881a842ed92fd6af",
        folder="bigearthnet_common",
        algorithm="sha256",
        files={
            "BigEarthNet-S1-Example.tar.bz2": (
                "ac0d32fea2dbd14881d1e78632cba46dcefc8e52acb22e6484790ac93f0da663"
            ),
            "BigEarthNet-S2-Example.tar.bz2": (
                "faa13e52868bda950c5255e15b7a6504ae827e637b8376dc10e09aae0c068537"
            ),
            "patches_with_cloud_and_shadow.csv.bz2": (
                "eece39b7723d882ac412247b6bece8688181b97bc28dafe30bb9687be8baf54e"
            ),
            "patches_with_seasonal_snow.csv.bz2": (
                "385ee3cf7bff85561f791da309acb231d02054090a721434d21e4ecb1c39b9c9"
            ),
            "s1_s2_name_country_season.csv.bz2": (
                "8f2fa38b9fc2f69d56bfc209f74f1434a9b5d5ecae592a950da0bf3da1f968be"
            ),
            "train.csv.bz2": (
                "6b20da99022efe4212fa2765161dcfcff944b18561c91017b1d5d40d0bfc712e"
            ),
            "val.csv.bz2": (
                "9281aedab12a3bae18ebcfcaba312d97f2e45325741f43607074f15425566fa8"
            ),
            "test.csv.bz2": (
                "8d978918d3a9690270ca32da36177da253403457c41c51fa3930a9080d0250ae"
            ),
        },
        advice="`pip` comes with Python",
    )
}

Read = Callable[[str], bytes | pathlib.Path]  # What is under a name below the folders.


def multi_hot(names: Sequence[str], where: str) -> np.ndarray:
    """The 19 labels `[19]` uint8 of names of the 43; those of no group are dropped.

    Raises:
      UserError: A name is none of the 43.
    """
    found = np.zeros(len(LABELS), np.uint8)
    for name in names:
        if name in _INDEX:
            found[_INDEX[name]] = 1
        elif name not in _DROPPED:
            known = (*_INDEX, *_DROPPED)
            raise errors.UserError(f"{where}: {errors.unknown('label', name, known)}")
    return found


def file_name(band: str) -> str:
    """What files call a band: B1 is B01."""
    letters, number = band[0], band[1:]
    return f"{letters}0{number}" if number.isdigit() and len(number) == 1 else band


def read_metadata(read: Read, patch: str) -> dict[str, Any]:
    """What is said of a patch: `labels` and, of Sentinel-1, its partner.

    Raises:
      UserError: The file is missing or damaged.
    """
    name = f"{patch}/{patch}_{_METADATA}"
    try:
        content = read(name)
        if isinstance(content, pathlib.Path):
            content = content.read_bytes()
        found = json.loads(content)
    except OSError as error:
        reason = error.strerror or errors.one_line(error)
        raise errors.UserError(f"Cannot read {name}: {reason}.") from None
    except (ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{name} is no sound JSON file ({errors.one_line(error)})."
        ) from None
    labels = found.get("labels") if isinstance(found, dict) else None
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise errors.UserError(f"{name} has no list of texts under 'labels'.")
    return found


def partner(metadata: dict[str, Any], patch: str) -> str:
    """Name of the patch of Sentinel-2 that one of Sentinel-1 belongs to."""
    found = metadata.get(_PARTNER)
    if not isinstance(found, str):
        raise errors.UserError(f"{patch} does not say its {_PARTNER!r}.")
    return found


def read_bands(
    read: Read, patch: str, wanted: Sequence[str], missing: str = "refuse"
) -> dict[str, geotiff.Raster]:
    """Bands of a patch, which all show the same ground.

    Args:
      read: Raises `OSError` where there is no file.
      patch: Name of the patch and its folder.
      wanted: Names of bands.
      missing: "zero": a band without a file is left out.

    Raises:
      UserError: A file is missing, damaged, or lies elsewhere.
    """
    found: dict[str, geotiff.Raster] = {}
    for band in wanted:
        name = f"{patch}/{patch}_{file_name(band)}.tif"
        try:
            content = read(name)
        except OSError:
            if missing == "zero":
                continue
            raise errors.UserError(
                f"The patch {patch} lacks the band {band}: there is no {name}."
            ) from None
        raster = geotiff.finite(geotiff.read(content, name, bands=1), name)
        found[band] = raster
        first = next(iter(found))
        names = (f"{patch}_{file_name(first)}.tif", f"{patch}_{file_name(band)}.tif")
        geotiff.check_same(found[first], raster, names, shapes=False)
    if not found:
        raise errors.UserError(f"The patch {patch} has none of {', '.join(wanted)}.")
    return found


def optical_levels(
    rasters: dict[str, geotiff.Raster], side: int
) -> dict[str, np.ndarray]:
    """Bands of Sentinel-2 as levels, each `[side, side]` uint8."""
    return {
        band: band_photometry.resize_cubic(
            eight_bit.normalise(raster.values, *bands_lib.BIGEARTHNET_S2[band]), side
        )
        for band, raster in rasters.items()
    }


def check_pair(
    radar: dict[str, geotiff.Raster],
    optical: dict[str, geotiff.Raster],
    names: tuple[str, str],
) -> None:
    """Raises `UserError` where the patches of two sensors show different ground."""
    one, other = (next(iter(found.values())) for found in (radar, optical))
    geotiff.check_same(one, other, names, shapes=False)
