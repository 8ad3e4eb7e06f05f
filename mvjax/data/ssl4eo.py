"""SSL4EO-S12: its sensors, the published tree of files, and what a file's values become.

    FOLDER/{s1,s2a,s2c}/<patch>/<season, four of them>/<band>.tif

Bands have 10, 20 or 60 m a pixel, 264, 132 or 44 a side; all are resized to one size, as the
released builder does it. A stored array is `[4, C, side, side]`, with all bands of the sensor.
"""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.data import band_photometry
from mvjax.data import bands as bands_lib
from mvjax.data import eight_bit
from mvjax.data import file_source
from mvjax.data import geotiff

SIDE = 264
SEASONS = 4
DTYPES = ("uint8", "raw")
QUANTILES = ("correct", "official")
_INT16 = np.iinfo(np.int16).max


class Sensor(NamedTuple):
    """What a folder of the tree holds."""

    view: str
    bands: tuple[str, ...]
    statistics: dict[str, bands_lib.Statistics]
    raw: str  # Type of its values where they are not levels.


class Patch(NamedTuple):
    """What a sensor measured of a place.

    Attributes:
      values: `[4, C, side, side]`, float32 of Sentinel-1, int16 of Sentinel-2.
      first: The first band of the first season.
      path: The file of that.
    """

    values: np.ndarray
    first: geotiff.Raster
    path: str


SENSORS = {  # In the order in which the released builder writes them.
    "s1": Sensor("sar", bands_lib.SAR, bands_lib.SSL4EO_S1, "float32"),
    "s2a": Sensor("surface", bands_lib.OPTICAL_12, bands_lib.SSL4EO_S2A, "int16"),
    "s2c": Sensor("optical", bands_lib.OPTICAL_13, bands_lib.SSL4EO_S2C, "int16"),
}


def list_patches(root: pathlib.Path, modes: Sequence[str]) -> list[str]:
    """Names of the patches of a tree, sorted, which every sensor has.

    Raises:
      UserError: There are none, or a sensor lacks one.
    """
    found = {mode: file_source.list_folders(root / mode) for mode in modes}
    first, ids = next(iter(found.items()))
    if not ids:
        raise errors.UserError(
            f"{root / first} holds no patches; expected {first}/PATCH/SEASON/BAND.tif."
        )
    for mode, names in found.items():
        unpaired = sorted(set(ids) ^ set(names))
        if unpaired:
            there, lacking = (first, mode) if unpaired[0] in set(ids) else (mode, first)
            raise errors.UserError(
                f"{root}: the patch {unpaired[0]!r} is in {there} but not in {lacking} "
                f"({len(unpaired)} unpaired in all)."
            )
    return ids


def read_patch(root: pathlib.Path, mode: str, patch: str, side: int) -> Patch:
    """The bands of a patch as they were measured.

    Raises:
      UserError: A season or a band is missing or damaged, or lies elsewhere.
    """
    folder, sensor = root / mode / patch, SENSORS[mode]
    seasons = file_source.list_folders(folder)
    if len(seasons) != SEASONS:
        raise errors.UserError(
            f"{folder} has {len(seasons)} folders of seasons, expected {SEASONS}."
        )
    out = np.empty((SEASONS, len(sensor.bands), side, side), sensor.raw)
    whole: tuple[geotiff.Raster, str] | None = None
    for i, season in enumerate(seasons):
        first: tuple[geotiff.Raster, str] | None = None
        for k, band in enumerate(sensor.bands):
            path = folder / season / f"{band}.tif"
            if not path.is_file():
                raise errors.UserError(
                    f"{folder / season} lacks the band {band}: there is no {path.name}."
                )
            raster = geotiff.finite(geotiff.read(path, bands=1), str(path))
            first = first or (raster, str(path))
            whole = whole or first
            geotiff.check_same(first[0], raster, (first[1], str(path)), shapes=False)
            out[i, k] = _resize(raster.values, side, sensor.raw)
    return Patch(out, *whole)


def check_pair(one: Patch, other: Patch) -> None:
    """Raises `UserError` where patches of two sensors have no ground in common.

    They are cut from scenes of other grids and need not have the very same corners.
    """
    geotiff.check_overlap(one.first, other.first, (one.path, other.path))


def _resize(values: np.ndarray, side: int, kind: str) -> np.ndarray:
    """A band of another size, in the type of its sensor."""
    if kind == "int16":
        return np.minimum(band_photometry.resize_exact(values, side), _INT16)
    return band_photometry.resize_exact(values.astype(np.float32, copy=False), side)


def to_levels(
    values: np.ndarray, mode: str, *, normalize: bool, wrap: bool = False
) -> np.ndarray:
    """Measured values as levels, uint8, as the released builder makes them.

    Args:
      values: `[4, C, H, W]`.
      mode: Of `SENSORS`.
      normalize: Whether the range of two deviations of each band becomes 0 to 255, which it
        always does for Sentinel-1; otherwise reflectances 0 to 10,000 do.
      wrap: Whether brighter ones start anew from 0, as in the released builder.
    """
    sensor = SENSORS[mode]
    if normalize or mode == "s1":
        means, stds = zip(*(sensor.statistics[band] for band in sensor.bands))
        return eight_bit.normalise_bands(values, means, stds, axis=1)
    return eight_bit.reflectance(values, wrap=wrap)


def read_raw(values: np.ndarray, mode: str, quantiles: str) -> np.ndarray:
    """Measured values as the released reader gives them to training.

    Args:
      values: `[4, C, H, W]`.
      mode: Of `SENSORS`.
      quantiles: Of Sentinel-1, whose values are cut to them: "correct" ones of each band, or
        the "official" ones, which mix the bands up.

    Returns:
      uint8 of Sentinel-1, float32 (reflectance, 1 being bright) of Sentinel-2.
    """
    if mode != "s1":
        return eight_bit.unit_reflectance(values)
    if quantiles == "official":
        values = eight_bit.clip_pairs(values)
    else:
        parts = [eight_bit.clip_quantiles(values[:, k]) for k in range(values.shape[1])]
        values = np.stack(parts, axis=1)
    means, stds = zip(*(bands_lib.SSL4EO_S1_RAW[band] for band in bands_lib.SAR))
    return eight_bit.normalise_bands(values, means, stds, axis=1)
