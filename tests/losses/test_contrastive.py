"""NT-Xent and InfoNCE are what plain loops make of their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mvjax.losses import contrastive


def draw():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(5, 4)).astype(np.float32) for _ in "ab")


def units(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def cross_entropy(logits, right):
    return np.log(np.sum(np.exp(logits))) - logits[right]


def test_nt_xent_matches_a_plain_loop_and_optax():
    za, zb = draw()
    z = units(np.concatenate([za, zb]).astype(np.float64))
    losses = []
    for i in range(10):
        others = [j for j in range(10) if j != i]
        logits = np.array([z[i] @ z[j] for j in others]) / 0.3
        losses.append(cross_entropy(logits, others.index((i + 5) % 10)))
    found = jax.jit(contrastive.nt_xent)(za, zb, temperature=0.3)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-5)
    both = jnp.concatenate([za, zb])
    theirs = jax.jit(optax.losses.ntxent)(both, jnp.tile(jnp.arange(5), 2), 0.3)
    np.testing.assert_allclose(found, theirs, rtol=1e-5)


def test_info_nce_goes_one_way():
    za, zb = draw()
    cosines = units(za.astype(np.float64)) @ units(zb.astype(np.float64)).T
    losses = [cross_entropy(row / 0.5, i) for i, row in enumerate(cosines)]
    info_nce = jax.jit(contrastive.info_nce)
    found = info_nce(za, zb, temperature=0.5)
    np.testing.assert_allclose(found, np.mean(losses), rtol=1e-5)
    assert abs(found - info_nce(zb, za, temperature=0.5)) > 1e-3


def test_a_row_of_zeros_has_a_finite_gradient():
    za, zb = draw()
    za[2] = 0
    for loss in (contrastive.nt_xent, contrastive.info_nce):
        assert np.isfinite(jax.jit(jax.grad(loss))(za, zb)).all()


def test_retrieval_matches_a_plain_loop_with_ties_at_the_end():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(1, 6, 4))
    z = (base + 0.7 * rng.normal(size=(3, 6, 4))).astype(np.float32)
    rows, sample = units(z.reshape(18, 4).astype(np.float64)), np.arange(18) % 6
    near, found, precisions = rows @ rows.T, [], []
    for i in range(18):
        others = sorted((j for j in range(18) if j != i), key=lambda j: -near[i, j])
        hits = [sample[j] == sample[i] for j in others]
        found.append(sum(hits[:2]) / 2)
        places = [k for k, hit in enumerate(hits, 1) if hit]
        precisions.append(np.mean([(n + 1) / k for n, k in enumerate(places)]))
    score = jax.jit(contrastive.retrieval)(z)
    np.testing.assert_allclose(score.accuracy, np.mean(found), rtol=1e-5)
    np.testing.assert_allclose(score.precision, np.mean(precisions), rtol=1e-5)
    assert 0 < score.accuracy < 1
    alike = jax.jit(contrastive.retrieval)(np.ones((2, 5, 3), np.float32))
    assert alike.accuracy == 0
    assert jax.jit(contrastive.retrieval)(np.stack([z[0], z[0]])).accuracy == 1


def test_retrieval_of_a_large_batch_is_that_of_samples_spread_over_it():
    z = np.random.default_rng(2).normal(size=(2, 12, 3)).astype(np.float32)
    some = contrastive.retrieval(jnp.asarray(z), most=5)
    np.testing.assert_array_equal(some, contrastive.retrieval(jnp.asarray(z[:, ::3])))


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_retrieval_is_split_over_devices():
    count = jax.device_count()
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    z = jax.ShapeDtypeStruct((8 * count, 64), jnp.float32, sharding=rows)

    @jax.jit
    def find(za, zb):
        return contrastive.retrieval(jnp.stack([za, zb]))

    program = find.lower(z, z).compile()
    whole = 2 * (16 * count) ** 2 * 64  # FLOPs of all cosines.
    assert program.cost_analysis()["flops"] < 2 * whole / count
