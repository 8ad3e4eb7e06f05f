"""A user's paired files: patterns, kinds of files, values, bands by name, and faults."""

import pickle

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import pipeline
from mvjax.data.augment import modalities
from mvjax.data.sources import paired_folder
from tests.data import geo_files

RNG = np.random.default_rng(0)
VIEWS = (
    "rgb=img/{split}/{id}_rgb.png",
    "s2=s2/{split}/{id}.tif",
    "dem=dem/{split}/{id}.tif|dem/{id}.tif",
    "code=codes/{id}.npy",
)
VALUES = ("s2=0:10000", "dem=percentiles")
BANDS = ("s2=B2,B3,B4,B8",)


@pytest.fixture
def folder(tmp_path):
    """Two records for training and one for testing, whose elevation lies elsewhere."""
    for split, ids in (("train", "ab"), ("test", "c")):
        for name in ids:
            left = 1000.0 * ord(name)
            s2 = RNG.integers(0, 10_000, (8, 10, 4), np.uint16)
            dem = RNG.normal(500, 50, (4, 5)).astype(np.float32)
            dem[1, 1] = -9999
            files = {
                f"s2/{split}/{name}.tif": geo_files.encode(s2, left=left),
                f"dem/{split if name == 'a' else ''}/{name}.tif": geo_files.encode(
                    dem, left=left, pixel=20.0, no_data=-9999
                ),
            }
            for file, content in files.items():
                path = tmp_path / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            for part, mode in (("img", 3), ("ann", 1)):
                path = (
                    tmp_path
                    / part
                    / split
                    / f"{name}_{'rgb' if mode > 1 else 'seg'}.png"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                shape = (8, 10, 3) if mode > 1 else (8, 10)
                Image.fromarray(RNG.integers(0, 5, shape, np.uint8)).save(path)
            (tmp_path / "codes").mkdir(exist_ok=True)
            np.save(tmp_path / "codes" / f"{name}.npy", RNG.random(6))
    return tmp_path


def options(folder, **more):
    given = dict(folder=str(folder), views=VIEWS, values=VALUES, bands=BANDS)
    given |= dict(splits=("train", "test"), targets=("land=ann/{split}/{id}_seg.png",))
    return given | more


def test_records_are_as_the_options_say(folder):
    data = {"name": "paired_folder", "options": options(folder, mask_classes=5)}
    assert pipeline.find_splits(data) == ("train", "test")
    assert len(pipeline.make_source(data, "all")) == 3
    train = pickle.loads(pickle.dumps(pipeline.make_source(data, "train")))
    assert train.spec == pipeline.make_spec(data)
    for i, name in enumerate("ab"):
        record = train[i]
        batch.validate_record(record, train.spec, "here")
        views = record["views"]
        shapes = {k: v.shape for k, v in views.items()}
        expected = {"rgb": (8, 10, 3), "s2": (8, 10, 4), "dem": (4, 5, 1), "code": (6,)}
        assert shapes == expected
        stored = paired_folder.geotiff.read(
            folder / "s2" / "train" / f"{name}.tif"
        ).values
        np.testing.assert_array_equal(
            views["s2"], (stored / 10000 * 255).astype(np.uint8)
        )
        assert views["dem"][1, 1, 0] == 0 and views["dem"].max() > 200
    chosen = paired_folder.Source(**options(folder, take=("s2=B8,B2",)))
    np.testing.assert_array_equal(chosen[1]["views"]["s2"], views["s2"][..., [3, 0]])
    assert chosen.fingerprint() != train.fingerprint()
    assert train.spec.channels("s2")[3] == chosen.spec.channels("s2")[0] == "B8"
    policy = modalities.Policy(("rgb", "dem"), ("rgb", "dem"), size=4, draws=2)
    with pytest.raises(errors.UserError, match="truth 'land'.*joint=True"):
        policy.spec(train.spec)
    bare = paired_folder.Source(**options(folder, targets=(), fixed=True))
    assert not bare.spec.views["dem"].varies
    made = policy(bare[0], np.random.default_rng(0))
    assert not batch.record_problems(made, policy.spec(bare.spec), "here")


def test_faults_are_named(folder):
    def expect(message, index=0, **more):
        with pytest.raises(errors.UserError, match=message):
            paired_folder.Source(**options(folder, **more))[index]

    bare = dict(values=(), bands=())
    expect("Set config.data.options.folder", views=())
    expect("pattern 'rgb/a.png' must be a path.*{id}", views=("rgb=rgb/a.png",))
    expect("pattern '/x/{id}.png' must be a path below", views=("rgb=/x/{id}.png",))
    expect("options.views holds 'rgb'; expected NAME=", views=("rgb",))
    expect("view in options.values: 'dme'.*'dem'", values=("dme=unit",))
    expect("options.values of dem is '5:1'; expected stored, perc", values=("dem=5:1",))
    expect("band in options.take of s2: 'B10'.*B2", take=("s2=B10",))
    expect("options.take names 'dem', options.bands not", take=("dem=B1",))
    expect("a.tif has 4 bands, expected 2", bands=("s2=B2,B3",))
    expect(
        "has no files none/train/{id}.png for 'rgb'",
        views=("rgb=none/{split}/{id}.png",),
        **bare,
    )
    expect(
        "options.views and options.targets both name 'land'",
        views=("land=img/{split}/{id}_rgb.png",),
        **bare,
    )
    away = geo_files.encode(np.ones((4, 5), np.float32), left=1.0, pixel=20.0)
    dem = folder / "dem" / "b.tif"
    sound = dem.read_bytes()
    dem.write_bytes(away)
    expect("s2/train/b.tif lies at.*dem/b.tif at.*same ground", 1)
    dem.write_bytes(sound[:-8])
    expect("dem/b.tif is truncated", 1)
    dem.write_bytes(sound)
    code = folder / "codes" / "b.npy"
    np.save(code, np.array([None]), allow_pickle=True)
    expect("b.npy is no sound NumPy file .*allow_pickle", 1)
    with code.open("wb") as file:
        np.savez(file, a=np.zeros(6))
    expect("b.npy is an .npz archive, expected one array", 1)
    code.unlink()
    expect("'b' is in 'rgb' but not in 'code' .* looked for as codes/{id}.npy")


def test_a_view_that_several_splits_share_is_paired_within_each(folder):
    """Codes and some elevations have no folder of the split: others' are left out."""
    source = paired_folder.Source(split="test", **options(folder))
    assert source.files.ids == ["c"]


def test_classes_have_names_and_others_are_refused(folder):
    names = ("water", "field", "wood", "road", "house")
    held = options(folder, class_names=names, fixed=True)
    source = paired_folder.Source(**held)
    assert source.spec.target_names == {"land": names}
    assert source.spec.targets["land"].high == 4
    with pytest.raises(errors.UserError, match="_seg.png holds the class"):
        few = paired_folder.Source(**options(folder, class_names=names[:2]))
        [few[i] for i in range(len(few))]
