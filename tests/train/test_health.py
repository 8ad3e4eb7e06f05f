"""Collapse telemetry: the figures against plain NumPy, and what is said of their falls."""

import json

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from mvjax.train import health
from mvjax.train import sharding


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rotation(width, seed=7):
    return np.linalg.qr(normal(width, width, seed=seed).astype(np.float64))[0]


def figures(h, mask=None, name="shared"):
    """`[std, rank, dead]` of one representation."""
    mask = None if mask is None else jnp.asarray(mask)
    found = jax.jit(health.measure)({name: jnp.asarray(h)}, mask)
    return [float(found[f"health/{name}/{k}"]) for k in ("std", "rank", "dead")]


def reference(h):
    """The definitions, in float64 and through a full singular value decomposition."""
    h = np.asarray(h, np.float64).reshape(len(h), -1)
    std = h.std(axis=0)
    singular = np.linalg.svd(h[:256] - h[:256].mean(axis=0), compute_uv=False)
    share = singular[singular > 1e-3 * singular[0]]
    share = share / share.sum()
    rank = np.exp(-np.sum(share * np.log(share)))
    return [std.mean(), rank, np.mean(std < 1e-3 * std.max())]


@pytest.mark.parametrize(
    "shape", [(64, 10), (12, 40), (256, 256), (300, 20), (400, 300), (32, 5, 7)]
)
def test_figures_match_a_singular_value_decomposition(shape):
    h = normal(*shape) * np.linspace(0.01, 3, shape[-1], dtype=np.float32) + 5
    # Singular values carry half the digits of the float32 Gram matrix.
    np.testing.assert_allclose(figures(h), reference(h), rtol=5e-4)


@pytest.mark.parametrize(("rows", "width"), [(16, 9), (256, 40)])
def test_orthonormal_codes_have_full_rank(rows, width):
    h = normal(rows, width)
    q = np.linalg.qr(h - h.mean(axis=0))[0]  # As centred as the columns it comes from.
    assert figures(q + 3)[1] == pytest.approx(width, rel=1e-4)


def test_one_hot_codes_lose_only_the_direction_of_their_mean():
    h = np.tile(np.eye(8, dtype=np.float32), (50, 1))
    assert figures(h)[1] == pytest.approx(7, rel=1e-4)


@pytest.mark.parametrize(("rows", "width"), [(8, 4), (64, 64), (256, 512), (256, 128)])
def test_codes_on_one_line_have_rank_one(rows, width):
    h = normal(rows, 1) * normal(1, width, seed=1) + 3 * normal(1, width, seed=2)
    assert figures(h)[1] == pytest.approx(1, abs=1e-5)


def test_rank_ignores_scale_rotation_and_shift():
    h = normal(100, 24) * np.geomspace(1, 0.02, 24)
    whole = figures(h.astype(np.float32))[1]
    for changed in (1e-2 * h, 1e4 * h, h @ rotation(24), h + 30):
        assert figures(changed.astype(np.float32))[1] == pytest.approx(whole, rel=1e-3)


def test_dead_dimensions_are_those_that_hardly_vary():
    scale = np.array([1.0, 0.5, 2e-3, 2e-4, 0.0], np.float32)
    found = figures(normal(64, 5) * scale + 1)
    assert found[2] == pytest.approx(2 / 5)
    assert figures(100 * normal(64, 5) * scale)[2] == pytest.approx(2 / 5)


@pytest.mark.parametrize("rows", [2, 37, 300])
def test_constant_codes_are_wholly_dead(rows):
    h = np.tile(normal(1, 50), (rows, 1)) * 1000
    assert figures(h) == [0, 0, 1]
    std, rank, dead = figures(1e-8 * normal(rows, 50))
    assert 0 < std < 1e-7 and (rank, dead) == (0, 1)


