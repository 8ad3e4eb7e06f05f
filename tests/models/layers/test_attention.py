"""Attention equals softmax written out, in values, gradients and what is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.models.layers import attention

HEADS = 3
SHAPES = {"query": (2, 5, 12), "key": (2, 7, 12), "value": (2, 7, 12)}
# Shapes of a bias, which broadcasts with [B, heads, T, S].
BIASES = {
    "none": None,
    "of all": (2, HEADS, 5, 7),
    "of heads": (HEADS, 5, 7),
    "of keys": (2, 1, 1, 7),
    "of pairs": (5, 7),
}


def draw(shape, seed):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(2 * values, jnp.float32)


def written_out(query, key, value, bias):
    """The definition, head by head and pair by pair, in float64 NumPy's order."""
    size = query.shape[-1] // HEADS
    mixed = []
    for h in range(HEADS):
        part = slice(h * size, (h + 1) * size)
        scores = query[..., part] @ jnp.swapaxes(key[..., part], 1, 2) / size**0.5
        if bias is not None:
            whole = jnp.broadcast_to(bias, (2, HEADS, 5, 7))
            scores = scores + whole[:, h]
        weights = jnp.exp(scores) / jnp.sum(jnp.exp(scores), axis=-1, keepdims=True)
        mixed.append(weights @ value[..., part])
    return jnp.concatenate(mixed, axis=-1)


@pytest.mark.parametrize("kind", BIASES)
def test_equals_the_definition_with_gradients(kind):
    inputs = [draw(shape, i) for i, shape in enumerate(SHAPES.values())]
    shape = BIASES[kind]
    inputs.append(None if shape is None else draw(shape, 3))
    wanted = draw((2, 5, 12), 4)
    which = tuple(range(4 if shape else 3))

    def ours(*inputs):
        *qkv, bias = inputs
        mixed, _ = attention.attend(*qkv, heads=HEADS, bias=bias)
        return jnp.sum(mixed * wanted), mixed

    def plain(*inputs):
        mixed = written_out(*inputs)
        return jnp.sum(mixed * wanted), mixed

    run = [
        jax.jit(jax.grad(f, argnums=which, has_aux=True))(*inputs)
        for f in (ours, plain)
    ]
    for actual, desired in zip(*map(jax.tree.leaves, run), strict=True):
        assert actual.shape == desired.shape
        # A sum of a few products of numbers up to about ten, in float32.
        np.testing.assert_allclose(actual, desired, rtol=1e-4, atol=2e-5)


def test_dropout_that_drops_nothing_changes_nothing():
    inputs = [draw(shape, i) for i, shape in enumerate(SHAPES.values())]

    def total(inputs, drop):
        mixed, _ = attention.attend(*inputs, heads=HEADS, drop=drop)
        return jnp.sum(mixed**3)

    actual = jax.value_and_grad(total)(inputs, None)
    desired = jax.value_and_grad(total)(inputs, lambda weights: weights)
    for a, d in zip(jax.tree.leaves(actual), jax.tree.leaves(desired), strict=True):
        np.testing.assert_allclose(a, d, rtol=1e-4, atol=1e-4)


def test_hidden_keys_get_nothing_and_a_row_hidden_as_a_whole_has_finite_gradients():
    query, key, value = (draw(shape, i) for i, shape in enumerate(SHAPES.values()))
    hidden = jnp.zeros((2, 1, 1, 7)).at[0, ..., 4:].set(-jnp.inf)

    def total(key, value, bias):
        mixed, weights = attention.attend(query, key, value, heads=HEADS, bias=bias)
        return jnp.sum(mixed**2), weights

    (dkey, dvalue), weights = jax.grad(total, argnums=(0, 1), has_aux=True)(
        key, value, hidden
    )
    assert not np.any(weights[0, ..., 4:])
    for found in (dkey, dvalue):
        assert np.isfinite(found).all()
        assert not np.any(found[0, 4:])
        assert np.all(found[1])
    # As BERT hides padding: the scores of row 0 are then all alike.
    least = jnp.zeros((2, 1, 1, 7)).at[0].set(jnp.finfo(jnp.float32).min)
    dvalue = jax.grad(lambda v: total(key, v, least)[0])(value)
    mixed = jnp.mean(value[0], axis=0)  # Of each of the 5 queries.
    np.testing.assert_allclose(
        dvalue[0], jnp.broadcast_to(5 * 2 * mixed / 7, (7, 12)), rtol=1e-4, atol=1e-5
    )


def test_nothing_as_large_as_the_scores_is_kept_for_the_way_back():
    query, key, value = (jnp.ones((1, 64, 4)) for _ in range(3))

    def mixed(*inputs):
        return attention.attend(*inputs, heads=2)[0]

    _, back = jax.vjp(mixed, query, key, value)
    sizes = [leaf.size for leaf in jax.tree.leaves(back) if hasattr(leaf, "size")]
    assert sizes and max(sizes) <= query.size


def test_bfloat16_stays_near_float32():
    inputs = [draw(shape, i) for i, shape in enumerate(SHAPES.values())]
    low = [x.astype(jnp.bfloat16) for x in inputs]

    def total(inputs):
        mixed, _ = attention.attend(*inputs, heads=HEADS)
        return jnp.sum(mixed.astype(jnp.float32) ** 2)

    actual = jax.grad(total)(low)
    desired = jax.grad(total)([x.astype(jnp.float32) for x in low])
    for a, d in zip(actual, desired, strict=True):
        assert a.dtype == jnp.bfloat16
        scale = float(jnp.abs(d).max())
        np.testing.assert_allclose(a.astype(jnp.float32), d, atol=3e-2 * scale)
