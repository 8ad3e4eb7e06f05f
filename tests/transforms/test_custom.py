"""The augmented view of the device is drawn as the host draws it, and looks like the host's."""

import pathlib

import jax
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.data import photometry
from mvjax.data import pictures
from mvjax.data import styles
from mvjax.ops import batch_augment
from mvjax.train import feed as feed_lib
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.transforms import custom

ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)
SIDE, ROWS = 40, 16


def make_images(rows=ROWS):
    """Smooth colours with noise, `[rows, SIDE, SIDE, 3]` uint8."""
    waves = np.sin(np.arange(SIDE)[:, None] * RNG.uniform(0, 0.5, (rows, 1, 1, 3)))
    levels = 128 + 100 * (waves * waves.swapaxes(1, 2)) + RNG.normal(0, 9, waves.shape)
    return np.clip(levels, 0, 255).astype(np.uint8)


IMAGES = make_images()
transform = jax.jit(custom.Transform())


def make_batch(images):
    return {"views": {"image": images, "other": np.zeros((len(images), 3))}}


@jax.jit
@jax.vmap
def draw_many(key):
    return custom.AUGMENTATION.draw(key, (50, 70))


def moments(draws):
    """Parameters of many draws, `[N, P]`, whose means and deviations are compared."""
    columns = [np.sqrt(draws["height"] * draws["width"])]
    columns += [np.log(draws["width"] / draws["height"])]
    columns += [draws[k] for k in ("top", "left", "flip", "jitter", "grey", "sigma")]
    columns += [draws[k] for k in batch_augment.WAYS]
    columns += list(np.argsort(draws["order"], axis=1).T)  # Places of the four ways.
    return np.stack(columns, axis=1).astype(np.float64)


def test_parameters_are_distributed_as_the_hosts():
    count = 3000
    mine = draw_many(jax.random.split(jax.random.key(1), count))
    mine = jax.tree.map(np.asarray, mine._asdict())
    rng, style = np.random.default_rng(0), styles.make("custom", 32)
    drawn = [style.draw(rng, 70, 50) for _ in range(count)]
    hosts = {
        k: np.array([getattr(d.box, k) for d in drawn]) for k in pictures.Box._fields
    }
    hosts |= {
        k: np.array([getattr(d, k) for d in drawn]) for k in ("flip", "grey", "sigma")
    }
    hosts["jitter"] = np.array([d.jitter is not None for d in drawn])
    # The host keeps the parameters only of images whose colours change.
    jitters = [d.jitter for d in drawn if d.jitter]
    fill = [jitters[i % len(jitters)] for i in range(count)]
    hosts |= {k: np.array([getattr(j, k) for j in fill]) for k in batch_augment.WAYS}
    hosts["order"] = np.array([j.order for j in fill])
    one, other = moments(mine), moments(hosts)
    deviation = other.std(axis=0)
    # Four and a half standard errors of a difference of means of 3,000 draws, and the
    # same of deviations, whose errors are smaller; a fifth of the host's are repeated.
    limit = 4.5 * np.sqrt(2 / (0.75 * count))
    assert (np.abs(one.mean(0) - other.mean(0)) / deviation).max() < limit
    assert np.abs(one.std(0) / deviation - 1).max() < limit


def test_given_parameters_give_the_hosts_image():
    """The host rounds each step to levels, this does not; hence the tolerances.

    A crop is rounded after rows and after columns: one level at most, as is the result.
    Each of four changes of colour cuts half a level off on average, and hues half of one,
    which is three levels of a colour; later changes stretch that up to 1.8 times. Of a
    whole image that makes one level on average, seldom two.
    """
    draws = jax.vmap(lambda key: custom.AUGMENTATION.draw(key, (SIDE, SIDE)))
    draws = jax.jit(draws)(jax.random.split(jax.random.key(4), ROWS))

    @jax.jit
    def apply(images, draws):
        made = batch_augment.apply(
            images / 255.0, draws, size=(SIDE, SIDE), kernel=5, antialias=True
        )
        return 255 * made

    found = np.asarray(apply(IMAGES, draws))
    style, means = styles.make("custom", SIDE), []
    assert style.blur_width == batch_augment.blur_size(SIDE) == 5
    for i, (image, mine) in enumerate(zip(IMAGES, found, strict=True)):
        draw = jax.tree.map(lambda x, i=i: np.asarray(x)[i].tolist(), draws)
        jitter = photometry.Jitter(
            tuple(draw.order), draw.brightness, draw.contrast, draw.saturation, draw.hue
        )
        box = pictures.Box(draw.top, draw.left, draw.height, draw.width)
        jitter = jitter if draw.jitter else None
        host = styles.CustomDraw(box, draw.flip, jitter, draw.grey, draw.sigma)
        difference = np.abs(mine - style.apply(image, host))
        means.append(difference.mean())
        if not draw.jitter:
            assert difference.max() <= 2
    assert np.mean(means) < 1.5 and max(means) < 3


