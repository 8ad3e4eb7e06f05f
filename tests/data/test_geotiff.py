"""GeoTIFF: values, places, and files that meet by where they are on the Earth."""

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import eight_bit
from mvjax.data import geotiff
from tests.data import geo_files

RNG = np.random.default_rng(0)


def test_values_and_places_come_back(tmp_path):
    values = RNG.integers(0, 60_000, (7, 5, 13), np.uint16)
    for options in ({}, {"compression": "lzw"}, {"compression": "deflate"}):
        (tmp_path / "a.tif").write_bytes(geo_files.encode(values, no_data=9, **options))
        found = geotiff.read(tmp_path / "a.tif", bands=13)
        np.testing.assert_array_equal(found.values, values)
        assert found.no_data == 9
        assert found.place == (500_000, 4_500_000, 10, 10, "EPSG 32633")
    # The centre of a pixel is no corner.
    assert geotiff.read(geo_files.encode(values, point=True)).place == found.place
    assert geotiff.read(geo_files.encode(values, place=False)).place is None
    planes = geo_files.encode(
        np.moveaxis(values, -1, 0).copy(), planarconfig="separate"
    )
    np.testing.assert_array_equal(geotiff.read(planes).values, values)


def test_files_meet_by_georeference_and_not_by_index():
    # Both hold the position itself: east - north / 2, whatever their pixels are.
    def position(top, left, pixel, shape):
        rows, columns = np.indices(shape) + 0.5
        return (left + columns * pixel[0] - (top - rows * pixel[1]) / 2).astype(
            np.float32
        )

    one = position(100.0, 10.0, (1, 1), (30, 40))
    other = position(97.3, 14.2, (2.5, 3.0), (6, 9))
    fine = geotiff.read(geo_files.encode(one, left=10, top=100, pixel=1.0, system=4326))
    coarse = geotiff.read(
        geo_files.encode(other, left=14.2, top=97.3, pixel=(2.5, 3.0), system=4326)
    )
    a, b = geotiff.meet(fine, coarse, ("one", "other"))
    # Between the outermost centres: 95.8 to 80.8 north, 15.45 to 35.45 east.
    assert a.shape == b.shape == (15, 20)
    np.testing.assert_allclose(a, b, atol=1e-4)
    gap = other.copy()
    gap[2, 4] = -9999
    holed = geotiff.read(
        geo_files.encode(
            gap, left=14.2, top=97.3, pixel=(2.5, 3.0), system=4326, no_data=-9999
        )
    )
    _, c = geotiff.meet(fine, holed, ("one", "other"))
    known = ~np.isnan(c)
    assert 0 < (~known).sum() < 60
    np.testing.assert_allclose(c[known], b[known], atol=1e-4)


def test_what_does_not_fit_is_named(tmp_path):
    values = RNG.random((16, 16), np.float32)
    sound = geo_files.encode(values)
    path = tmp_path / "scene_dem.tif"
    for content, message in (
        (sound[:900], "scene_dem.tif is truncated"),
        (
            geo_files.encode(values, compression="deflate")[:-50],
            "scene_dem.tif is trunc",
        ),
        (b"<html>", "no sound GeoTIFF.*web page"),
        (sound[:40], "scene_dem.tif is no sound GeoTIFF"),
    ):
        path.write_bytes(content)
        with pytest.raises(errors.UserError, match=message):
            geotiff.read(path)
    with pytest.raises(errors.UserError, match="Cannot read .*nothing.tif"):
        geotiff.read(tmp_path / "nothing.tif")
    with pytest.raises(errors.UserError, match="here holds values of type complex64"):
        geotiff.read(geo_files.encode(np.ones((4, 4), np.complex64)), "here")
    with pytest.raises(errors.UserError, match="here has 1 bands, expected 3"):
        geotiff.read(sound, "here", bands=3)
    one = geotiff.read(sound)
    moved = geotiff.read(geo_files.encode(values, left=500_010.0))
    foreign = geotiff.read(geo_files.encode(values, system=32634))
    far = geotiff.read(geo_files.encode(values, left=600_000.0))
    bare = geotiff.read(geo_files.encode(values, place=False))
    for other, message in (
        (moved, "rgb lies at .500000.*dem at .500010.*same ground"),
        (foreign, "rgb is in EPSG 32633, but dem in EPSG 32634"),
    ):
        with pytest.raises(errors.UserError, match=message):
            geotiff.check_same(one, other, ("rgb", "dem"))
    geotiff.check_same(one, bare, ("rgb", "dem"))
    for other, message in (
        (far, "rgb and dem do not overlap"),
        (foreign, "EPSG 32634"),
        (bare, "dem does not say where"),
    ):
        with pytest.raises(errors.UserError, match=message):
            geotiff.meet(one, other, ("rgb", "dem"))


def test_gaps_are_filled_and_flat_ground_gives_no_nan():
    flat = geotiff.Raster(np.full((4, 4), 7.0, np.float32), None, None)
    assert not eight_bit.unit_range(geotiff.fill(flat, "x")).any()
    assert not eight_bit.stretch_percentiles(geotiff.fill(flat, "x")).any()
    holed = flat.values.copy()
    holed[0, 0], holed[1, 1] = -9999, np.nan
    assert (geotiff.fill(geotiff.Raster(holed, None, -9999.0), "x") == 7).all()
    with pytest.raises(errors.UserError, match="x holds no measurement"):
        geotiff.fill(geotiff.Raster(holed[:1, :1], None, -9999.0), "x")
    found = geotiff.finite(geotiff.Raster(holed, None, -9999.0), "x").values
    assert found[1, 1] == found[0, 0] == -9999 and found[2, 2] == 7
    with pytest.raises(errors.UserError, match="x holds no measurement"):
        geotiff.finite(geotiff.Raster(np.full((2, 2), np.nan), None, None), "x")


def test_what_is_written_is_read():
    place = geotiff.Place(500.0, 900.0, 2.5, 2.0, "EPSG 32613")
    for system in ("EPSG 32613", "EPSG 4326"):
        for shape in ((6, 5), (6, 5, 3)):
            raster = geotiff.Raster(
                RNG.random(shape, np.float32), place._replace(system=system), -1.0
            )
            found = geotiff.read(geotiff.encode(raster))
            np.testing.assert_array_equal(found.values, raster.values)
            assert found[1:] == raster[1:]
    assert geotiff.move(place, 3, 2)[:2] == (505.0, 894.0)
