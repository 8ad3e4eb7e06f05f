"""The check counts everything and names every problem."""

import numpy as np
import pytest

from mvjax import cli
from mvjax.data import arrays
from mvjax.data import batch
from mvjax.data import check
from mvjax.data.sources import digits


def memory_source():
    spec = batch.Spec({"x": batch.ViewSpec((3,), "float32", 0, 9)}, 2)
    return arrays.ArraySource(
        spec, {"x": np.ones((1200, 3), np.float32)}, np.arange(1200) % 2
    )


def test_a_sound_set_has_counts_and_no_problems():
    lines = []
    assert check.run({"name": "digits", "options": {}}, say=lines.append) == 0
    text = "\n".join(lines)
    assert "digits: no problems." in text
    source = digits.Source()
    rows, problems = check.check({"name": "digits"})
    assert not problems
    view = rows[0]
    assert view[:5] == ("train", "view image", 1438, "16x16x1", "uint8")
    assert np.isclose(view.mean, source.views["image"].mean())
    counts = [row.records for row in rows if row.split == "train"][2:]
    assert counts == np.bincount(source.labels).tolist()
    assert len(check.table(rows).splitlines()) == 1 + len(rows) == 1 + 2 * 12


def test_all_bad_records_are_named():
    source = memory_source()
    source.views["x"][700, 1] = np.nan
    source.views["x"][1199, 1] = 10
    source.labels[3] = 7
    rows, problems = check.check(source)
    assert len(problems) == 3
    assert "record 3" in problems[0] and "label 7" in problems[0]
    assert "record 700" in problems[1] and "'x'" in problems[1] and "NaN" in problems[1]
    assert "record 1199" in problems[2] and "10" in problems[2]
    assert rows[0].records == 1197


def test_records_that_cannot_be_read_are_named():
    class Broken:
        spec = memory_source().spec

        def __len__(self):
            return 5

        def __getitem__(self, index):
            if index == 3:
                raise OSError("the disk is gone")
            return memory_source()[index]

    rows, problems = check.check(Broken())
    assert problems == ["split 'given', record 3: the disk is gone"]
    assert rows[0].records == 4


def test_absent_views_are_not_counted():
    source = memory_source()
    present = np.ones(1200, bool)
    present[5] = False
    source.present = {"x": present}
    source.views["x"][5] = np.nan
    rows, problems = check.check(source)
    assert not problems
    assert rows[0].records == 1199
    assert rows[0].mean == 1


def test_every_damaged_file_is_named(tmp_path):
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(b"\0\0\x08\x03" + bytes([0, 0, 0, 9] * 3) + b"x")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"<html>")
    config = {"name": "edge_mnist", "options": {"folder": str(tmp_path)}}
    lines = []
    assert check.run(config, say=lines.append) == 4
    text = "\n".join(lines)
    assert "train-images-idx3-ubyte is truncated: expected 745 bytes" in text
    assert "train-labels-idx1-ubyte is no IDX file" in text
    assert "t10k-images-idx3-ubyte is truncated" in text
    assert "t10k-labels-idx1-ubyte" in text


def test_one_file_for_all_splits_is_blamed_once(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, a=np.zeros((5, 2)), b=np.full((4, 2), np.nan))
    rows, problems = check.check({"name": "npz", "options": {"file": str(path)}})
    assert not rows
    assert len(problems) == 2
    assert "index 0" in problems[0]
    assert "first unpaired index is 4" in problems[1]


def test_lengths_and_targets_out_of_range_are_found_in_whole_batches():
    view = batch.ViewSpec((5, 2), "float32", -1.0, 1.0)
    spec = batch.Spec({"a": view}, None, targets={"score": (0.0, 1.0)}, lengths=("a",))

    def problems(score, length):
        source = arrays.ArraySource(
            spec,
            {"a": np.zeros((3, 5, 2), np.float32)},
            targets={"score": np.array([0.0, score, 1.0])},
            lengths={"a": np.array([5, length, 0])},
        )
        return check.check(source)[1]

    assert problems(0.5, 3) == []
    assert len(problems(0.5, 6)) == 1 and "length of view 'a': 6" in problems(0.5, 6)[0]
    assert len(problems(2.0, 3)) == 1 and "target 'score': 2" in problems(2.0, 3)[0]


def check_config(tmp_path, capsys, **arrays_of_file):
    file = tmp_path / "own.npz"
    np.savez(file, **arrays_of_file)
    config = f"--config=configs/mrdd/consistency.py:dataset=npz,file={file}"
    with pytest.raises(SystemExit) as end:
        cli.main(["data", "check", config, "--config.method.image_size=8"])
    return end.value.code, capsys.readouterr().out


def test_the_method_of_the_config_is_asked_too(tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1)).astype(np.uint8)
    label = np.array(["cat", "dog"] * 4)
    code, out = check_config(tmp_path, capsys, image=image, edge=image, label=label)
    assert code == 0 and "'mrdd_consistency' takes these views" in out
    assert "class 1 'dog'" in out
    for changed, words in (
        (image.astype(np.float32), "float images are in [0, 1], others uint8. Divide"),
        (image.transpose(0, 3, 1, 2), "looks like channels first"),
        (image[..., 0], "no channel axis"),
        (image.astype(np.int32), "dtype int32; images are uint8"),
    ):
        code, out = check_config(tmp_path, capsys, image=changed, edge=image)
        assert code == 1 and words in out, out
