"""EdgeMNIST and Edge-Fashion-MNIST from files, tensorflow-datasets and the cache."""

import gzip
import json
import os
import pathlib
import pickle
import struct

import numpy as np
from PIL import Image
import pytest

from mvjax.core import errors
from mvjax.core import storage
from mvjax.data import batch
from mvjax.data import edges
from mvjax.data import images
from mvjax.data import mnist
from mvjax.data.sources import edge_fashion_mnist
from mvjax.data.sources import edge_mnist

CACHE = storage.default_cache(os.environ)


def write_idx(path, array, *, zipped=False):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    data = header + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if zipped:
        path = path.with_name(path.name + ".gz")
    path.write_bytes(gzip.compress(data) if zipped else data)


def write_set(folder, *, zipped=False, train=12, test=5):
    """Writes the four files; returns images and labels by split."""
    rng = np.random.default_rng(0)
    found = {}
    for split, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        x = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        y = rng.integers(0, 10, count).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", x, zipped=zipped)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", y, zipped=zipped)
        found[split] = (x, y)
    return found


@pytest.mark.parametrize(
    ("module", "below"),
    [
        (edge_mnist, "."),
        (edge_mnist, "MNIST/raw"),
        (edge_mnist, "EdgeMNISTDataset/raw"),
        (edge_fashion_mnist, "."),
        (edge_fashion_mnist, "FashionMNIST/raw"),
        (edge_fashion_mnist, "EdgeFMNISTDataset/raw"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_folders(tmp_path, module, below, zipped):
    written = write_set(tmp_path / below, zipped=zipped)
    for split, (x, y) in written.items():
        source = module.Source(split=split, folder=str(tmp_path))
        assert len(source) == len(x)
        assert source.spec == module.spec(split=split)
        for i in range(len(source)):
            record = source[i]
            batch.validate_record(record, source.spec, "files")
            assert record["label"] == y[i]
        x = x[..., None]
        np.testing.assert_array_equal(source.views["image"], images.resize(x, 32))
        wanted = images.resize(edges.edge_view(x), 32)  # Edges first.
        np.testing.assert_array_equal(source.views["edge"], wanted)
    both = module.Source(split="all", folder=str(tmp_path), size=28)
    assert len(both) == 17
    np.testing.assert_array_equal(both.labels[12:], written["test"][1])


def test_limit_size_pickle_and_fingerprint(tmp_path):
    write_set(tmp_path)
    whole = edge_mnist.Source(folder=str(tmp_path), size=20)
    part = edge_mnist.Source(folder=str(tmp_path), size=20, limit=4)
    assert len(part) == 4
    np.testing.assert_array_equal(part.views["edge"], whole.views["edge"][:4])
    assert part.fingerprint() != whole.fingerprint()
    assert len(part.fingerprint()) == 16
    again = pickle.loads(pickle.dumps(whole))
    assert again.spec == whole.spec
    np.testing.assert_array_equal(again[3]["views"]["edge"], whole[3]["views"]["edge"])
    with pytest.raises(errors.UserError, match="limit"):
        edge_mnist.Source(folder=str(tmp_path), limit=0)
    with pytest.raises(errors.UserError, match="size"):
        edge_mnist.Source(folder=str(tmp_path), size=0)


def test_missing_files_say_what_to_do(tmp_path):
    for module, name in ((edge_mnist, "mnist"), (edge_fashion_mnist, "fashion_mnist")):
        for options in ({"folder": str(tmp_path)}, {"cache": str(tmp_path)}):
            with pytest.raises(errors.UserError) as caught:
                module.Source(**options)
            assert f"`mvjax data fetch {name}`" in str(caught.value)
            assert "--config.data.options.folder=" in str(caught.value)
            assert str(tmp_path) in str(caught.value)
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert len(edge_mnist.Source(folder=str(tmp_path))) == 12
    with pytest.raises(errors.UserError, match="t10k-labels-idx1-ubyte.*missing"):
        edge_mnist.Source(split="test", folder=str(tmp_path))


def test_files_that_do_not_belong_together_are_named(tmp_path):
    written = write_set(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    write_idx(labels, written["train"][1][:-2])
    with pytest.raises(errors.UserError, match="12 images.*10 labels"):
        edge_mnist.Source(folder=str(tmp_path))
    write_idx(labels, np.full(12, 10, np.uint8))
    with pytest.raises(errors.UserError, match="label 10 at index 0"):
        edge_mnist.Source(folder=str(tmp_path))
    assert len(edge_mnist.find_problems(folder=str(tmp_path))) == 1


def test_the_cache_is_used_without_a_folder(tmp_path):
    write_set(tmp_path / "fashion_mnist", zipped=True)
    assert len(edge_fashion_mnist.Source(cache=str(tmp_path))) == 12


@pytest.fixture
def tfds_dir(tmp_path):
    """A directory of the builder `mnist`, prepared so that it needs no TensorFlow."""
    tfds = pytest.importorskip("tensorflow_datasets")
    written = write_set(tmp_path / "raw")

    class Mnist(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("3.0.1")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(28, 28, 1), encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in written}

        def _generate_examples(self, split):
            for i, (x, y) in enumerate(zip(*written[split], strict=True)):
                yield i, {"image": Image.fromarray(x), "label": int(y)}

    builder = Mnist(data_dir=str(tmp_path / "tfds"), file_format="array_record")
    builder.download_and_prepare()
    return tmp_path / "tfds", written


def test_tensorflow_datasets_directories(tfds_dir):
    root, written = tfds_dir
    for place in (root, root / "mnist", root / "mnist" / "3.0.1"):
        source = edge_mnist.Source(tfds_dir=str(place), size=28)
        found = sorted(
            (int(y), x.tobytes())
            for x, y in zip(source.views["image"], source.labels, strict=True)
        )
        wanted = sorted(
            (int(y), x.tobytes()) for x, y in zip(*written["train"], strict=True)
        )
        assert found == wanted
    assert len(edge_mnist.Source(split="all", tfds_dir=str(root))) == 17
    with pytest.raises(errors.UserError, match="holds no data set 'fashion_mnist'"):
        edge_fashion_mnist.Source(tfds_dir=str(root))
    info = root / "mnist" / "3.0.1" / "dataset_info.json"
    text = json.loads(info.read_text()) | {"fileFormat": "tfrecord"}
    info.write_text(json.dumps(text))
    with pytest.raises(errors.UserError, match="array_record"):
        edge_mnist.Source(tfds_dir=str(root))


def test_files_of_images_that_are_no_split_are_told(tmp_path, capsys):
    write_set(tmp_path)
    write_idx(tmp_path / "dev-images-idx3-ubyte", np.zeros((3, 28, 28), np.uint8))
    for split in ("train", "test"):
        edge_mnist.Source(split=split, folder=str(tmp_path))
    told = capsys.readouterr().err
    assert told.count("dev-images-idx3-ubyte is not read") == 1


def test_splits_of_a_prepared_directory_have_usual_names(tmp_path, capsys):
    assert (
        mnist._find_split(["Training", "tst", "val"], "train", tmp_path) == "Training"
    )
    told = capsys.readouterr().err
    assert "'Training' is read as 'train'" in told and "'val' is not read" in told
    with pytest.raises(errors.UserError, match="'rest' is unknown"):
        mnist._find_split(["train", "rest"], "train", tmp_path)
    with pytest.raises(errors.UserError, match="Choices: train"):
        mnist._find_split(["train"], "test", tmp_path)
    with pytest.raises(errors.UserError, match="label 300 at index 1, expected 0..9"):
        mnist._check_labels(np.array([3, 300]), tmp_path)


def test_damaged_prepared_directories_are_named(tmp_path):
    (tmp_path / "dataset_info.json").write_text("version https://git-lfs.github.com/")
    with pytest.raises(errors.UserError, match="no sound data set of tensorflow-datas"):
        edge_mnist.Source(tfds_dir=str(tmp_path))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("module", "name", "mean"),
    [(edge_mnist, "mnist", 0.13066), (edge_fashion_mnist, "fashion_mnist", 0.28604)],
)
def test_the_real_files(module, name, mean):
    if not pathlib.Path(CACHE / name).is_dir():
        pytest.skip(f"{CACHE / name} is missing: run `mvjax data fetch {name}`")
    train = module.Source(cache=str(CACHE), size=28)
    test = module.Source(split="test", cache=str(CACHE), size=28)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert abs(train.views["image"].mean() / 255 - mean) < 5e-6
    assert np.bincount(train.labels).min() >= 5_421
