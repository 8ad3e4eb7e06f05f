"""The check counts everything and names every problem."""

import numpy as np

from mvjax.core import errors
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
    spec = batch.Spec(
        {"a": view},
        None,
        targets={"score": batch.TargetSpec(low=0.0, high=1.0)},
        lengths=("a",),
    )

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


def test_masks_are_looked_at_without_what_is_ignored():
    view = batch.ViewSpec((2, 3, 1), "uint8", 0, 255)
    target = batch.TargetSpec((2, 3), "uint8", 0, 4, ignore=255)
    spec = batch.Spec({"a": view}, None, targets={"mask": target})

    def run(value):
        masks = np.array([[[1, 2, 255]] * 2] * 3, np.uint8)
        masks[1, 0, 0] = value
        views = {"a": np.zeros((3, 2, 3, 1), np.uint8)}
        return check.check(arrays.ArraySource(spec, views, targets={"mask": masks}))

    rows, problems = run(3)
    assert problems == []
    row = next(row for row in rows if row.item == "target mask")
    assert row[2:7] == (3, "2x3", "uint8", 1.0, 3.0)
    _, problems = run(9)
    assert len(problems) == 1 and "record 1, target 'mask': holds values" in problems[0]


def test_classes_are_counted_by_their_names(tmp_path):
    path = tmp_path / "mine.npz"
    label = np.array(["cat", "dog", "cat", ""] * 3)
    camera = np.array([3, 3_000_000_000, -1] * 4)
    np.savez(path, **{"a": np.ones((12, 2)), "label": label, "factor/camera": camera})
    config = {"name": "npz", "options": {"file": str(path), "train_fraction": 1.0}}
    rows, problems = check.check(config, ("train",))
    assert not problems
    assert [(row.item, row.records) for row in rows[1:]] == [
        ("class cat", 6),
        ("class dog", 3),
        ("no label", 3),
        ("factor camera 3", 4),
        ("factor camera 3000000000", 4),
        ("factor camera: unknown", 4),
    ]


def test_many_and_long_names_of_classes_leave_a_table(tmp_path):
    path = tmp_path / "mine.npz"
    label = np.array([f"{'long' * 30}{i // 2:04d}" for i in range(400)])
    np.savez(path, a=np.ones((400, 2)), label=label)
    config = {"name": "npz", "options": {"file": str(path), "train_fraction": 1.0}}
    rows, _ = check.check(config, ("train",))
    assert (rows[-1].item, rows[-1].records) == ("class: 150 more", 300)
    assert len(rows) == 52 and max(map(len, check.table(rows).splitlines())) < 120


def test_the_method_is_asked_where_the_files_are_sound(tmp_path):
    asked = []

    def ask():
        asked.append(True)
        raise errors.UserError("The method wants more.")

    lines = []
    config = {"name": "digits", "options": {}}
    assert check.run(config, ask=ask, say=lines.append) == 1
    assert "problem: The method wants more." in lines
    config = {"name": "npz", "options": {"file": str(tmp_path / "none.npz")}}
    assert check.run(config, ask=ask, say=lines.append) == 1
    assert asked == [True]


def test_a_subset_is_checked_as_a_whole():
    whole, _ = check.check(dict(name="digits"), ("train",))
    part = dict(name="digits", subset=dict(share=0.01))
    rows, problems = check.check(part, ("train",))
    assert rows == whole and not problems
