"""The augmentation of tensors draws what torchvision draws, and does what it does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.ops import batch_augment
from mvjax.ops import images as image_ops
from mvjax.ops import photometry

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.random((3, 12, 10, 3)), jnp.float32)


def make_draw(**changes):
    still = dict(top=0, left=0, height=12, width=10, flip=False, jitter=False)
    still |= dict(order=[0, 1, 2, 3], brightness=1.5, contrast=0.5, saturation=0.3)
    still |= dict(hue=0.2, grey=False, sigma=0.5)
    return batch_augment.Draw(
        **{k: jnp.asarray(v) for k, v in (still | changes).items()}
    )


smooth = jax.jit(photometry.smooth, static_argnames="size")
run = jax.jit(batch_augment.apply, static_argnames=("size", "kernel"))


def apply(images, draw, size=(12, 10), kernel=1):
    return np.asarray(run(images, draw, size=size, kernel=kernel))


def test_a_crop_is_cut_first_and_resized_then():
    draw = make_draw(top=2, left=3, height=9, width=4)
    wanted = image_ops.resize_bilinear(IMAGES[:, 2:11, 3:7], (12, 10))
    np.testing.assert_allclose(apply(IMAGES, draw), wanted, atol=1e-6)
    whole = apply(IMAGES, make_draw(flip=True))
    np.testing.assert_allclose(whole, IMAGES[:, :, ::-1], atol=1e-6)


@pytest.mark.parametrize("order", [[3, 1, 0, 2], [0, 3, 2, 1], [2, 1, 0, 3]])
def test_changes_follow_the_order(order):
    draw = make_draw(jitter=True, order=order, grey=False, sigma=1.3)
    factors = (draw.brightness, draw.contrast, draw.saturation, draw.hue)
    wanted = IMAGES
    for way in order:
        change = jax.jit(getattr(photometry, batch_augment.WAYS[way]))
        wanted = change(wanted, jnp.full(3, factors[way]))
    wanted = smooth(wanted, jnp.full(3, 1.3), size=3)
    np.testing.assert_allclose(apply(IMAGES, draw, kernel=3), wanted, atol=2e-6)


def test_rows_have_their_own_draws():
    draws = [
        make_draw(flip=True),
        make_draw(jitter=True, order=[2, 3, 1, 0]),
        make_draw(grey=True, top=4, height=5),
    ]
    rows = jax.tree.map(lambda *values: jnp.stack(values), *draws)
    found = apply(IMAGES, rows)
    for i, draw in enumerate(draws):
        alone = apply(IMAGES[i : i + 1], draw)
        np.testing.assert_allclose(found[i : i + 1], alone, atol=1e-6)


def test_hues_outside_the_unit_range_keep_the_largest_value():
    pixels = jnp.array([[[-1.0, 0.2, 2.0], [-0.5, -0.2, -0.9], [0.0, -1.0, -2.0]]])
    still = np.asarray(batch_augment.turn_hue(pixels, jnp.zeros(())))
    wanted = [[[0.0, 0.2, 2.0], [0.0, -0.2, 0.0], [0.0, 0.0, 0.0]]]
    np.testing.assert_allclose(still, wanted, atol=5e-6)  # Roundings of a span of 3.
    turned = np.asarray(batch_augment.turn_hue(pixels, jnp.asarray(1 / 3)))
    np.testing.assert_allclose(turned[0, 0], [2.0, 0.0, 0.2], atol=5e-6)


def test_grey_images_have_no_colours_to_change():
    draw = make_draw(jitter=True, grey=True, order=[2, 3, 1, 0])
    grey = IMAGES[..., :1]
    wanted = photometry.contrast(grey, jnp.full(3, 0.5))
    wanted = photometry.brightness(wanted, jnp.full(3, 1.5))
    np.testing.assert_allclose(apply(grey, draw), wanted, atol=1e-6)
    with pytest.raises(errors.UserError, match="1 or 3 channels, not 2"):
        apply(IMAGES[..., :2], draw)


def test_draws_lie_where_torchvision_draws():
    augment = batch_augment.Augmentation()
    keys = jax.random.split(jax.random.key(0), 500)
    draw = jax.jit(jax.vmap(lambda key: augment.draw(key, (40, 24))))(keys)
    draw = jax.tree.map(np.asarray, draw)
    assert (draw.top >= 0).all() and (draw.top + draw.height <= 40).all()
    assert (draw.left >= 0).all() and (draw.left + draw.width <= 24).all()
    area, ratio = draw.height * draw.width / 960, draw.width / draw.height
    assert area.min() < 0.15 and 0.6 < area.max() <= 0.85
    assert 0.65 < ratio.min() < 0.85 and 1.2 < ratio.max() < 1.55  # Whole pixels.
    for name, share in (("flip", 0.5), ("jitter", 0.8), ("grey", 0.2)):
        # Five standard deviations.
        assert abs(getattr(draw, name).mean() - share) < 0.11, name
    assert (np.sort(draw.order) == np.arange(4)).all()
    assert len(np.unique(draw.order, axis=0)) == 24
    for name, low, high in (
        ("brightness", 0.2, 1.8),
        ("contrast", 0.2, 1.8),
        ("saturation", 0.2, 1.8),
        ("hue", -0.2, 0.2),
        ("sigma", 0.1, 2.0),
    ):
        values = getattr(draw, name)
        rim = 0.05 * (high - low)
        assert low <= values.min() < low + rim, name
        assert high - rim < values.max() <= high, name


@pytest.mark.parametrize(
    ("shape", "box"), [((40, 4), (17, 0, 5, 4)), ((4, 40), (0, 17, 4, 5))]
)
def test_long_images_are_cut_in_the_middle(shape, box):
    augment = batch_augment.Augmentation(scale=(0.9, 1.0))
    draw = jax.jit(lambda key: augment.draw(key, shape))(jax.random.key(0))
    assert tuple(map(int, draw[:4])) == box


def test_official_draws_once_and_per_image_for_each():
    image = np.asarray(IMAGES[:1])
    same = jnp.asarray((np.repeat(image, 4, axis=0) - 0.5) / 0.25)
    key = jax.random.key(5)
    official = batch_augment.Augmentation(size=8)
    found = np.asarray(jax.jit(official)(same, key))
    assert found.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(found, np.repeat(found[:1], 4, axis=0))
    augment = batch_augment.Augmentation("per_image", size=8)
    several = jax.jit(functools.partial(augment, mean=(0.5,), std=(0.25,)))
    rows = np.asarray(several(same, key))
    assert len(np.unique(rows.reshape(4, -1).mean(1).round(5))) == 4
    # In [0, 1] after normalising back: nothing of the negative range is lost.
    assert rows.min() >= -2.001 and rows.max() <= 2.001 and rows.min() < -0.5
    # A row hangs on the key and its place alone.
    other = np.asarray(several(same.at[1:].set(0), key))
    np.testing.assert_allclose(other[0], rows[0], atol=1e-6)
    with pytest.raises(errors.UserError, match="mean has 3 .* 1 channels"):
        augment(IMAGES[..., :1], key, mean=(0.5, 0.5, 0.5))