def test_padding_and_broken_rows_change_nothing():
    h = normal(40, 12) * np.linspace(0.1, 2, 12, dtype=np.float32)
    expected = figures(h)
    padded = np.concatenate([1e3 * normal(3, 12, seed=1), h, np.zeros((5, 12))])
    mask = np.array([0] * 3 + [1] * 40 + [0] * 5)
    np.testing.assert_allclose(figures(padded, mask), expected, rtol=1e-5)
    broken = np.concatenate([np.full((1, 12), np.nan), h, [[np.inf] * 12]])
    np.testing.assert_allclose(figures(broken), expected, rtol=1e-5)


def test_fewer_than_two_rows_have_no_figures():
    assert np.isnan(figures(np.full((8, 3), np.nan, np.float32))).all()
    assert np.isnan(figures(normal(8, 3), np.arange(8) == 4)).all()
    assert health.measure({"shared": jnp.ones((1, 5))}) == {}


def test_low_precision_codes_are_measured_in_float32():
    h = jnp.asarray(normal(128, 32) + 4, jnp.bfloat16)
    found = jax.jit(health.measure)({"shared": h})
    assert {v.dtype for v in found.values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(figures(h), reference(h), rtol=5e-4)


def test_only_representations_are_measured():
    codes = jnp.asarray(normal(6, 3))
    outputs = {"shared": codes, "private/a": codes, "features/b": codes[..., None]}
    outputs |= {"embedding": codes, "embedding/a": codes}
    others = {
        "private": codes,
        "embeddings": codes,
        "logits": codes,
        "recon/a": codes,
        "features/length": codes.astype(jnp.int32),
        "private/score": codes[:, 0],
        "features/score": codes[:, :1],
    }
    found = jax.jit(health.measure)({**outputs, **others})
    assert {k.removeprefix("health/").rpartition("/")[0] for k in found} == set(outputs)


@pytest.mark.parametrize(("rows", "width"), [(320, 24), (16, 50)])
def test_eight_devices_find_what_one_finds(rows, width):
    mesh = sharding.make_mesh(dict(data=-1, fsdp=2, model=1))
    split = sharding.batch_sharding(mesh)
    whole = NamedSharding(mesh, PartitionSpec())
    outputs = {"shared": normal(rows, width), "features/a": normal(rows, 4, 3, seed=3)}
    mask = np.arange(rows) % 11 > 0
    one = jax.jit(health.measure)(*jax.device_put((outputs, mask), jax.devices()[0]))
    eight = jax.jit(health.measure, out_shardings=whole)(
        *jax.device_put((outputs, mask), split)
    )
    assert len(eight["health/shared/rank"].sharding.device_set) == 8
    for name, value in one.items():
        np.testing.assert_allclose(eight[name], value, rtol=1e-4, err_msg=name)


def say(watch, step, *, name="shared", **now):
    return watch.observe(
        step, {f"health/{name}/{k}": v for k, v in now.items()} | {"loss": 1.0}
    )


def test_a_fall_is_said_once_until_it_recovers():
    watch = health.Watch.make()
    said = {}
    for step, rank in enumerate([8.0, 9.6, 3.0, 1.8, 1.7, 2.5, 1.9, 9.0, 1.5, 1.5]):
        said[step] = say(watch, step, std=0.5, rank=rank, dead=0.0)
    assert [step for step, texts in said.items() if texts] == [3, 8]
    assert said[3] == [
        "step 3: shared may be collapsing: its effective rank fell to 1.8 (best 9.6 at "
        f"step 1); {health.ADVICE}"
    ]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (dict(std=0.049, rank=8.0, dead=0.1), "standard deviation fell to 0.049"),
        (dict(std=0.5, rank=1.99, dead=0.1), "effective rank fell to 2.0"),
        (dict(std=0.5, rank=8.0, dead=0.56), "live dimensions fell to 44%"),
    ],
)
def test_each_figure_has_its_words(now, words):
    watch = health.Watch.make()
    start = dict(std=0.5, rank=8.0, dead=0.1)
    assert say(watch, 10, **start) == []
    assert say(watch, 15, std=0.051, rank=2.01, dead=0.54) == []
    (text,) = say(watch, 20, **now)
    assert words in text and "at step 10)" in text and text.count("best") == 1


