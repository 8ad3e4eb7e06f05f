"""NT-Xent and InfoNCE are what plain loops make of their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
