"""BigEarthNet: folders and LMDB files give the same records, and faults are named."""

import bz2
import json
import pickle

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import bands
from mvjax.data import batch
from mvjax.data import bigearthnet as patches_lib
from mvjax.data import build
from mvjax.data import check
from mvjax.data import lmdb_file
from mvjax.data import pipeline
from mvjax.data.sources import bigearthnet
from tests.data import geo_files

RNG = np.random.default_rng(0)
SIDE = 16
LABELS = (("Pastures", "Airports"), ("Salines",), ("Sea and ocean", "Estuaries"))


@pytest.fixture
def folder(tmp_path):
    """Three patches in the layout of version 1, of 12 m, with lists of two splits."""
    root, pairs = tmp_path / "ben", []
    for i, labels in enumerate(LABELS):
        optical, sar = f"S2A_MSIL2A_2017_{i}", f"S1B_IW_GRDH_2017_{i}"
        pairs.append((optical, sar))
        for name, sub, wanted in (
            (optical, "BigEarthNet-v1.0", bands.OPTICAL_12),
            (sar, "BigEarthNet-S1-v1.0", bands.SAR),
        ):
            place = root / sub / name
            place.mkdir(parents=True)
            for band in wanted:
                side = {"B1": 2, "B5": 6}.get(band, 12)
                values = RNG.integers(0, 3000, (side, side), np.uint16)
                if name == sar:
                    values = RNG.normal(-15, 5, (side, side)).astype(np.float32)
                content = geo_files.encode(values, left=1000.0 * i, pixel=120 / side)
                file = f"{name}_{patches_lib.file_name(band)}.tif"
                (place / file).write_bytes(content)
            said = {"labels": list(labels)}
            (place / f"{name}_labels_metadata.json").write_text(json.dumps(said))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.csv").write_text(
        "\n".join(",".join(pair) for pair in pairs[1:])
    )
    names = f"{pairs[0][0]}\n".encode()
    (tmp_path / "lists" / "val.csv.bz2").write_bytes(bz2.compress(names))
    table = "s1_name,s2_name,country,season\n" + "".join(
        f"{sar},{optical},Finland,Fall\n" for optical, sar in pairs
    )
    (tmp_path / "lists" / bigearthnet._TABLE).write_bytes(bz2.compress(table.encode()))
    return root


def options(folder, **more):
    return (
        dict(folder=str(folder), lists=str(folder.parent / "lists"), side=SIDE) | more
    )


def test_files_of_the_builder_equal_the_folders(folder, tmp_path):
    goal = tmp_path / "lmdb"
    for split, count in (("train", 2), ("val", 1)):
        settings = [f"split={split}", f"lists={tmp_path / 'lists'}", f"side={SIDE}"]
        for _ in range(2):
            path = str(goal / f"{split}_B12_B2.lmdb")
            assert build.build("bigearthnet", str(folder), path, settings) == count
    one, other = options(folder), dict(folder=str(goal), side=SIDE)
    for given in (one, other):
        data = {"name": "bigearthnet", "options": given}
        assert pipeline.find_splits(data) == ("train", "val")
        assert len(pipeline.make_source(data, "all")) == 3
    for split, labels in (("train", LABELS[1:]), ("val", LABELS[:1])):
        a = bigearthnet.Source(split=split, **one)
        b = pickle.loads(pickle.dumps(bigearthnet.Source(split=split, **other)))
        for i, names in enumerate(labels):
            batch.validate_record(b[i], a.spec, "here")
            for part in ("views", "targets"):
                for name, value in a[i][part].items():
                    np.testing.assert_array_equal(value, b[i][part][name])
            truth = patches_lib.multi_hot(names, "here")
            np.testing.assert_array_equal(a[i]["targets"]["labels"], truth)
    copy, settings = tmp_path / "copy" / "train_B12_B2.array_record", [f"side={SIDE}"]
    old = str(goal / "train_B12_B2.lmdb")
    assert build.build("bigearthnet", old, str(copy), [*settings, "split=train"]) == 2
    copied = bigearthnet.Source(folder=str(copy.parent), side=SIDE)
    record = bigearthnet.Source(**other)[1]
    for part in ("views", "targets"):
        for name, value in copied[1][part].items():
            np.testing.assert_array_equal(value, record[part][name])
    assert truth.sum() == 1  # Airports are in no group.


def test_bands_go_by_name(folder):
    names = bands.OPTICAL_13
    wide = bigearthnet.Source(**options(folder, bands=names))[0]["views"]["optical"]
    plain = bigearthnet.Source(**options(folder))[0]["views"]["optical"]
    assert wide.shape[-1] == 13 and not wide[..., names.index("B10")].any()
    held = [names.index(name) for name in bands.OPTICAL_12]
    np.testing.assert_array_equal(wide[..., held], plain)
    red = bigearthnet.Source(**options(folder, bands=("B4", "B3")))[0]["views"][
        "optical"
    ]
    np.testing.assert_array_equal(red, plain[..., [3, 2]])
    with pytest.raises(errors.UserError, match="names B10, which the data lack"):
        bigearthnet.Source(**options(folder, bands=names, missing="refuse"))