def test_falls_of_one_step_make_one_line_and_each_representation_its_own():
    watch = health.Watch.make()
    good, bad = dict(std=1.0, rank=9.0, dead=0.0), dict(std=0.01, rank=1.1, dead=0.8)
    for name in ("private/a", "private/b", "features/a"):
        say(watch, 1, name=name, **good)
    both = {
        f"health/{name}/{k}": v
        for name, now in (("private/a", bad), ("private/b", bad), ("features/a", good))
        for k, v in now.items()
    }
    texts = watch.observe(2, both)
    assert [t.split()[2] for t in texts] == ["private/a", "private/b"]
    assert texts[0].count("best") == 3


def test_codes_that_start_low_are_left_alone():
    watch = health.Watch.make()
    for step in range(5):
        assert say(watch, step, std=1e-3, rank=1.5 - step / 10, dead=0.9) == []


def test_complete_collapse_is_said_even_from_the_start_but_not_at_once():
    watch = health.Watch.make()
    dead = dict(std=0.0, rank=0.0, dead=1.0)
    said = [say(watch, step, **dead) for step in (1, 2, 3)]
    assert [len(texts) for texts in said] == [0, 1, 0]
    assert said[1][0].startswith("step 2: shared has collapsed: no dimension varies")
    fallen = health.Watch.make()
    say(fallen, 1, std=1.0, rank=5.0, dead=0.0)
    (text,) = say(fallen, 2, **dead)
    assert "has collapsed" in text
    assert say(fallen, 3, std=0.02, rank=1.0, dead=0.9) == []
    assert len(say(fallen, 4, **dead)) == 1


def test_figures_that_are_not_finite_or_not_known_are_passed_over():
    watch = health.Watch.make()
    say(watch, 1, std=1.0, rank=5.0, dead=0.0)
    before = watch.seen
    assert say(watch, 2, std=np.nan, rank=np.nan, dead=np.nan) == []
    assert watch.observe(3, {"health/skipped": 0.0, "shared/rank": 0.1}) == []
    assert watch.seen == before


def test_distances_at_the_floor_are_said_once_until_they_recover():
    shares = [0.4, 0.51, 0.9, 0.4, 0.9, 0.3, np.nan, 0.6]
    watch, said = health.Watch.make(), {}
    for step, share in enumerate(shares):
        watch = health.Watch.make(json.loads(json.dumps(watch.seen)))
        said[step] = watch.observe(step, {"clamped": share, "unclamped": 1.0})
    assert [step for step, texts in said.items() if texts] == [1, 7]
    assert said[1] == [
        "step 1: 51% of the distances between codes are at the floor of the loss, where "
        f"they teach nothing (metric clamped); {health.ADVICE}"
    ]
    both = {"a/clamped": 0.6, "health/shared/rank": 1.0, "health/shared/dead": 0.0}
    (text,) = watch.observe(8, both)
    assert "metric a/clamped" in text


def test_a_resumed_watch_goes_on_where_it_was():
    steps = list(enumerate([6.0, 9.0, 1.0, 1.2, 8.0, 1.0, 1.0]))
    whole = health.Watch.make()
    expected = [say(whole, s, std=1.0, rank=r, dead=0.0) for s, r in steps]
    assert sum(map(len, expected)) == 2
    for cut in range(len(steps)):
        first = health.Watch.make()
        start = [say(first, s, std=1.0, rank=r, dead=0.0) for s, r in steps[:cut]]
        second = health.Watch.make(json.loads(json.dumps(first.seen)))
        rest = [say(second, s, std=1.0, rank=r, dead=0.0) for s, r in steps[cut:]]
        assert start + rest == expected
        assert second.seen == whole.seen
