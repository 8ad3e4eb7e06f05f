"""MNIST and Fashion-MNIST as one view that encoders of photographs can take."""

import struct

import numpy as np
import pytest

from mvjax.core import errors
from mvjax.data import batch
from mvjax.data import check
from mvjax.data import fetch
from mvjax.data import pipeline
from mvjax.data.sources import fashion_mnist
from mvjax.data.sources import mnist


def write(folder, *, side=28, train=12, test=5):
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for seed, (prefix, count) in enumerate((("train", train), ("t10k", test))):
        images = np.random.default_rng(seed).integers(0, 256, (count, side, side))
        labels = np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            array = array.astype(np.uint8)
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(head + array.tobytes())
        written[prefix] = images
    return written


@pytest.mark.parametrize("module", [mnist, fashion_mnist])
def test_images_are_padded_and_grey_in_all_channels(tmp_path, module):
    written = write(tmp_path)
    options = dict(folder=str(tmp_path))
    source = module.Source(**options)
    assert source.spec == module.spec(**options)
    found = source.views["image"]
    assert found.shape == (12, 32, 32, 3)
    np.testing.assert_array_equal(found[:, 2:-2, 2:-2, 1], written["train"])
    assert not found[:, :2].any() and (found[..., 0] == found[..., 2]).all()
    plain = module.Source(split="test", padding=0, channels=1, **options)
    np.testing.assert_array_equal(plain.views["image"][..., 0], written["t10k"])
    assert len(module.Source(split="all", limit=14, **options)) == 14
    batch.validate_record(source[3], source.spec, "here")
    name = module.__name__.rpartition(".")[2]
    config = dict(name=name, options=options)
    assert check.check(config)[1] == []
    assert (
        pipeline.make_source(config | dict(synthetic=True), "train").spec == source.spec
    )
    assert list(fetch.find(name)) == [name]


def test_classes_of_clothes_have_names(tmp_path):
    assert fashion_mnist.spec().class_names[9] == "Ankle boot"
    write(tmp_path, side=20)
    with pytest.raises(
        errors.UserError, match="of fashion_mnist are 20x20, expected 28"
    ):
        fashion_mnist.Source(folder=str(tmp_path))
    with pytest.raises(errors.UserError, match="mvjax data fetch mnist"):
        mnist.Source(folder=str(tmp_path / "none"))
