"""ResNets have the published sizes, keys and start; every recording agrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.core import tree
from mvjax.models import resnet
from mvjax.models import resnet_cifar
from mvjax.models.layers import initializers
from tests import backbone_golden

SIZES = {  # Parameters without the classifier; torchvision's and MV-MR's own figures.
    "18": (resnet.Backbone(18), 3, 11_176_512),
    "34": (resnet.Backbone(34), 3, 21_284_672),
    "50": (resnet.Backbone(50), 3, 23_508_032),
    "101": (resnet.Backbone(101), 3, 42_500_160),
    "152": (resnet.Backbone(152), 3, 58_143_808),
    "ResNeXt-50 32x4d": (
        resnet.Backbone(50, cardinality=32, group_width=4),
        3,
        22_979_904,
    ),
    "wide 50-2": (resnet.Backbone(50, group_width=128), 3, 66_834_240),
    "50, small stem": (resnet.Backbone(50, stem="small"), 3, 23_500_352),
    "18, small stem": (resnet.Backbone(18, stem="small"), 3, 11_168_832),
    "8x4": (resnet_cifar.Backbone(), 3, 1_207_840),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones_and_the_table_is_whole(name):
    backbone, channels, count = SIZES[name]
    variables = backbone_golden.shapes(backbone, channels)
    params = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in params) == count
    leaves = backbone_golden.leaves_of(backbone, channels)
    assert {leaf.path for leaf in leaves} == set(tree.flatten(variables))


def test_the_width_is_the_length_of_the_features():
    for backbone in (
        resnet.Backbone(18, widen=0.5),
        resnet_cifar.Backbone(widths=(4, 6, 8)),
    ):
        net = backbone.net(3, dtype=jnp.bfloat16)
        x = jnp.zeros((2, 32, 32, 3))
        features, _ = jax.eval_shape(
            lambda x, net=net: net.init_with_output(jax.random.key(0), x, train=False),
            x,
        )
        assert features.pooled.shape == (2, backbone.width)
        assert features.pooled.dtype == jnp.float32
        assert features.maps[-1].dtype == jnp.bfloat16


def draw(backbone, channels):
    variables = backbone_golden.shapes(backbone, channels)
    return initializers.torch_default(
        jax.random.key(0), variables, backbone.initial(channels)
    )


def test_the_start_is_he_normal_by_fan_out_and_the_last_norms_are_zero():
    params = draw(resnet.Backbone(18), 3)["params"]
    kernel = params["layer2_0"]["conv1"]["kernel"]  # [3, 3, 64, 128].
    np.testing.assert_allclose(kernel.std(), (2 / (9 * 128)) ** 0.5, rtol=0.02)
    assert not params["layer4_1"]["bn2"]["scale"].any()
    assert params["layer4_1"]["bn1"]["scale"].all()
    assert params["layer2_0"]["downsample_bn"]["scale"].all()
    stem = (2 / (49 * 64)) ** 0.5
    np.testing.assert_allclose(params["conv1"]["kernel"].std(), stem, rtol=0.05)
    plain = draw(resnet.Backbone(18, zero_init_residual=False), 3)["params"]
    assert plain["layer4_1"]["bn2"]["scale"].all()


@pytest.mark.parametrize(
    "backbone, channels, fan_in",
    [
        (resnet.Backbone(18, stem="small"), 3, 27),
        (resnet.Backbone(18), 13, 49 * 13),
        (resnet_cifar.Backbone(default_stem=True), 3, 27),
    ],
)
def test_a_stem_that_was_put_in_later_has_the_default_start(backbone, channels, fan_in):
    kernel = draw(backbone, channels)["params"]["conv1"]["kernel"]
    assert 0.97 < np.abs(kernel).max() * fan_in**0.5 <= 1


def test_weights_go_to_pytorch_and_back_bit_for_bit():
    backbone = resnet.Backbone(50, cardinality=2, group_width=8, widen=0.25)
    variables = jax.tree.map(np.asarray, draw(backbone, 3))
    leaves = backbone_golden.leaves_of(backbone, 3)
    tensors = torch_map.to_torch(leaves, variables)
    assert tensors["layer2.0.conv2.weight"].shape == (8, 4, 3, 3)
    back, _ = torch_map.to_flax(leaves, tensors, template=variables)
    jax.tree.map(np.testing.assert_array_equal, variables, back)
