"""Representations are found by name, flat, in float32 and without gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import batch_augment
from mvjax.ops import dct
from mvjax.ops import hog
from mvjax.ops import local_std
from mvjax.ops import patches
from mvjax.ops import representations
from mvjax.ops import scattering

IMAGES = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
KEY = jax.random.key(0)
SETTINGS = representations.Settings(
    scattering=representations.Scattering(scales=1, angles=2),
    hog=representations.Hog(bins=5, pool=4),
    lbp=representations.Lbp(pool=5),
)


@pytest.mark.parametrize("name", representations.NAMES)
def test_features_are_flat_finite_and_fixed(name):
    representation = representations.Representation(name, SETTINGS)
    # A constant image has equal neighbours everywhere.
    images = np.concatenate([IMAGES, np.full_like(IMAGES[:1], 0.3)])
    run = jax.jit(representation)
    found = run(images.astype(jnp.bfloat16), KEY)
    assert found.dtype == jnp.float32 and np.isfinite(found).all()
    width = representations.widths([name], IMAGES.shape[1:], SETTINGS)[name]
    assert found.shape == (3, width)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(representation(x, KEY))))(images)
    assert not np.any(gradient)
    again = run(images.astype(jnp.bfloat16), jax.random.key(1))
    assert np.array_equal(found, again) == representations.is_deterministic(name)


def test_features_are_what_the_names_say():
    def scatter(images):
        return scattering.scatter(images, scales=1, angles=2)

    def describe(images):
        return hog.describe(images, bins=5, pool=4)

    @jax.jit
    def want(images):
        augmented = batch_augment.Augmentation()(images, KEY)
        parts = patches.split(images, 3)
        return {
            "full_img": images / 32,
            "full_img_scatnet": scatter(images) / 32,
            "full_img_augment": augmented / 32,
            "full_img_hog": describe(images),
            "full_img_std": local_std.local_std(images),
            "full_img_dct": dct.dct2(images),
            "aug_scatnet": scatter(augmented),
            "aug_hog": describe(augmented),
            "aug_std": local_std.local_std(augmented),
            "patch_scatnet": jax.vmap(scatter, 1, 1)(parts),
        }

    @jax.jit
    def find(images):
        settings = representations.Settings(**(vars(SETTINGS) | {"patches": 3}))
        return {
            name: representations.Representation(name, settings)(images, KEY)
            for name in representations.NAMES
        }

    found = find(IMAGES)
    for name, features in want(IMAGES).items():
        np.testing.assert_allclose(
            found[name], features.reshape(2, -1), atol=1e-5, err_msg=name
        )


def test_mistakes_are_named():
    with pytest.raises(errors.UserError, match="'full_image'.*'full_img'.*patch_sc"):
        representations.Representation("full_image")
    with pytest.raises(errors.UserError, match="aug_std draws"):
        representations.Representation("aug_std")(IMAGES)
    with pytest.raises(errors.UserError, match="scales=2 .*4 pixels.*4 x 4"):
        representations.widths(["patch_scatnet"], (16, 16, 3))
    assert representations.widths(["full_img"], (16, 8, 1)) == {"full_img": 128}
