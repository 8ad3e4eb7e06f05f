"""Reads GeoTIFF files: values, where they lie on the Earth, and what is no measurement.

tifffile reads them, with imagecodecs where they are compressed. Maps are north up; a
corner is the outer one of the upper left pixel, also where the file gives a centre.
"""

from collections.abc import Sequence
import importlib.util
import io
import logging
import pathlib
from typing import NamedTuple

import numpy as np

from mvjax.core import errors
from mvjax.core import file_kind

_POINT = 2  # GTRasterTypeGeoKey of files whose tie points are centres of pixels.
_NO_DATA, _LERC, _REDUCED = 42113, 34887, 1
_CODES = ("ProjectedCSTypeGeoKey", "GeographicTypeGeoKey")
_NAMES = ("PCSCitationGeoKey", "GTCitationGeoKey", "GeogCitationGeoKey")
_SILENT = logging.NullHandler()  # Of tifffile's log: what is wrong is raised.
_APART = 0.01  # Of a pixel: sides and corners that differ by less are the same.


class Place(NamedTuple):
    """Where the pixels of a file lie, in the units of its system of coordinates."""

    left: float
    top: float
    width: float  # Of a pixel.
    height: float
    system: str  # Such as "EPSG 4326".


class Raster(NamedTuple):
    """What a file holds."""

    values: np.ndarray  # [H, W] or [H, W, C].
    place: Place | None
    no_data: float | None  # Stands for no measurement.


def read(
    source: pathlib.Path | bytes, name: str = "", *, bands: int | None = None
) -> Raster:
    """Reads a file.

    Args:
      source: The file or its content.
      name: What messages call the content.
      bands: How many there must be; None: any number.

    Raises:
      UserError: tifffile is missing; the file is missing, truncated or no TIFF, has other
        bands, or a place that is turned.
    """
    check_installed()
    import tifffile

    logging.getLogger("tifffile").addHandler(_SILENT)
    name = name or str(source)
    try:
        if isinstance(source, pathlib.Path):
            file_kind.refuse_special(source)
            size = source.stat().st_size
        else:
            size, source = len(source), io.BytesIO(source)
        with tifffile.TiffFile(source) as file:
            return _read(file, name, size, bands)
    except OSError as error:
        reason = error.strerror or errors.one_line(error)
        raise errors.UserError(f"Cannot read {name}: {reason}.") from None
    except errors.UserError:
        raise
    except Exception as error:  # Damaged files make decoders raise many things.
        hint = file_kind.clause(source) if isinstance(source, pathlib.Path) else ""
        raise errors.UserError(
            f"{name} is no sound GeoTIFF ({errors.one_line(error)}){hint}."
        ) from None


def check_installed() -> None:
    """Raises `UserError` where the libraries for GeoTIFF are missing."""
    if importlib.util.find_spec("tifffile") is None:
        raise errors.UserError(
            'Reading GeoTIFF needs tifffile and imagecodecs: pip install "mvjax[geo]"'
        )


def _read(file, name: str, size: int, bands: int | None) -> Raster:
    """What the first page holds; others may only be smaller copies of it."""
    page = file.pages[0]
    whole = [p for p in file.pages if not int(p.aspage().subfiletype) & _REDUCED]
    if len(whole) > 1:
        raise errors.UserError(
            f"{name} has {len(whole)} pages, where bands of one page are expected."
        )
    ends = map(sum, zip(page.dataoffsets, page.databytecounts))
    if max(ends, default=0) > size:
        raise errors.UserError(f"{name} is truncated: {size:,} bytes are left of it.")
    if int(page.compression) == _LERC:
        raise errors.UserError(
            f"{name} is compressed by LERC, of which gaps cannot be told from 0; write it "
            "anew, for example with `gdal_translate -co COMPRESS=DEFLATE`."
        )
    values = page.asarray()
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    elif page.axes not in ("YX", "YXS"):
        raise errors.UserError(f"{name} has the axes {page.axes}, expected YX or YXS.")
    found = 1 if values.ndim == 2 else values.shape[2]
    if bands is not None and found != bands:
        raise errors.UserError(f"{name} has {found} bands, expected {bands}.")
    if values.dtype.kind not in "buif":
        raise errors.UserError(
            f"{name} holds values of type {values.dtype}, no numbers."
        )
    tag = page.tags.get(_NO_DATA)
    return Raster(values, _find_place(file, page, name), _number(tag and tag.value))


def _number(text: object) -> float | None:
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


