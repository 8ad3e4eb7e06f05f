"""SDIM and EDIM beside the recordings: options, more views, conversion, bad configs."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.convert import torch_map
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.data import batch as batch_lib
from mvjax.methods import edim
from mvjax.methods import sdim
from mvjax.models import dim
from mvjax.ops import colouring
from mvjax.transforms import colouring as colouring_lib

SMALL = dict(
    image_shapes=((18, 18, 3), (18, 18, 3)),
    filters=2,
    shared_dim=3,
    critic_hidden=8,
)
KEY = jax.random.key(0)
CONFIGS = pathlib.Path(__file__).parents[2] / "configs/dim"


def make_batch(shapes, size=6, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "views": {k: rng.random((size, *s), np.float32) for k, s in shapes.items()},
        "label": rng.integers(0, 3, size).astype(np.int32),
        "index": np.arange(size, dtype=np.int32),
    }


BATCH = make_batch({"x": (18, 18, 3), "y": (18, 18, 3)})


def losses_and_gradient(method, batch, seed=0):
    variables = method.init(jax.random.key(seed), batch)

    def loss(params):
        return method.loss({**variables, "params": params}, batch, KEY)

    (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        variables["params"]
    )
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    return float(value), aux, grads, variables


# Each bound and each kind once; all pairs of them with `-m slow`.
@pytest.mark.parametrize(
    ("bound", "negatives"),
    [
        pytest.param(bound, negatives, marks=() if i % 3 == j else pytest.mark.slow)
        for i, bound in enumerate(sdim.BOUNDS)
        for j, negatives in enumerate(dim.NEGATIVES)
    ],
)
def test_every_bound_takes_every_kind_of_negatives(bound, negatives):
    method = sdim.Method(bound=bound, negatives=negatives, **SMALL)
    _, aux, grads, variables = losses_and_gradient(method, BATCH)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads["shared_x"]["dense"]))
    if bound == "dv":  # The moving average has moved.
        assert float(variables["moving"]["local_x"]["average"]) == 0
        assert float(aux.model_state["moving"]["local_x"]["average"]) > 0


def test_all_pairs_are_the_double_loop():
    critic = dim.Critic(local=True, hidden=5)
    maps = jax.random.normal(KEY, (4, 2, 3, 6))
    code = jax.random.normal(jax.random.key(1), (4, 2))
    shapes = critic.init(KEY, maps, code)
    flat, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(KEY, len(flat))
    flat = [jax.random.normal(k, x.shape) for k, x in zip(keys, flat, strict=True)]
    variables = jax.tree.unflatten(tree, flat)
    joint, pairs = critic.apply(variables, maps, code, negatives="all_pairs")
    for i in range(4):
        for j in range(4):
            alone, _ = critic.apply(variables, maps[j : j + 1], code[i : i + 1])
            np.testing.assert_allclose(pairs[i, j], alone[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pairs[jnp.arange(4), jnp.arange(4)], joint, rtol=1e-5)
    _, rolled = critic.apply(variables, maps, code)
    _, same = critic.apply(
        variables,
        maps,
        code,
        negatives="permutation",
        permutation=jnp.array([1, 2, 3, 0]),
    )
    np.testing.assert_array_equal(rolled, same)


def test_drawn_negatives_never_meet_themselves():
    # The scores of a permutation would equal the joint ones where a sample met itself.
    method = sdim.Method(negatives="permutation", **SMALL)
    variables = method.init(KEY, BATCH)
    codes, maps, _ = method.encode(variables, BATCH["views"], "shared", train=True)
    pairs = {(v, u): codes[u] for v in "xy" for u in method.partners(v)}
    seen = []
    original = method.apply

    def spy(variables, name, *args, **kwargs):
        if "permutation" in kwargs:
            seen.append(np.asarray(kwargs["permutation"]))
        return original(variables, name, *args, **kwargs)

    object.__setattr__(method, "apply", spy)
    for seed in range(5):
        method.mutual_information(variables, maps, pairs, jax.random.key(seed))
    assert seen
    for order in seen:
        assert sorted(order) == list(range(6))
        assert (order != np.arange(6)).all()


@pytest.mark.parametrize(
    "independence",
    [
        pytest.param(kind, marks=() if kind == "gan" else pytest.mark.slow)
        for kind in edim.INDEPENDENCE
    ],
)
def test_independence_trains_the_private_encoders_alone(independence):
    method = edim.Method(
        independence=independence,
        exclusive_dim=2,
        local_mutual_loss_coeff=0.0,
        global_mutual_loss_coeff=0.0,
        **SMALL,
    )
    _, aux, grads, _ = losses_and_gradient(method, BATCH)
    assert np.any(grads["private_x"]["dense"]["kernel"])
    assert not any(np.any(g) for g in jax.tree.leaves(grads["shared_x"]))
    trained = method.updates[0].trains
    assert not any(name.startswith("shared") for name in trained)
    assert "shared_x" not in aux.model_state["batch_stats"]
    beside = {"gan": "discriminator_x", "club": "estimator_x"}.get(independence)
    if beside:
        assert any(np.any(g) for g in jax.tree.leaves(grads[beside]))


def test_the_generators_gradient_does_not_reach_the_discriminator():
    fields = dict(exclusive_dim=2, **SMALL)
    variables = edim.Method(**fields).init(KEY, BATCH)

    def gradient(kind):
        method = edim.Method(adversarial=kind, **fields)

        def loss(params):
            return method.loss({**variables, "params": params}, BATCH, KEY)[0]

        return jax.jit(jax.grad(loss))(variables["params"])

    a, b = gradient("non_saturating"), gradient("minimax")
    same = jax.tree.map(np.array_equal, a["discriminator_x"], b["discriminator_x"])
    assert all(jax.tree.leaves(same))
    assert not np.array_equal(
        a["private_x"]["dense"]["kernel"], b["private_x"]["dense"]["kernel"]
    )


def test_unswitched_pairs_each_view_with_its_own_code():
    variables = edim.Method(exclusive_dim=2, **SMALL).init(KEY, BATCH)
    values = [
        float(
            edim.Method(switched=s, exclusive_dim=2, **SMALL).loss(
                variables, BATCH, KEY
            )[0]
        )
        for s in (True, False)
    ]
    assert values[0] != values[1]
    assert sdim.Method(switched=False, **SMALL).partners("x") == ("x",)


@pytest.mark.slow
def test_three_views_of_different_shapes_and_encoders():
    shapes = {"a": (20, 18, 1), "b": (19, 19, 4), "c": (7,)}
    fields = dict(
        views=("a", "b", "c"),
        image_shapes=tuple(shapes.values()),
        encoders=("conv", "conv", "mlp"),
        filters=2,
        shared_dim=3,
        critic_hidden=8,
        probes=(("label", "label", "c", 3),),
    )
    batch = make_batch(shapes)
    spec = batch_lib.Spec(
        {k: batch_lib.ViewSpec(s, "float32", 0, 1) for k, s in shapes.items()}, 3
    )
    for method in (sdim.Method(**fields), edim.Method(exclusive_dim=2, **fields)):
        method.check(spec)
        _, aux, _, variables = losses_and_gradient(method, batch)
        codes = method.predict(variables, batch)
        assert codes["shared/c"].shape == (6, 3)
        np.testing.assert_allclose(
            codes["shared"],
            (codes["shared/a"] + codes["shared/b"] + codes["shared/c"]) / 3,
            rtol=1e-6,
        )
        assert 0 <= float(aux.metrics["label_accuracy"]) <= 1
        assert method.torch_tables() == {}


def test_dead_biases_stay_and_others_move():
    method = sdim.Method(**SMALL)
    _, _, grads, _ = losses_and_gradient(method, BATCH)
    assert not np.any(grads["shared_x"]["conv2"]["bias"])
    free = dataclasses.replace(method, freeze_dead_biases=False)
    _, _, noisy, _ = losses_and_gradient(free, BATCH)
    assert np.any(noisy["shared_x"]["conv2"]["bias"])  # Rounding, which Adam enlarges.
    assert np.max(np.abs(noisy["shared_x"]["conv2"]["bias"])) < 1e-5


@pytest.mark.parametrize("kind", [sdim.Method, edim.Method])
def test_conversion_is_exact_both_ways(kind):
    method = kind(probes=(("p", "label", "x", 3),), probe_norm_logits=True, **SMALL)
    variables = jax.tree.map(np.asarray, method.init(KEY, BATCH))
    whole, *singles = method.torch_tables().items()
    tensors = torch_map.to_torch(whole[1], variables)
    assert tensors["global_stat_x.dense1.weight"].ndim == 2
    assert tensors["local_stat_x.conv1.weight"].shape[2:] == (1, 1)
    back, _ = torch_map.to_flax(whole[1], tensors)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    assert {name for name, _ in singles} >= {"shared_x", "shared_y"}
    for name, leaves in singles:
        part = {k: {name: v[name]} for k, v in variables.items()}
        assert "conv1.weight" in torch_map.to_torch(leaves, part)


@pytest.mark.parametrize("kind", [sdim.Method, edim.Method])
def test_what_whole_files_lack_for_the_published_class_is_told(kind):
    plain = kind(probes=(("digit", "label", "x", 10),), **SMALL)
    released = dataclasses.replace(plain, probe_norm_logits=True)
    name, *_ = plain.torch_tables()
    keys = [
        {key for leaf in method.torch_tables()[name] for key in leaf.torch_names}
        for method in (plain, released)
    ]
    assert all(".bn3." in key for key in keys[1] - keys[0]) and keys[1] > keys[0]
    assert list(plain.torch_notes()) == [name]
    for text in ("bn3", "config.method.probe_norm_logits=True", "variant=released"):
        assert text in plain.torch_notes()[name]
    assert released.torch_notes() == {}
    assert dataclasses.replace(plain, probes=()).torch_notes() == {}


def test_colours_are_new_in_each_epoch_and_the_same_in_any_batch():
    index = jnp.array([5, 17, 900])
    first = colouring.draw(3, jnp.int32(0), index)
    again = colouring.draw(3, jnp.int32(0), index[::-1])
    np.testing.assert_array_equal(first[0], again[0][::-1])
    many = jnp.arange(4000)
    a, b = colouring.draw(3, jnp.int32(0), many)
    c, _ = colouring.draw(3, jnp.int32(1), many)
    assert 0.05 < float(jnp.mean(a == c)) < 0.12  # One in twelve by chance.
    assert 0.05 < float(jnp.mean(a == b)) < 0.12
    assert set(np.unique(a)) == set(range(12))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(bound="jds"), "jsd"),
        (dict(negatives="none"), "all_pairs"),
        (dict(views=("a", "b")), "views 'a'.*x, y"),
        (dict(encoders=("conv",)), "one entry"),
        (dict(encoders=("conv", "vgg")), "mlp"),
        (dict(image_shapes=((18, 18, 3), (17, 17, 3))), "'y' has shape"),
        (dict(probes=(("p", "colour", "x", 3),)), "label"),
        (dict(probes=(("p", "label", "z", 3),)), "x, y"),
        (dict(probes=(("p", "label", "x", 2),)), "2 classes"),
    ],
)
def test_bad_configs_are_refused_by_name(fields, message):
    view = batch_lib.ViewSpec((18, 18, 3), "float32", 0, 1)
    spec = batch_lib.Spec({"x": view, "y": view}, 3)
    method = sdim.Method(**{**SMALL, **fields})
    with pytest.raises(errors.UserError, match=message):
        method.check(spec)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (batch_lib.ViewSpec((18, 18, 3), "float32", 0, 255), "float images are in"),
        (batch_lib.ViewSpec((3, 18, 18), "uint8", 0, 255), "channels first"),
    ],
)
def test_views_that_are_no_images_are_refused(view, message):
    spec = batch_lib.Spec({"x": view, "y": view}, 3)
    with pytest.raises(errors.UserError, match=message):
        sdim.Method(**SMALL).check(spec)


def test_digits_that_nobody_colours_are_refused_with_the_setting_that_does():
    grey = batch_lib.ViewSpec((18, 18, 1), "uint8", 0, 255)
    factors = {"color_bg": 12, "color_fg": 12}
    spec = batch_lib.Spec({"digit": grey}, 10, factors)
    method = sdim.Method(**SMALL)
    with pytest.raises(errors.UserError, match="device_policy.name=colouring"):
        method.check(spec)
    method.check(colouring_lib.Transform().spec(spec))
    larger = batch_lib.Spec({"digit": grey._replace(shape=(20, 20, 1))}, 10, factors)
    with pytest.raises(errors.UserError, match="image_shapes"):
        method.check(colouring_lib.Transform().spec(larger))


def renewed(method, **data):
    sdim.Method.renew(method, data)
    return method, data


def test_settings_of_older_versions_become_those_of_the_transform():
    former = dict(
        colours="mnist", redraw=False, color_seed=7, views=("a", "b"), bound="dv"
    )
    policy = dict(name="colouring", views=("a", "b"), redraw=False, seed=7)
    kept = dict(views=("a", "b"), bound="dv")
    assert renewed(dict(former)) == (kept, dict(device_policy=policy))
    assert renewed(former | {"colours": "none"}) == (kept, {})
    usual = dict(name="colouring", views=("x", "y"), redraw=True, seed=0)
    assert renewed({"colours": "mnist"}, limit=3) == (
        {},
        dict(limit=3, device_policy=usual),
    )
    other = dict(name="photometry")
    assert (
        renewed({"colours": "mnist"}, device_policy=other)[1]["device_policy"] == other
    )
    for method in ({"colours": "mnits"}, {"redraw": True}, {}):  # Not of that kind.
        assert renewed(dict(method)) == (method, {})


def test_an_image_too_small_for_the_encoder_is_refused():
    view = batch_lib.ViewSpec((12, 12, 3), "float32", 0, 1)
    spec = batch_lib.Spec({"x": view, "y": view}, 3)
    method = sdim.Method(**{**SMALL, "image_shapes": ((12, 12, 3),) * 2})
    with pytest.raises(errors.UserError, match="too small"):
        method.check(spec)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [sdim.Method, edim.Method])
def test_eight_devices_give_the_loss_and_gradients_of_one(kind):
    # Negatives, batch norm and means are of the global batch.
    assert jax.device_count() == 8
    batch = make_batch({"x": (18, 18, 3), "y": (18, 18, 3)}, size=16)
    method = kind(probes=(("p", "label", "x", 3),), **SMALL)
    variables = method.init(KEY, batch)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=auto)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = jax.device_put(batch, rows)

    @jax.jit
    def gradient(params, batch):
        def loss(params):
            return method.loss({**variables, "params": params}, batch, KEY)[0]

        return jax.value_and_grad(loss)(params)

    one, one_grads = gradient(variables["params"], batch)
    eight, eight_grads = gradient(variables["params"], spread)
    np.testing.assert_allclose(one, eight, rtol=1e-5)
    for a, b in zip(
        jax.tree.leaves(one_grads), jax.tree.leaves(eight_grads), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4 * np.abs(a).max() + 1e-7)


def test_published_names_belong_to_settings_and_tables_that_exist():
    settings, tables = set(), set()
    for stage, module in (("sdim", sdim), ("edim", edim)):
        config = config_lib.load(str(CONFIGS / f"{stage}.py"))
        settings |= {f"method.{key}" for key in config.method}
        tables |= set(module.Method().torch_tables())
    assert set(sdim.Method().published_settings().values()) <= settings
    assert set(edim.Method().artifact_names()) <= tables
