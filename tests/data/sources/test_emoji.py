"""Scenes of emoji: what is for testing is held out, and masks fit both drawings."""

import shutil

import matplotlib
import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch
from mvjax.data.sources import emoji
from mvjax.data.sources import photo_crops

SIZE = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A font of letters in place of emoji, and grey photographs of a level each."""
    folder = tmp_path_factory.mktemp("emoji")
    font = matplotlib.get_data_path() + "/fonts/ttf/DejaVuSans.ttf"
    shutil.copy(font, folder / "glyf_colr0.ttf")
    lines = ["emoji,hexcode,group,skintone"]
    for i, group in enumerate(emoji.GROUPS):
        codes = range(0x41 + 5 * i, 0x46 + 5 * i)
        lines += [f"{chr(code)},{code:04X}-FE0F,{group}," for code in codes]
    lines += ["a,0061,flags,", "b,0062,objects,1", "c,0063-0064,objects,"]
    (folder / "openmoji.csv").write_text("\n".join(lines))
    for number, name in enumerate(photo_crops._SUMS):
        image = np.full((64, 80, 3), 60 + 10 * number, np.uint8)
        Image.fromarray(image).save(folder / name, "PNG")
    return folder


def make(folder, **options):
    return emoji.Source(
        **dict(folder=str(folder), size=SIZE, train=12, test=8) | options
    )


def test_training_sees_nothing_that_is_for_testing(folder):
    train, test = make(folder), make(folder, split="test")
    held = {k: v for k, v in train._emoji.items() if k[0] == "test"}
    assert sorted("".join(map("".join, held.values()))) == list("EJOTY")
    assert sum(map(len, train._emoji.values())) == 25
    levels = [60 + 10 * i for i in range(14)]
    tested = {
        level
        for level, name in zip(levels, photo_crops.CLASS_NAMES)
        if name in emoji.TEST_PHOTOGRAPHS
    }
    for source, wanted in ((train, set(levels) - tested), (test, tested)):
        for i in range(len(source)):
            record = source[i]
            assert batch.record_problems(record, source.spec, "here") == []
            colour, mask = record["views"]["colour"], record["targets"]["mask"]
            # Edges of letters are darker than the photograph.
            assert int(colour[mask == 0].max()) in wanted
    assert len(make(folder, split="all")) == 20
    bare = make(folder, masks=False)
    assert not bare.spec.targets and "targets" not in bare[0]


def test_letters_are_black_where_the_mask_says_and_scenes_stay(folder):
    source = make(folder, objects=1, train=40)
    again = make(folder, objects=1, train=40)
    groups = set()
    for i in range(len(source)):
        record = source[i]
        mask = record["targets"]["mask"]
        groups |= set(np.unique(mask).tolist())
        for view in record["views"].values():
            dark = view.max(axis=2) < 20
            assert dark.any() and (mask[dark] > 0).all()
            assert (view[mask == 0] >= 30).all()
        np.testing.assert_array_equal(mask, again[i]["targets"]["mask"])
    assert groups == set(range(6))
    assert source.fingerprint() == again.fingerprint()
    assert (
        source.fingerprint() != make(folder, objects=1, train=40, seed=1).fingerprint()
    )


def test_faults_are_named(folder, tmp_path):
    with pytest.raises(errors.UserError, match="lacks openmoji.csv.*data fetch emoji"):
        make(tmp_path)
    for name in ("glyf_colr0.ttf", *photo_crops._SUMS):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "openmoji.csv").write_text("emoji,hexcode\nA,0041\n")
    with pytest.raises(errors.UserError, match="no sound list of emoji"):
        make(tmp_path)
    (tmp_path / "openmoji.csv").write_text("hexcode,group,skintone\n0041,objects,\n")
    with pytest.raises(
        errors.UserError, match="'smileys-emotion' for the split 'train'"
    ):
        make(tmp_path)
    (tmp_path / "openmoji.csv").write_bytes((folder / "openmoji.csv").read_bytes())
    (tmp_path / "glyf_colr0.ttf").unlink()
    (tmp_path / "glyf_colr0.ttf").write_text("no font")
    with pytest.raises(errors.UserError, match="glyf_colr0.ttf is no sound font"):
        make(tmp_path)


@pytest.mark.realdata
def test_the_real_emoji():
    if not (storage.default_cache({}) / "openmoji_font").is_dir():
        pytest.skip("not fetched")
    source = emoji.Source(split="test", test=40)
    records = [source[i] for i in range(40)]
    assert all(not batch.record_problems(r, source.spec, "here") for r in records)
    shares = np.bincount(
        np.concatenate([r["targets"]["mask"].ravel() for r in records]), minlength=6
    )
    assert (shares > 0).all() and 0.5 < shares[0] / shares.sum() < 0.85