@pytest.mark.eight_devices
def test_rows_hang_on_their_own_keys_on_any_number_of_devices():
    key = jax.random.key(3)
    found = transform(make_batch(IMAGES), key)["views"]
    again = transform(make_batch(IMAGES), key)["views"]
    np.testing.assert_array_equal(again["augmented"], found["augmented"])
    augmented = np.asarray(found["augmented"])
    assert augmented.min() >= 0 and augmented.max() <= 1
    # The other rows of a batch change nothing, and equal images become different ones.
    other = IMAGES.copy()
    other[1:] = IMAGES[0]
    rows = np.asarray(transform(make_batch(other), key)["views"]["augmented"])
    np.testing.assert_allclose(rows[0], augmented[0], atol=1e-6)
    assert len(np.unique(rows.mean((1, 2, 3)).round(6))) == ROWS
    assert (
        np.abs(
            transform(make_batch(IMAGES), jax.random.key(4))["views"]["augmented"]
            - augmented
        ).mean()
        > 0.01
    )
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    spread = transform(jax.device_put(make_batch(IMAGES), split), key)["views"]
    assert not spread["augmented"].is_fully_replicated
    np.testing.assert_allclose(spread["augmented"], augmented, atol=1e-5)


def test_what_leaves_it_is_what_it_promises():
    image = batch_lib.ViewSpec((SIDE, SIDE, 3), "uint8", 0.0, 255.0)
    spec = batch_lib.Spec({"image": image, "other": image._replace(shape=(3,))}, None)
    promised = custom.Transform().spec(spec)
    assert set(promised.views) == {"image", "other", "augmented"}
    for key in (None, jax.random.key(0)):
        found = transform(make_batch(IMAGES), key)["views"]
        for name in ("image", "augmented"):
            view = promised.views[name]
            assert batch_lib.view_problem(np.asarray(found[name][0]), view) is None
        np.testing.assert_allclose(found["image"], IMAGES / np.float32(255), rtol=1e-6)
        assert (key is None) == np.array_equal(found["image"], found["augmented"])
    for changed, words in (
        (spec._replace(views={"photo": image}), "'image'.*photo"),
        (promised, "adds the view 'augmented'.*train_policy"),
        (spec._replace(views={"image": image._replace(shape=(8, 8, 1))}), "has shape"),
    ):
        with pytest.raises(errors.UserError, match=words):
            custom.Transform().spec(changed)


def test_a_run_augments_on_the_device_what_its_host_leaves_plain():
    path = f"{ROOT}/configs/mvmr/fashion.py:debug"
    run = run_lib.Run(config_lib.load(path, ["data.device_policy.name=custom"]))
    with pytest.raises(errors.UserError, match="config.data.train_policy"):
        _ = run.train_spec
    changes = ["data.device_policy.name=custom", "data.train_policy.name=None"]
    run = run_lib.Run(config_lib.load(path, changes))
    assert run.spec == run.train_spec and set(run.spec.views) == {"image", "augmented"}
    program = program_lib.Program(run, devices=jax.devices()[:1])
    with feed_lib.make(program, 0) as feed:
        batch = feed.read()
    assert set(batch["views"]) == {"image"}
    shapes = jax.eval_shape(program.initial_state), batch, program.root_keys
    _, metrics = jax.eval_shape(program.plain_step, *shapes)
    assert {"loss", "mse", "dc_zz"} <= set(metrics)
