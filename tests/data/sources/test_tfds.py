"""Directories of tensorflow-datasets are read without TensorFlow and without a download."""

import json
import pickle
import struct

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import build
from mvjax.data import check
from mvjax.data import subset
from mvjax.data.sources import tfds as tfds_source

COUNTS = {"train": 6, "validation": 3, "unlabelled": 4}


def images(split):
    rng = np.random.default_rng(len(split))
    sides = [(8 + i, 9) for i in range(COUNTS[split])]
    return [rng.integers(0, 256, (*side, 3), np.uint8) for side in sides]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A `data_dir` with one data set in it."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.2.3")

        def _info(self):
            kind = tfds.features.ClassLabel
            features = {
                "image": tfds.features.Image(
                    shape=(None, None, 3), encoding_format="png"
                ),
                "label": kind(names=["cat", "dog"]),
                "objects": tfds.features.Sequence(kind(names=["x", "y", "z"])),
            }
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in COUNTS}

        def _generate_examples(self, split):
            for i, image in enumerate(images(split)):
                label = -1 if split == "unlabelled" else i % 2
                image = Image.fromarray(image)
                yield i, {"image": image, "label": label, "objects": [0, 2, 2][:i]}

    root = tmp_path_factory.mktemp("tfds")
    Tiny(data_dir=str(root), file_format="array_record").download_and_prepare()
    return root


def test_records_are_those_that_were_prepared(prepared):
    for options in (
        dict(folder=str(prepared), name="tiny"),
        dict(folder=str(prepared)),
        dict(folder=str(prepared / "tiny")),
        dict(folder=str(prepared / "tiny/1.2.3")),
    ):
        source = tfds_source.Source(**options)
        assert len(source) == 6 and source.spec == tfds_source.spec(**options)
    assert source.spec.class_names == ("cat", "dog")
    found = {
        x["views"]["image"].tobytes(): x["label"]
        for x in map(source.__getitem__, range(6))
    }
    wanted = {image.tobytes(): i % 2 for i, image in enumerate(images("train"))}
    assert found == wanted
    np.testing.assert_array_equal(source.labels, list(found.values()))
    copy = pickle.loads(pickle.dumps(source))
    assert copy[2]["views"]["image"].tobytes() == source[2]["views"]["image"].tobytes()
    splits = tfds_source.find_splits(**options)
    assert splits == ("train", "unlabelled", "valid")
    assert check.check(dict(name="tfds", options=options))[1] == []
    assert len(subset.make(source, dict(share=0.34))) == 2


def test_train_may_stand_for_more(prepared):
    options = dict(folder=str(prepared), train="train+unlabelled")
    splits = tfds_source.find_splits(**options)
    assert splits == ("train", "unlabelled", "valid", "labelled")
    source = tfds_source.Source(**options)
    assert len(source) == 10 and (source.labels == -1).sum() == 4
    labelled = tfds_source.Source(split="labelled", **options)
    assert len(labelled) == 6 and (labelled.labels >= 0).all()
    assert source.fingerprint() != labelled.fingerprint()
    assert len(tfds_source.Source(split="all", **options)) == 13
    assert len(tfds_source.Source(split="valid", limit=2, **options)) == 2
    with pytest.raises(errors.UserError, match="the split 'trian' cannot be opened"):
        tfds_source.Source(folder=str(prepared), train="trian")


def test_sequences_of_classes_are_tags(prepared):
    options = dict(folder=str(prepared), tags="objects", label="")
    source = tfds_source.Source(**options)
    assert source.spec.classes is None and source.spec.targets["tags"].shape == (3,)
    assert len(source.spec.target_names["tags"]) == 3
    rows = [source[i]["targets"]["tags"].tolist() for i in range(6)]
    assert sorted(rows) == [[0, 0, 0], [1, 0, 0], *[[1, 0, 1]] * 4]
    for i in range(6):
        batch.validate_record(source[i], source.spec, "here")


def test_faults_are_named(prepared, tmp_path):
    folder = str(prepared)
    with pytest.raises(errors.UserError, match="No folder given"):
        tfds_source.Source()
    with pytest.raises(errors.UserError, match="holds no data set 'voc'"):
        tfds_source.Source(folder=folder, name="voc")
    with pytest.raises(
        errors.UserError, match="options.image: 'photo'.*Choices: image"
    ):
        tfds_source.spec(folder=folder, image="photo")
    with pytest.raises(errors.UserError, match="options.label.*'objects'"):
        tfds_source.spec(folder=folder, label="objects")
    with pytest.raises(errors.UserError, match="options.tags: 'label'.*objects"):
        tfds_source.spec(folder=folder, tags="label")
    source = tfds_source.Source(folder=folder, side=9)
    assert not source.spec.views["image"].varies
    with pytest.raises(errors.UserError, match=r"record \d.*has shape \(\d+, 9, 3\)"):
        [source[i] for i in range(6)]
    for name in ("a", "b"):
        (tmp_path / name / "1.0.0").mkdir(parents=True)
        (tmp_path / name / "1.0.0/dataset_info.json").write_text("{}")
    with pytest.raises(errors.UserError, match="holds several data sets: a, b"):
        tfds_source.Source(folder=str(tmp_path))


def write_tfrecords(prepared, target):
    """The same directory as TensorFlow would have prepared it."""
    from array_record.python import array_record_module

    target.mkdir(parents=True)
    for path in (prepared / "tiny/1.2.3").iterdir():
        if "array_record" not in path.name:
            (target / path.name).write_bytes(path.read_bytes())
            continue
        reader = array_record_module.ArrayRecordReader(str(path))
        with open(target / path.name.replace("array_record", "tfrecord"), "wb") as file:
            for record in reader.read_all():  # Checksums are not looked at.
                head = struct.pack("<QI", len(record), 0)
                file.write(head + record + struct.pack("<I", 0))
    path = target / "dataset_info.json"
    info = json.loads(path.read_text()) | {"fileFormat": "tfrecord"}
    path.write_text(json.dumps(info).replace("array_record", "tfrecord"))


def test_tfrecords_are_written_anew(prepared, tmp_path):
    write_tfrecords(prepared, tmp_path / "old/1.2.3")
    with pytest.raises(errors.UserError, match="mvjax data build tfds --input=.*1.2.3"):
        tfds_source.Source(folder=str(tmp_path / "old"))
    target = str(tmp_path / "new/tiny/1.2.3")
    assert build.build("tfds", str(tmp_path / "old"), target) == 13
    one = tfds_source.Source(folder=target)
    other = tfds_source.Source(folder=str(prepared))
    for i in range(6):
        np.testing.assert_array_equal(
            one[i]["views"]["image"], other[i]["views"]["image"]
        )
    with pytest.raises(errors.UserError, match="is there already"):
        build.build("tfds", str(tmp_path / "old"), target)