def _find_place(file, page, name: str) -> Place | None:
    """Where the pixels lie; None where the file does not say."""
    keys = file.geotiff_metadata if page.is_geotiff else None
    if not keys:
        return None
    if "ModelTransformation" in keys:
        matrix = np.asarray(keys["ModelTransformation"], float).reshape(4, 4)
        width, height, left, top = (
            matrix[0, 0],
            -matrix[1, 1],
            matrix[0, 3],
            matrix[1, 3],
        )
        if matrix[0, 1] or matrix[1, 0]:
            raise errors.UserError(f"{name} is turned; north must be up.")
    elif "ModelPixelScale" in keys and "ModelTiepoint" in keys:
        width, height = keys["ModelPixelScale"][:2]
        column, row, _, x, y, _ = keys["ModelTiepoint"][:6]
        left, top = x - column * width, y + row * height
    else:
        return None
    if width <= 0 or height <= 0:
        raise errors.UserError(f"{name} is mirrored; north must be up and east right.")
    if int(keys.get("GTRasterTypeGeoKey", 1)) == _POINT:
        left, top = left - width / 2, top + height / 2
    codes = [f"EPSG {int(keys[k])}" for k in _CODES if 0 < int(keys.get(k, 0)) < 32767]
    names = [str(keys[k]) for k in _NAMES if k in keys]
    system = next(iter([*codes, *names]), "unknown")
    return Place(float(left), float(top), float(width), float(height), system)


def move(place: Place | None, rows: int, columns: int) -> Place | None:
    """The place of a part that begins so many pixels below and beside the corner."""
    if place is None:
        return None
    left, top = place.left + columns * place.width, place.top - rows * place.height
    return place._replace(left=left, top=top)


def encode(raster: Raster) -> bytes:
    """A GeoTIFF file, compressed without loss."""
    check_installed()
    import tifffile

    tags, place = [], raster.place
    if place is not None:
        corner = (0.0, 0.0, 0.0, place.left, place.top, 0.0)
        tags.append((33550, "d", 3, (place.width, place.height, 0.0), True))
        tags.append((33922, "d", 6, corner, True))
        tags.append((34735, "H", None, _encode_system(place.system), True))
    if raster.no_data is not None:
        tags.append((_NO_DATA, "s", 0, f"{raster.no_data:g}", True))
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        raster.values,
        photometric="minisblack",
        planarconfig="contig" if raster.values.ndim == 3 else None,
        compression="deflate",
        metadata=None,
        extratags=[(c, k, len(v) if n is None else n, v, w) for c, k, n, v, w in tags],
    )
    return stream.getvalue()


def _encode_system(system: str) -> tuple[int, ...]:
    """The keys of a system of coordinates; of one without a number that it is unknown."""
    number = int(system.removeprefix("EPSG ")) if system.startswith("EPSG ") else 32767
    degrees = 4000 <= number < 5000
    keys = ((1024, 2 if degrees else 1), (1025, 1), (2048 if degrees else 3072, number))
    head = (1, 1, 0, len(keys))
    return (*head, *(n for key, value in keys for n in (key, 0, 1, value)))


def check_same(
    one: Raster, other: Raster, names: tuple[str, str], *, shapes: bool = True
) -> None:
    """Checks that two files show the same ground; those without a place are believed.

    Args:
      one: The first.
      other: The second.
      names: Of both, for the message.
      shapes: Whether they must also have as many pixels.

    Raises:
      UserError: They lie elsewhere, or have other sizes.
    """
    sides = one.values.shape[:2], other.values.shape[:2]
    if shapes and sides[0] != sides[1]:
        first, second = (f"{h}x{w}" for h, w in sides)
        raise errors.UserError(
            f"{names[0]} has {first} pixels, but {names[1]} has {second}."
        )
    if one.place is None or other.place is None:
        return
    systems = one.place.system, other.place.system
    # A system without a number may be the same under another name.
    if systems[0] != systems[1] and all(s.startswith("EPSG") for s in systems):
        raise _other_system(systems, names)
    extents = _extent(one), _extent(other)
    most = max(one.place.width, one.place.height) * _APART
    if np.abs(np.subtract(*extents)).max() > most:
        raise _elsewhere(extents, names)


