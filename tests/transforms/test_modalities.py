"""The device's changes of values are those of the host, and leave evaluation alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import config
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import modality_steps
from mvjax.transforms import modalities

RNG = np.random.default_rng(0)
LOOKS = (
    modality_steps.Look(),
    modality_steps.Look(brightness=1.3, contrast=0.7),
    modality_steps.Look(grey=True),
    modality_steps.Look(sigma=0.1),
    modality_steps.Look(brightness=0.8, contrast=1.4, sigma=1.9),
    modality_steps.Look(solarise=True, dropped=(0, 4)),
)


def make(**fields):
    given = dict(views=("sar", "optical"), blur=(0.5, 0.5)) | fields
    return config.build(modalities.Transform, "config.data.device_policy", given)


def test_the_same_draws_give_what_the_host_gives():
    images = RNG.integers(0, 256, (len(LOOKS), 18, 20, 5), np.uint8)
    kept = np.ones((len(LOOKS), 5), np.float32)
    for i, look in enumerate(LOOKS):
        kept[i, list(look.dropped)] = 0
    draws = modalities.Draw(
        brightness=jnp.array([look.brightness or 1.0 for look in LOOKS]),
        contrast=jnp.array([look.contrast or 1.0 for look in LOOKS]),
        grey=jnp.array([look.grey for look in LOOKS]),
        blur=jnp.array([look.sigma is not None for look in LOOKS]),
        sigma=jnp.array([look.sigma or 1.0 for look in LOOKS]),
        solarise=jnp.array([look.solarise for look in LOOKS]),
        kept=jnp.asarray(kept),
    )
    found = 255 * np.asarray(jax.jit(make().apply)(images / np.float32(255), draws))
    for image, look, mine in zip(images, LOOKS, found, strict=True):
        expected = modality_steps.change(image, look).astype(np.float32)
        # The host rounds after each of at most four steps, and cuts grey off.
        assert np.abs(mine - expected).max() <= 2.1, look


def test_steps_are_as_frequent_as_the_fields_say():
    made = make(colour=(0.0, 0.8), grey=(0.2, 0.2), solarise=(0.0, 0.3))
    made = dataclasses.replace(made, drop_channels=(1.0, 0.0))
    images = jnp.zeros((4000, 1, 1, 3))
    sar, optical = (
        jax.jit(lambda key, images, view=view: made.draw(key, view, images))(
            jax.random.key(1), images
        )
        for view in made.views
    )
    assert (sar.brightness == 1).all() and not sar.solarise.any()
    changed = optical.contrast[optical.contrast != 1]
    for share, found in (
        (0.8, len(changed) / 4000),
        (0.2, optical.grey.mean()),
        (0.5, sar.blur.mean()),
        (0.3, optical.solarise.mean()),
    ):
        assert abs(found - share) < 0.04  # Five deviations.
    assert 0.6 <= changed.min() < 0.62 and 1.38 < changed.max() <= 1.4
    # One to all of the three channels, each number as often.
    counts = np.bincount(3 - np.asarray(sar.kept.sum(axis=1)).astype(int)) / 4000
    assert counts[0] == 0 and np.abs(counts[1:] - 1 / 3).max() < 0.04
    assert (optical.kept == 1).all()


def test_batches_of_draws_keep_their_shape_and_evaluation_its_values():
    spec = batch_lib.Spec(
        {
            "sar": batch_lib.ViewSpec((2, 16, 16, 2), "uint8", 0, 255),
            "optical": batch_lib.ViewSpec((16, 16, 13), "uint8", 0, 255),
        },
        None,
    )
    made = make(colour=(0.0, 1.0), solarise=(1.0, 0.0), blur=())
    views = {
        k: RNG.integers(0, 256, (3, *v.shape), np.uint8) for k, v in spec.views.items()
    }
    plain = made({"views": views}, None)["views"]
    random = jax.jit(made)({"views": views}, jax.random.key(0))["views"]
    for name, view in made.spec(spec).views.items():
        np.testing.assert_allclose(plain[name], views[name] / 255, atol=1e-6)
        assert (
            random[name].shape == (3, *view.shape) and random[name].dtype == view.dtype
        )
        assert random[name].min() >= 0 and random[name].max() <= 1
        assert np.abs(random[name] - plain[name]).max() > 0.05
    with pytest.raises(errors.UserError, match="'dem'.*optical, sar"):
        make(views=("dem",), blur=()).spec(spec)
    with pytest.raises(errors.UserError, match="1 entries in 'grey', but 2 views"):
        make(grey=(0.2,))
    small = spec._replace(views={"sar": batch_lib.ViewSpec((6, 6, 2), "uint8", 0, 255)})
    with pytest.raises(errors.UserError, match="blurs over 13 pixels; the view 'sar'"):
        make(views=("sar",), blur=()).spec(small)
