"""Folders of images are listed, paired and decoded; what does not pair is named."""

import numpy as np
from PIL import Image
import pytest

from mvjax import cli
from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import check
from mvjax.data import image_file
from mvjax.data import pipeline
from mvjax.data import policies
from mvjax.data.sources import image_folder

RNG = np.random.default_rng(0)


def write(root, *, splits=(("train", 6), ("holdout", 4)), classes=("cat", "dog")):
    for split, count in splits:
        for i in range(count):
            name = f"{classes[i % len(classes)]}/{i}" if classes else str(i)
            y, x = 20 + i, 30 - i
            pixels = RNG.integers(0, 256, (y, x, 3), np.uint8)
            mask = RNG.integers(0, 4, (y, x), np.uint8)
            for part, image, ending in (
                ("photo", Image.fromarray(pixels), ".png"),
                ("depth", Image.fromarray(pixels[..., 0]), ".PNG"),
                ("target/ground", Image.fromarray(mask), ".png"),
            ):
                path = root / split / part / f"{name}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path, "PNG")
    (root / "notes.txt").write_text("no split")
    return dict(folder=str(root), mask_classes=4)


def test_records_are_what_the_files_hold(tmp_path):
    options = write(tmp_path)
    assert image_folder.find_splits(**options) == ("train", "holdout")
    source = image_folder.Source(**options)
    assert len(source) == 6 and source.spec == image_folder.spec(**options)
    assert source.spec.class_names == ("cat", "dog")
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, 1])
    for i in range(6):
        batch.validate_record(source[i], source.spec, "folder")
    record = source[1]  # cat/2
    wanted = np.asarray(Image.open(tmp_path / "train/photo/cat/2.png"))
    np.testing.assert_array_equal(record["views"]["photo"], wanted)
    assert record["views"]["depth"].shape == (22, 28, 1)
    mask = np.asarray(Image.open(tmp_path / "train/target/ground/cat/2.png"))
    np.testing.assert_array_equal(record["targets"]["ground"], mask)
    assert len(image_folder.Source(split="all", **options)) == 10
    assert len(image_folder.Source(limit=2, **options)) == 2


def test_configs_train_and_evaluate_from_it(tmp_path):
    config = dict(name="image_folder", options=write(tmp_path))
    rows, problems = check.check(config)
    assert problems == []
    assert next(row for row in rows if row.item == "view photo").shape == "*x*x3"
    assert next(row for row in rows if row.item == "target ground").shape == "*x*"
    policy = policies.make(dict(name="crop", size=8), "config.data.eval_policy")
    source = pipeline.make_source(config, "holdout")
    found = list(pipeline.eval_batches(policies.Prepared(source, policy), batch_size=4))
    assert found[0]["views"]["photo"].shape == (4, 8, 8, 3)
    assert found[0]["targets"]["ground"].shape == (4, 8, 8)
    with pytest.raises(errors.UserError, match="split 'test'.*holdout"):
        pipeline.make_source(config, "test")


def test_fingerprints_are_of_names_and_sizes(tmp_path):
    options = write(tmp_path, classes=())
    one = image_folder.Source(**options)
    assert one.spec.classes is None and set(one.labels) == {-1}
    first = one.fingerprint()
    assert image_folder.Source(**options).fingerprint() == first
    path = tmp_path / "train/photo/3.png"
    path.rename(path.with_name("33.png"))
    (tmp_path / "train/depth/3.PNG").rename(tmp_path / "train/depth/33.PNG")
    mask = tmp_path / "train/target/ground/3.png"
    mask.rename(mask.with_name("33.png"))
    assert image_folder.Source(**options).fingerprint() != first


def test_what_is_wrong_is_named(tmp_path):
    options = write(tmp_path)
    with pytest.raises(errors.UserError, match="options.folder=FOLDER"):
        image_folder.spec()
    (tmp_path / "train/depth/dog/3.PNG").unlink()
    with pytest.raises(errors.UserError, match="'dog/3' is in 'photo' but not in 'dep"):
        image_folder.Source(**options)
    (tmp_path / "holdout/photo/cat/2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    source = image_folder.Source(split="holdout", **options)
    with pytest.raises(errors.UserError, match="photo/cat/2.png is no sound image"):
        source[1]
    _, problems = check.check(source)
    assert len(problems) == 1
    with pytest.raises(errors.UserError, match="has no folder 'train'.*photo"):
        image_folder.find_splits(folder=str(tmp_path / "train"))


@pytest.mark.parametrize(
    ("dtype", "name", "mode"),
    [
        (np.uint16, "d.png", "I;16"),
        (np.int32, "d.tif", "I"),
        (np.float32, "d.tif", "F"),
    ],
)
def test_numbers_of_more_than_a_byte_are_refused_not_cut_off(
    tmp_path, dtype, name, mode
):
    Image.fromarray(np.full((4, 5), 999, dtype)).save(tmp_path / name)
    for channels in (1, 3):
        with pytest.raises(errors.UserError, match=f"{name} has the mode {mode}, numb"):
            image_file.read(tmp_path / name, channels)


def test_a_smaller_copy_has_the_same_ids(tmp_path):
    options = write(tmp_path / "raw")
    assert (
        image_folder.build(str(tmp_path / "raw"), str(tmp_path / "small"), side=10)
        == 10
    )
    small = image_folder.Source(folder=str(tmp_path / "small"))
    whole = image_folder.Source(**options)
    np.testing.assert_array_equal(small.labels, whole.labels)
    assert small[1]["views"]["photo"].shape == (10, 13, 3)
    assert set(np.unique(small[1]["targets"]["ground"])) <= {0, 1, 2, 3}
    with pytest.raises(errors.UserError, match="lies in"):
        image_folder.build(str(tmp_path / "raw"), str(tmp_path / "raw/small"))


def run(line):
    with pytest.raises(SystemExit) as caught:
        cli.main(line)
    return caught.value.code


def test_the_command_builds_and_checks_its_options(tmp_path, capsys):
    write(tmp_path / "raw")
    line = ["data", "build", "image_folder", f"--input={tmp_path / 'raw'}"]
    line.append(f"--output={tmp_path / 'small'}")
    assert run([*line, "--option.side=9"]) == 0
    assert "10 records" in capsys.readouterr().out
    small = image_folder.Source(folder=str(tmp_path / "small"))
    assert min(small[0]["views"]["photo"].shape[:2]) == 9
    for option, words in (
        ("--option.sides=9", "'sides'"),
        ("--option.side=0", "--option.side is 0; it must be at least 1"),
        ("--option.side=big", "--option.side wants int"),
    ):
        assert run([*line, option]) != 0
        assert words in capsys.readouterr().err
    assert run(["data", "build", "digits", *line[3:]]) != 0
    told = capsys.readouterr().err
    assert "nothing to build. Those that have: " in told and " image_folder," in told