def test_faults_of_folders_are_named(folder, tmp_path):
    def expect(message, index=0, **more):
        with pytest.raises(errors.UserError, match=message):
            bigearthnet.Source(**options(folder, **more))[index]

    place = folder / "BigEarthNet-v1.0" / "S2A_MSIL2A_2017_1"
    band = place / "S2A_MSIL2A_2017_1_B8A.tif"
    sound = band.read_bytes()
    band.write_bytes(sound[:-9])
    expect("S2A_MSIL2A_2017_1_B8A.tif is truncated")
    band.unlink()
    expect("S2A_MSIL2A_2017_1 lacks the band B8A")
    band.write_bytes(sound)
    for name in bands.SAR:
        moved = geo_files.encode(np.ones((12, 12), np.float32), left=0.0)
        radar = folder / "BigEarthNet-S1-v1.0" / "S1B_IW_GRDH_2017_1"
        (radar / f"S1B_IW_GRDH_2017_1_{name}.tif").write_bytes(moved)
    expect("S1B_IW_GRDH_2017_1 lies at.*S2A_MSIL2A_2017_1 at.*same ground")
    (place / "S2A_MSIL2A_2017_1_labels_metadata.json").unlink()
    place.rename(place.with_name("other"))
    expect("BigEarthNet-v1.0 lacks the patch 'S2A_MSIL2A_2017_1' .1 of 2")
    lists = tmp_path / "lists"
    (lists / "val.csv.bz2").write_bytes(bz2.compress(b"S2C_nowhere\n"))
    expect("val.csv.bz2: the patch 'S2C_nowhere' has no partner", split="val")
    (lists / "val.csv.bz2").write_bytes(b"BZh9")
    expect("Cannot read .*val.csv.bz2", split="val")
    expect("Unknown split 'test'.*train, val", split="test")
    (lists / "train.csv").write_text("S2A_1,S1B_1\nS2A_2,S1B_2\nS2A_1,S1B_1\n")
    expect("train.csv lists S2A_1 more than once")
    (lists / "train.csv").write_text("\n")
    expect("train.csv names no patches")
    expect("nowhere holds no train.csv", lists=str(tmp_path / "nowhere"))
    with pytest.raises(errors.UserError, match="neither train_B12_B2.lmdb nor both of"):
        bigearthnet.Source(folder=str(tmp_path))
    with pytest.raises(errors.UserError, match="No folder given"):
        bigearthnet.Source()


def test_faults_of_files_are_named(tmp_path):
    optical = np.zeros((SIDE, SIDE, 12), np.uint8)
    sar = np.zeros((SIDE, SIDE, 2), np.float32)
    labels = np.zeros(19, np.float32)
    sound = (
        optical.tobytes(),
        optical.shape,
        sar.tobytes(),
        sar.shape,
        labels.tobytes(),
    )
    ten = np.zeros((SIDE, SIDE, 10), np.uint8)
    for i, (record, message) in enumerate(
        (
            (sound, None),
            ((*sound, labels.shape), None),
            ((*sound[:4], labels.astype(np.uint8).tobytes()), None),
            (sound[:4], "record 0 is a tuple of 4, expected.*5, or 6"),
            (
                (ten.tobytes(), ten.shape, *sound[2:]),
                "Sentinel-2 has the shape .16, 16, 10",
            ),
            ((*sound[:4], b"123"), r"3 bytes are no array of shape \(19,\)"),
            ((*sound[:4], (labels + 0.5).tobytes()), "labels are not 0 or 1"),
        )
    ):
        folder = tmp_path / str(i)
        lmdb_file.write(folder / "train_B12_B2.lmdb", lambda done, r=record: [r])
        source = bigearthnet.Source(folder=str(folder), side=SIDE)
        if message is None:
            batch.validate_record(source[0], source.spec, "here")
            continue
        with pytest.raises(errors.UserError, match=message):
            source[0]


@pytest.mark.parametrize("count", [1, SIDE * SIDE * 2])
def test_radar_that_is_no_number_is_named_by_the_check(tmp_path, count):
    optical = np.zeros((SIDE, SIDE, 12), np.uint8)
    sar, labels = np.zeros((SIDE, SIDE, 2), np.float32), np.zeros(19, np.float32)
    broken = sar.copy()
    broken.flat[:count] = np.nan
    records = [bigearthnet._record(optical, x, labels) for x in (sar, broken)]
    lmdb_file.write(tmp_path / "train_B12_B2.lmdb", lambda done: records)
    config = dict(name="bigearthnet", options=dict(folder=str(tmp_path), side=SIDE))
    rows, problems = check.check(config)
    (problem,) = problems
    assert "record 1: Sentinel-1 holds NaN or infinite values" in problem
    assert f"{count} of {SIDE * SIDE * 2}." in problem
    assert rows[0].records == 1


def test_the_43_labels_are_grouped_as_published():
    names = [n for group in patches_lib._GROUPS.values() for n in group]
    assert len(names) == len(set(names)) == 32 and len(patches_lib._DROPPED) == 11
    for index, name in ((2, "Rice fields"), (3, "Olive groves"), (15, "Peatbogs")):
        assert patches_lib.multi_hot([name], "here").tolist().index(1) == index
    assert not patches_lib.multi_hot(["Bare rock", "Burnt areas"], "here").any()
