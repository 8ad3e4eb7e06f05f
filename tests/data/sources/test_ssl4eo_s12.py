"""SSL4EO-S12: the tree and the LMDB files give the same, and faults are named."""

import pickle
import re
import shutil

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import build
from mvjax.data import check
from mvjax.data import lmdb_file
from mvjax.data import ssl4eo
from mvjax.data.augment import modalities
from mvjax.data.sources import ssl4eo_s12
from tests.data import geo_files

SIDE = 12
SMALL = {"B1": 2, "B9": 2, "B10": 2} | dict.fromkeys(("B2", "B3", "B4", "B8"), SIDE)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Two patches of all three sensors, as they are downloaded."""
    root = tmp_path_factory.mktemp("ssl4eo")
    for mode, sensor in ssl4eo.SENSORS.items():
        for i in range(2):
            for season in range(4):
                folder = root / mode / f"{i:07d}" / f"2020{season + 1:02d}01T_32UPU"
                folder.mkdir(parents=True)
                for band in sensor.bands:
                    side = SIDE if mode == "s1" else SMALL.get(band, SIDE // 2)
                    values = RNG.integers(0, 12_000, (side, side), np.uint16)
                    if mode == "s1":
                        values = RNG.normal(-15, 5, (side, side)).astype(np.float32)
                    content = geo_files.encode(values, pixel=10 * SIDE / side)
                    (folder / f"{band}.tif").write_bytes(content)
    return root


def test_files_of_the_builder_equal_the_tree(tree, tmp_path):
    found = {}
    for dtype in ssl4eo.DTYPES:
        files = []
        for mode in ("s1", "s2c"):
            files.append(str(tmp_path / f"{dtype}_{mode}.lmdb"))
            options = [f"mode={mode}", f"dtype={dtype}", f"side={SIDE}"]
            for _ in range(2):  # The second time there is nothing left to do.
                assert build.build("ssl4eo_s12", str(tree), files[-1], options) == 2
        options = dict(dtype=dtype, side=SIDE)
        one = ssl4eo_s12.Source(folder=str(tree), **options)
        other = ssl4eo_s12.Source(files=tuple(files), **options)
        other = pickle.loads(pickle.dumps(other))  # As workers get it.
        assert len(one) == len(other) == 2
        for i in range(2):
            batch.validate_record(other[i], ssl4eo_s12.spec(**options), "here")
            for name, view in one[i]["views"].items():
                np.testing.assert_array_equal(view, other[i]["views"][name])
        found[dtype] = other
        assert len(ssl4eo_s12.Source(files=tuple(files), limit=1, **options)) == 1
        grain = str(tmp_path / f"{dtype}.array_record")
        assert build.build("ssl4eo_s12", files[1], grain, ["mode=s2c"]) == 2
        copied = ssl4eo_s12.Source(files=(files[0], grain), **options)[1]["views"]
        np.testing.assert_array_equal(copied["optical"], other[1]["views"]["optical"])
    assert found["raw"].fingerprint() != found["uint8"].fingerprint()
    # A file has no lock beside it, and needs none.
    assert not list(tmp_path.glob("*lock*"))
    policy = modalities.Policy(("sar", "optical"), ("sar", "ms"), size=8, draws=2)
    made = policy(found["uint8"][1], np.random.default_rng(0))
    assert not batch.record_problems(made, policy.spec(found["uint8"].spec), "here")


def test_sensors_can_share_a_file(tree, tmp_path):
    options, whole = [f"side={SIDE}"], str(tmp_path / "whole.lmdb")
    for _ in range(2):
        mode = ["mode=s2c,s1", *options]
        assert build.build("ssl4eo_s12", str(tree), whole, mode) == 2
    from_tree = ssl4eo_s12.Source(folder=str(tree), side=SIDE)
    one = ssl4eo_s12.Source(files=(whole,), side=SIDE)
    record = lmdb_file.Records(whole)[1]
    assert [shape[1] for shape in record[1::2]] == [2, 13]  # As the released builder.
    part = str(tmp_path / "part.array_record")
    assert build.build("ssl4eo_s12", whole, part, ["mode=s2c"]) == 2
    two = ssl4eo_s12.Source(files=(whole, part), side=SIDE)
    for i in range(2):
        for source in (one, two):
            for name, view in from_tree[i]["views"].items():
                np.testing.assert_array_equal(view, source[i]["views"][name])
    message = r"needs --option.mode=.*each one of 's1', 's2a', 's2c'"
    with pytest.raises(errors.UserError, match=message):
        build.build("ssl4eo_s12", str(tree), whole, options)


@pytest.mark.parametrize("quantiles", ssl4eo.QUANTILES)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_radar_that_is_no_number_is_named_by_the_check(tmp_path, quantiles, value):
    radar = RNG.normal(-15, 5, (4, 2, SIDE, SIDE)).astype(np.float32)
    broken = np.full_like(radar, value)
    records = [(x.tobytes(), x.shape) for x in (radar, broken)]
    lmdb_file.write(tmp_path / "s1.lmdb", lambda done: records)
    options = dict(files=(str(tmp_path / "s1.lmdb"),), modes=("s1",), side=SIDE)
    options |= dict(dtype="raw", quantiles=quantiles)
    rows, problems = check.check(dict(name="ssl4eo_s12", options=options))
    (problem,) = problems
    assert "record 1: s1 holds NaN or infinite values, 1,152 of 1,152." in problem
    assert rows[0].records == 1


def test_levels_are_of_the_band_of_the_name(tree):
    options = dict(folder=str(tree), modes=("s2c", "s2a"), side=SIDE)
    whole = ssl4eo_s12.Source(**options)[0]["views"]
    assert whole["optical"].shape == (4, SIDE, SIDE, 13)
    assert whole["surface"].shape == (4, SIDE, SIDE, 12)
    some = ssl4eo_s12.Source(bands=("B10", "B8A", "B4"), missing="zero", **options)
    views = some[0]["views"]
    known = ssl4eo.SENSORS["s2c"].bands
    for k, band in enumerate(("B10", "B8A", "B4")):
        expected = whole["optical"][..., known.index(band)]
        np.testing.assert_array_equal(views["optical"][..., k], expected)
    assert not views["surface"][..., 0].any() and views["surface"][..., 1].any()
    with pytest.raises(
        errors.UserError,
        match="bands of s2a names B10, which the data lack.*missing=zero",
    ):
        ssl4eo_s12.Source(bands=("B10", "B4"), **options)
    first = tree / "s2c" / "0000000" / "20200101T_32UPU" / "B4.tif"
    stored = ssl4eo.geotiff.read(first).values
    mean, std = ssl4eo.SENSORS["s2c"].statistics["B4"]
    expected = np.clip((stored - (mean - 2 * std)) / (4 * std) * 255, 0, 255)
    np.testing.assert_array_equal(
        views["optical"][0, :, :, 2], expected.astype(np.uint8)
    )


def test_levels_in_other_units_are_told(tree):
    options = dict(folder=str(tree), modes=("s1", "s2c"), side=SIDE)
    sar, optical, *warnings = ssl4eo_s12.describe(**options)
    assert re.fullmatch(r"view 'sar': mean level VV \d+, VH \d+ \(of 255\)\.", sar)
    assert " B8A " in optical and "'sar'" not in " ".join(warnings)
    # Reflectances of 0 to 12,000 are far too bright for B10, a band of thin clouds.
    assert len(warnings) == 1 and re.search("'optical': .*B10.* are far", warnings[0])


def test_records_of_two_four_and_six_are_read(tmp_path):
    arrays = {
        mode: RNG.integers(0, 255, (4, len(sensor.bands), SIDE, SIDE), np.uint8)
        for mode, sensor in ssl4eo.SENSORS.items()
    }

    def write(name, *modes, extra=()):
        record = [x for m in modes for x in (arrays[m].tobytes(), arrays[m].shape)]
        lmdb_file.write(tmp_path / name, lambda done: [(*record, *extra)])
        return str(tmp_path / name)

    two, four = write("two", "s1"), write("four", "s1", "s2c")
    six = write("six", "s1", "s2a", "s2c")
    for files in ((two, six), (four,), (six,), (six, four)):
        views = ssl4eo_s12.Source(files=files, side=SIDE)[0]["views"]
        np.testing.assert_array_equal(views["sar"], np.moveaxis(arrays["s1"], 1, -1))
        expected = np.moveaxis(arrays["s2c"], 1, -1)
        np.testing.assert_array_equal(views["optical"], expected)
    five = write("five", "s1", "s2c", extra=(b"",))
    lmdb_file.write(tmp_path / "more", lambda done: [(b"", ())] * 2)
    content = (tmp_path / "six").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "page").write_bytes(b"<html>" * 9000)
    lmdb_file.write(tmp_path / "bytes", lambda done: [(b"123", (4, 2, 12, 12))])
    lmdb_file.write(tmp_path / "text", lambda done: ["text"])
    lmdb_file.write(tmp_path / "code", lambda done: [(np.sum, (1,))])
    for files, message, options in (
        ((five,), "five, record 0 is a tuple of 5, expected.*2, 4 or 6", {}),
        ((two, two), r"has no s2c, \[4, 13, side, side\]; it has \(4, 2, 12, 12\)", {}),
        ((six,), r"expected \(4, 2, 264, 264\); options.side", {"side": 264}),
        (
            (six,),
            "values of 1 bytes, expected float32; options.dtype",
            {"dtype": "raw"},
        ),
        ((two, "more"), "do not pair up:.*two has 1,.*more has 2 records", {}),
        (("cut",), "cut is truncated: it has [0-9,]+ of [0-9,]+ bytes", {}),
        (("page",), "page is no sound LMDB file.*web page", {}),
        (("none",), "There is no LMDB file .*none", {}),
        (("bytes",), "bytes, record 0: 3 bytes are no array of shape", {}),
        (("text",), "text, record 0 is a str, expected a tuple", {}),
        (("code",), "code, record 0 wants to run .*refused", {}),
        ((six, six, six), "names 3 files, expected one for each of modes=s1,s2c", {}),
        ((), "Set either config.data.options.folder", {}),
    ):
        files = tuple(f if "/" in f else str(tmp_path / f) for f in files)
        with pytest.raises(errors.UserError, match=message):
            ssl4eo_s12.Source(files=files, **{"side": SIDE, **options})[0]


def test_damaged_trees_are_named(tree, tmp_path):
    def copy():
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        shutil.copytree(tree, tmp_path / "t", copy_function=shutil.copyfile)
        return tmp_path / "t"

    def expect(message, index=1):
        with pytest.raises(errors.UserError, match=message):
            ssl4eo_s12.Source(folder=str(tmp_path / "t"), side=SIDE)[index]

    # Sensors of one patch may lie a bit apart, but not elsewhere.
    for left, message in ((500_060.0, ""), (0.0, "VV.tif lies at.*B1.tif at.*same")):
        for path in (copy() / "s1" / "0000001").glob("*/*.tif"):
            radar = np.full((SIDE, SIDE), -12, np.float32)
            path.write_bytes(geo_files.encode(radar, left=left))
        if message:
            expect(message)
            with pytest.raises(errors.UserError, match=message):
                mode = ["mode=s1,s2c", f"side={SIDE}"]
                goal = str(tmp_path / "elsewhere.lmdb")
                build.build("ssl4eo_s12", str(tmp_path / "t"), goal, mode)
        else:
            ssl4eo_s12.Source(folder=str(tmp_path / "t"), side=SIDE)[1]

    season = copy() / "s2c" / "0000001" / "20200201T_32UPU"
    band = season / "B8A.tif"
    content = band.read_bytes()
    band.write_bytes(content[:-20])
    expect("B8A.tif is truncated")
    far = geo_files.encode(np.ones((6, 6), np.uint16), left=0.0, pixel=20.0)
    band.write_bytes(far)
    expect("B1.tif lies at.*B8A.tif at.*same ground")
    band.unlink()
    expect("20200201T_32UPU lacks the band B8A")
    shutil.rmtree(season)
    expect("0000001 has 3 folders of seasons, expected 4")
    shutil.rmtree(season.parent)
    expect("'0000001' is in s1 but not in s2c")
    shutil.rmtree(tmp_path / "t" / "s1")
    expect("s1 holds no patches")
