"""GeoNRW: tiles are cut row by row, read as released, and pair up by their place."""

import pickle

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import build
from mvjax.data import geotiff
from mvjax.data.augment import modalities
from mvjax.data.sources import geonrw
from tests.data import geo_files

SIDE = 8
RNG = np.random.default_rng(0)


def write_tile(folder, x, y, *, side=4 * SIDE, left=None, seg_side=None):
    """One tile of the archive; a pixel is as large as the kilometre wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, pixel = f"{x}_{y}", 1000 / side
    rgb = RNG.integers(0, 256, (side, side, 3), np.uint8)
    dem = (100 + np.arange(side * side).reshape(side, side) / 7).astype(np.float32)
    seg = RNG.integers(0, 11, (seg_side or side,) * 2, np.uint8)
    Image.fromarray(rgb).save(folder / f"{stem}_rgb.jp2", irreversible=False)
    where = dict(left=1000 * x if left is None else left, top=1000 * (y + 1))
    where |= dict(pixel=pixel, system=25832)
    (folder / f"{stem}_dem.tif").write_bytes(geo_files.encode(dem, **where))
    (folder / f"{stem}_seg.tif").write_bytes(geo_files.encode(seg, **where))
    return rgb, dem, seg


@pytest.fixture
def folder(tmp_path):
    """Two tiles of a town for training and one for testing, cut into 16 each."""
    for town, x in (("aachen", 294), ("aachen", 295), ("herne", 371)):
        write_tile(tmp_path / "raw" / town, x, 5630)
    options = [f"side={SIDE}"]
    for _ in range(2):
        count = build.build(
            "geonrw", str(tmp_path / "raw"), str(tmp_path / "cut"), options
        )
        assert count == 48
    return tmp_path / "cut"


def test_tiles_are_cut_row_by_row(tmp_path):
    rgb, dem, seg = write_tile(tmp_path / "raw" / "test", 300, 5700)
    build.build(
        "geonrw", str(tmp_path / "raw"), str(tmp_path / "cut"), [f"side={SIDE}"]
    )
    options = dict(folder=str(tmp_path / "cut"), split="test", side=SIDE)
    source = geonrw.Source(use="transfer", channel_order="rgb", **options)
    assert source.files.ids[0] == "300_5700_1" and len(source) == 16
    found = {name: source[i] for i, name in enumerate(source.files.ids)}
    for k in range(16):
        rows, columns = (slice(SIDE * n, SIDE * (n + 1)) for n in divmod(k, 4))
        record, height = found[f"300_5700_{k + 1}"], dem[rows, columns]
        np.testing.assert_array_equal(record["views"]["rgb"], rgb[rows, columns])
        np.testing.assert_array_equal(
            record["targets"]["land_cover"], seg[rows, columns]
        )
        low, high = height.min(), height.max()
        np.testing.assert_allclose(
            record["views"]["dem"][..., 0], (height - low) / (high - low), atol=1e-6
        )
    path = tmp_path / "cut" / "dem_dir" / "test" / "300_5700_6_dem.tif"
    place = geotiff.read(path).place
    assert place == (300_250, 5_700_750, 31.25, 31.25, "EPSG 25832")


def test_records_are_those_of_the_released_reader(folder):
    options = dict(folder=str(folder), side=SIDE)
    train, test = (geonrw.Source(split=s, **options) for s in ("train", "test"))
    assert len(train) == 32 and len(test) == 16
    assert len(geonrw.Source(split="all", **options)) == 48
    train = pickle.loads(pickle.dumps(train))
    batch.validate_record(train[5], geonrw.spec(side=SIDE), "here")
    stored = np.asarray(Image.open(train.files.paths["rgb"][5]))
    np.testing.assert_array_equal(train[5]["views"]["rgb"], stored[..., ::-1])
    transfer = geonrw.Source(use="transfer", **options)
    record = transfer[5]
    batch.validate_record(record, transfer.spec, "here")
    policy = modalities.Policy(
        ("rgb", "dem"),
        ("patch", "patch"),
        size=6,
        joint=True,
        resampling="nearest",
        triple=("dem",),
    )
    made = policy(record, np.random.default_rng(0))
    assert not batch.record_problems(made, policy.spec(transfer.spec), "here")
    assert made["views"]["dem"].shape == (6, 6, 3)
    assert train.fingerprint() != transfer.fingerprint()


def test_elevation_of_another_place_is_named(folder):
    """Pictures in PNG files lie where their names say, with or without masks."""
    source = geonrw.Source(folder=str(folder), side=SIDE)
    index = source.files.ids.index("294_5630_10")
    assert source[index]["views"]["dem"].shape == (SIDE, SIDE, 1)
    dem = folder / "dem_dir" / "train" / "294_5630_10_dem.tif"
    height = np.ones((SIDE, SIDE), np.float32)
    for left, top in ((295_000, 5_631_000), (294_250, 5_640_000), (1.0, 5.0)):
        where = dict(left=left, top=top, pixel=31.25, system=25832)
        dem.write_bytes(geo_files.encode(height, **where))
        with pytest.raises(
            errors.UserError, match=r"10_dem.tif has .*at \(294000, 5630000\): pict"
        ):
            source[index]
    # Older files name the upper left corner; files without a place are believed.
    for where in (
        dict(left=294_250.0, top=5_629_500.0, system=25832),
        {"place": False},
    ):
        dem.write_bytes(geo_files.encode(height, **where))
        source[index]


def test_faults_are_named(folder, tmp_path):
    def expect(message, index=0, **options):
        options = dict(folder=str(folder), side=SIDE, use="transfer") | options
        with pytest.raises(errors.UserError, match=message):
            geonrw.Source(**options)[index]

    dem = folder / "dem_dir" / "train" / "294_5630_10_dem.tif"
    sound = dem.read_bytes()
    index = geonrw.Source(folder=str(folder), side=SIDE).files.ids.index("294_5630_10")
    for content, message in (
        (sound[:-30], "294_5630_10_dem.tif is truncated"),
        (
            geo_files.encode(np.ones((4, 4), np.float32)),
            "8x8 pixels, but|4x4 pixels, but",
        ),
        (
            geo_files.encode(np.ones((8, 8), np.float32), system=25832, pixel=31.25),
            "10_dem.tif lies at.*10_seg.tif at.*same ground",
        ),
        (geo_files.encode(np.ones((8, 8, 2), np.float32)), "has 2 bands, expected 1"),
    ):
        dem.write_bytes(content)
        expect(message, index)
    dem.unlink()
    expect(
        "'294_5630_10' is in 'rgb' but not in 'dem' .1 unpaired.*dem_dir/train/{id}_dem"
    )
    expect("has no files img_dir/train/{id}_rgb.png", folder=str(tmp_path))
    expect("No folder given", folder=None)
    for problem, message in (
        (dict(left=1.0), "lies at .1, 5630000.*its name says .294000, 5630000"),
        (dict(seg_side=16), "32x32 pixels, but .*294_5630_seg.tif has 16x16"),
        (dict(side=36), "36x36 pixels, which 8 does not divide"),
    ):
        raw = tmp_path / f"raw{len(problem)}{next(iter(problem))}"
        write_tile(raw, 294, 5630, **problem)
        with pytest.raises(errors.UserError, match=message):
            build.build("geonrw", str(raw), str(tmp_path / "no"), ["side=8"])
    (raw / "294_5630_seg.tif").unlink()
    with pytest.raises(
        errors.UserError, match="_rgb.jp2 has no 294_5630_seg.tif beside"
    ):
        build.build("geonrw", str(raw), str(tmp_path / "no"), ["side=8"])