def check_overlap(one: Raster, other: Raster, names: tuple[str, str]) -> None:
    """Checks that two files have some ground in common.

    Those without a place, or in other systems of coordinates, are believed.

    Raises:
      UserError: They have none.
    """
    if not one.place or not other.place or one.place.system != other.place.system:
        return
    extents = _extent(one), _extent(other)
    right, bottom = min(e[2] for e in extents), max(e[3] for e in extents)
    left, top = max(e[0] for e in extents), min(e[1] for e in extents)
    if left >= right or bottom >= top:
        raise _elsewhere(extents, names)


def _extent(raster: Raster) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a file that has a place."""
    (height, width), p = raster.values.shape[:2], raster.place
    return p.left, p.top, p.left + width * p.width, p.top - height * p.height


def _elsewhere(
    extents: Sequence[tuple[float, ...]], names: tuple[str, str]
) -> errors.UserError:
    corners = [f"({e[0]:.8g}, {e[1]:.8g}) to ({e[2]:.8g}, {e[3]:.8g})" for e in extents]
    return errors.UserError(
        f"{names[0]} lies at {corners[0]}, but {names[1]} at {corners[1]}: they do not "
        "show the same ground."
    )


def _other_system(systems: tuple[str, str], names: tuple[str, str]) -> errors.UserError:
    return errors.UserError(
        f"{names[0]} is in {systems[0]}, but {names[1]} in {systems[1]}; bring both into "
        "one system of coordinates."
    )


def meet(
    fine: Raster, coarse: Raster, names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Two files on the pixels of the first one, where both have some.

    Args:
      fine: Its pixels stay as they are.
      coarse: `[H, W]`; its values are between four centres (bilinear), float32, NaN where
        one of them is no measurement.
      names: Of both, for the message.

    Returns:
      `[h, w, ...]` of the first and `[h, w]` of the second.

    Raises:
      UserError: One does not say where it lies, or they do not overlap.
    """
    for raster, name in zip((fine, coarse), names):
        if raster.place is None:
            raise errors.UserError(f"{name} does not say where on the Earth it lies.")
    systems = fine.place.system, coarse.place.system
    if systems[0] != systems[1]:
        raise _other_system(systems, names)
    height, width = fine.values.shape[:2]
    a, b = fine.place, coarse.place
    rows = (b.top - a.top + (np.arange(height) + 0.5) * a.height) / b.height - 0.5
    columns = (a.left - b.left + (np.arange(width) + 0.5) * a.width) / b.width - 0.5
    inside_rows = (rows >= 0) & (rows <= coarse.values.shape[0] - 1)
    inside_columns = (columns >= 0) & (columns <= coarse.values.shape[1] - 1)
    if not inside_rows.any() or not inside_columns.any():
        raise errors.UserError(f"{names[0]} and {names[1]} do not overlap.")
    found = _between(_measured(coarse), rows[inside_rows], columns[inside_columns])
    return fine.values[inside_rows][:, inside_columns], found


def fill(raster: Raster, name: str) -> np.ndarray:
    """Values in float32, gaps being as low as the lowest one that was measured.

    Raises:
      UserError: Nothing was measured.
    """
    values = raster.values.astype(np.float32)
    gaps = ~np.isfinite(values)
    if raster.no_data is not None:
        gaps |= values == np.float32(raster.no_data)
    if gaps.all():
        raise errors.UserError(f"{name} holds no measurement.")
    return np.where(gaps, values[~gaps].min(), values) if gaps.any() else values


def finite(raster: Raster, name: str) -> Raster:
    """The same, values that are no numbers being as low as the lowest one.

    Raises:
      UserError: None is a number.
    """
    if raster.values.dtype.kind != "f" or np.isfinite(raster.values).all():
        return raster
    return raster._replace(values=fill(raster._replace(no_data=None), name))


def _measured(raster: Raster) -> np.ndarray:
    """Values `[H, W]` float64, NaN where there is no measurement."""
    values = raster.values.astype(np.float64)
    if raster.no_data is not None:
        values[values == raster.no_data] = np.nan
    return values


def _between(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values at fractional rows `[h]` and columns `[w]`, `[h, w]` float32."""
    tops = np.clip(np.floor(rows).astype(int), 0, max(len(values) - 2, 0))
    lefts = np.clip(np.floor(columns).astype(int), 0, max(values.shape[1] - 2, 0))
    down, right = (rows - tops)[:, None], (columns - lefts)[None]
    below = np.minimum(tops + 1, len(values) - 1)
    beside = np.minimum(lefts + 1, values.shape[1] - 1)
    upper = values[tops][:, lefts] * (1 - right) + values[tops][:, beside] * right
    lower = values[below][:, lefts] * (1 - right) + values[below][:, beside] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)
