"""STL-10 and CIFAR are read from files in their published forms, and faults are named."""

import hashlib
import io
import pickle

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import check
from mvjax.data import cifar
from mvjax.data import inputs
from mvjax.data import pipeline
from mvjax.data import policies
from mvjax.data.sources import cifar as cifar_source
from mvjax.data.sources import stl10


def photographs(count, side, seed=0):
    """Smooth coloured images `[N, H, W, 3]` that are brighter above than below."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    phase, tilt = rng.uniform(0, 6, (2, count, 1, 1, 3))
    waves = np.sin(2 * x[..., None] + phase) + np.cos(3 * y[..., None] + tilt)
    light = 120 - 40 * y[..., None] + 30 * waves + rng.normal(0, 2, (count, 1, 1, 3))
    return np.clip(light, 0, 255).astype(np.uint8)


def write_stl10(root, counts, *, turned=False, interleaved=False):
    place = root / "stl10_binary"
    place.mkdir()
    written = {}
    for seed, (part, count) in enumerate(counts.items()):
        images = photographs(count, 96, seed)
        planes = (
            images.transpose(0, 3, 1, 2) if turned else images.transpose(0, 3, 2, 1)
        )
        planes = images.transpose(0, 2, 1, 3) if interleaved else planes
        np.ascontiguousarray(planes).tofile(place / f"{part}_X.bin")
        labels = np.arange(count) % 10
        if part != "unlabeled":
            (labels + 1).astype(np.uint8).tofile(place / f"{part}_y.bin")
        written[part] = images, labels
    return written


def test_stl10_is_what_was_written(tmp_path):
    written = write_stl10(tmp_path, dict(train=12, test=5, unlabeled=7))
    for folder in (tmp_path, tmp_path / "stl10_binary"):
        source = stl10.Source(folder=str(folder))
        assert len(source) == 12 and source.spec.class_names[7] == "monkey"
    for split, part in (("test", "test"), ("unlabelled", "unlabeled")):
        source = stl10.Source(split=split, folder=str(tmp_path))
        images, labels = written[part]
        found = source.gather(np.arange(len(source)))
        np.testing.assert_array_equal(found["views"]["image"], images)
        wanted = np.full(7, -1) if split == "unlabelled" else labels
        np.testing.assert_array_equal(found["label"], wanted)
        batch.validate_record(source[3], source.spec, split)
    assert len(stl10.Source(split="all", folder=str(tmp_path), limit=20)) == 20


def test_stl10_joins_the_unlabelled_for_training(tmp_path):
    written = write_stl10(tmp_path, dict(train=12, test=5, unlabeled=7))
    options = dict(folder=str(tmp_path), unlabelled=True)
    assert stl10.find_splits(**options) == ("train", "test", "labelled")
    source = stl10.Source(**options)
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 3000  # Names of files, not what is in them.
    assert len(source) == 19 and (source.labels == -1).sum() == 7
    found = copy.gather([18, 0, 12])
    wanted = [*written["unlabeled"][0][[6]], written["train"][0][0]]
    np.testing.assert_array_equal(found["views"]["image"][:2], wanted)
    np.testing.assert_array_equal(
        source[12]["views"]["image"], found["views"]["image"][2]
    )
    assert len(stl10.Source(split="labelled", **options)) == 12
    assert "7 records without a label" in " ".join(stl10.describe(**options))
    assert source.fingerprint() == copy.fingerprint()
    assert source.fingerprint() != stl10.Source(folder=str(tmp_path)).fingerprint()


def test_pairs_and_labels_beside_them_reach_a_batch(tmp_path):
    written = write_stl10(tmp_path, dict(train=12, test=5, unlabeled=7))
    config = dict(
        name="stl10",
        options=dict(folder=str(tmp_path), unlabelled=True),
        train_policy=dict(name="pair", size=96, plain="native"),
        beside=dict(probe=dict(split="labelled", batch_size=4)),
    )
    data = inputs.Inputs(config)
    spec = data.train_spec
    assert spec.views["augmented"] == spec.views["image"]
    assert spec.beside["probe"].views == data.spec.views
    options = dict(seed=0, batch_size=5, step=0, augment=data.train_policy)
    with pipeline.train_batches(data.records("train"), **options) as batches:
        found = next(batches)
    whole = np.concatenate([written["train"][0], written["unlabeled"][0]])
    np.testing.assert_array_equal(found["views"]["image"], whole[found["index"]])
    assert found["views"]["augmented"].shape == (5, 96, 96, 3)
    assert policies.steady(data.train_policy, data.stored_spec) == ("image",)
    assert len(data.records(data.beside["probe"].split)) == 12


def test_faults_of_stl10_are_named(tmp_path):
    with pytest.raises(errors.UserError, match="No folder given.*stl10_binary"):
        stl10.Source()
    write_stl10(tmp_path, dict(train=12, test=5))
    with pytest.raises(errors.UserError, match="has no unlabeled_X.bin"):
        stl10.Source(split="unlabelled", folder=str(tmp_path))
    place = tmp_path / "stl10_binary"
    (place / "train_y.bin").write_bytes(bytes([1] * 11 + [11]))
    with pytest.raises(errors.UserError, match="holds 11 at index 11, expected 1..10"):
        stl10.Source(folder=str(tmp_path))
    (place / "train_y.bin").write_bytes(bytes([1] * 11))
    with pytest.raises(errors.UserError, match="holds 11 labels, but .* 12 images"):
        stl10.Source(folder=str(tmp_path))
    file = place / "test_X.bin"
    file.write_bytes(file.read_bytes()[:-5])
    config = dict(name="stl10", options=dict(folder=str(tmp_path)))
    _, problems = check.check(config, ["test"])
    assert len(problems) == 1 and "test_X.bin has 138,235 bytes" in problems[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({}, None),
        (dict(turned=True), "on their side"),
        (dict(interleaved=True), "planes"),
    ],
)
def test_wrong_orders_of_stl10_are_told(tmp_path, fault, words):
    write_stl10(tmp_path, dict(train=200), **fault)
    problems = stl10.find_problems(folder=str(tmp_path))
    assert bool(problems) == bool(words)
    assert not words or words in problems[0]


class _Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 did: both as its `str`."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, value):
        data = value if isinstance(value, bytes) else value.encode("latin-1")
        short = len(data) < 256
        code, width = (b"U", 1) if short else (b"T", 4)
        self.write(code + len(data).to_bytes(width, "little") + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text


def dump(value, *, old=True):
    stream = io.BytesIO()
    (_Python2 if old else pickle.Pickler)(stream, 2 if old else 4).dump(value)
    content = stream.getvalue()
    return content.replace(b"numpy._core", b"numpy.core") if old else content


def pixels(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def write_cifar10(root, *, old=True, count=30):
    place = root / "cifar-10-batches-py"
    place.mkdir()
    written = []
    for seed, name in enumerate(
        [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    ):
        images, labels = photographs(count, 32, seed), (np.arange(count) % 10).tolist()
        content = {"data": pixels(images), "labels": labels, "batch_label": name}
        content["filenames"] = [f"{i}.png" for i in range(count)]
        (place / name).write_bytes(dump(content, old=old))
        written.append(images)
    return written


def write_cifar100(root, *, order=pixels):
    place = root / "cifar-100-python"
    place.mkdir()
    images, fine = photographs(240, 32), np.arange(240) % 100
    content = {"data": order(images), "fine_labels": fine.tolist()}
    content["coarse_labels"] = np.array(cifar.COARSE)[fine].tolist()
    for name in ("train", "test"):
        (place / name).write_bytes(dump(content))
    return images, fine


@pytest.mark.parametrize("old", [True, False])
def test_cifar10_is_what_was_written(tmp_path, old):
    written = write_cifar10(tmp_path, old=old)
    options = dict(folder=str(tmp_path), checksums=False)
    source = cifar_source.Source(**options)
    assert len(source) == 150 and source.spec == cifar_source.spec(**options)
    np.testing.assert_array_equal(source.views["image"], np.concatenate(written[:5]))
    np.testing.assert_array_equal(source.labels, np.tile(np.arange(10), 15))
    test = cifar_source.Source(split="test", limit=7, **options)
    np.testing.assert_array_equal(test.views["image"], written[5][:7])
    assert len(cifar_source.Source(split="all", **options)) == 180
    batch.validate_record(source[3], source.spec, "here")


def test_classes_and_superclasses_come_from_one_file(tmp_path):
    images, fine = write_cifar100(tmp_path)
    options = dict(folder=str(tmp_path / "cifar-100-python"), checksums=False)
    hundred = cifar_source.Source(classes=100, **options)
    twenty = cifar_source.Source(classes=20, **options)
    np.testing.assert_array_equal(hundred.labels, fine)
    np.testing.assert_array_equal(twenty.labels, np.array(cifar.COARSE)[fine])
    np.testing.assert_array_equal(twenty.views["image"], images)
    assert hundred.spec.class_names[0] == "apple" and hundred.spec.classes == 100
    assert twenty.spec.class_names[cifar.COARSE[0]] == "fruit_and_vegetables"
    for number, family in cifar.FAMILIES.items():
        assert len(set(family.names)) == number and sorted(family.names) == [
            *family.names
        ]
    synthetic = dict(name="cifar", options=dict(classes=20), synthetic=True)
    assert pipeline.make_spec(synthetic).classes == 20


def test_files_are_the_published_ones(tmp_path, monkeypatch):
    write_cifar10(tmp_path, count=3)
    options = dict(folder=str(tmp_path))
    with pytest.raises(errors.UserError, match="MD5 sum .*checksums=False"):
        cifar_source.Source(**options)
    place = tmp_path / "cifar-10-batches-py"
    sums = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in place.iterdir()}
    monkeypatch.setattr(cifar, "MD5", sums)
    assert len(cifar_source.Source(**options)) == 15


def test_faults_of_cifar_are_named(tmp_path):
    with pytest.raises(
        errors.UserError, match="No folder given. CIFAR-20 is read from"
    ):
        cifar_source.Source(classes=20)
    options = dict(folder=str(tmp_path), checksums=False, classes=100)
    with pytest.raises(errors.UserError, match="holds none of its files"):
        cifar_source.Source(**options)
    write_cifar100(tmp_path)
    file = tmp_path / "cifar-100-python/train"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(errors.UserError, match="cut off|no complete pickle"):
        cifar_source.Source(**options)
    content = {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1, 2]}
    file.write_bytes(dump(content | {"coarse_labels": [1, 0]}))
    with pytest.raises(
        errors.UserError, match="record 1 has the class 2 and the super"
    ):
        cifar_source.Source(**options)
    file.write_bytes(dump(content | {"fine_labels": [1, 100]}))
    with pytest.raises(errors.UserError, match="fine_labels has 100 at index 1"):
        cifar_source.Source(**options)
    file.write_bytes(dump(content | {"data": np.zeros((2, 32), np.uint8)}))
    with pytest.raises(
        errors.UserError, match=r"must be \[N, 3072\] of uint8, is \(2, 3"
    ):
        cifar_source.Source(**options)
    file.unlink()
    with pytest.raises(errors.UserError, match="cifar-100-python/train is missing"):
        cifar_source.Source(**options)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (pixels, None),
        (lambda x: pixels(x.transpose(0, 2, 1, 3)), "on their side"),
        (lambda x: x.reshape(len(x), -1), "channels of each pixel together"),
    ],
)
def test_wrong_orders_of_cifar_are_told(tmp_path, order, words):
    write_cifar100(tmp_path, order=order)
    options = dict(folder=str(tmp_path), checksums=False, classes=100)
    config = dict(name="cifar", options=options)
    _, problems = check.check(config, ["train"])
    assert bool(problems) == bool(words)
    assert not words or words in problems[0]
