"""Losses of pixels: plain loops, limits, unknown pixels, extreme logits."""

import functools

import jax
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.core import nested
from mvjax.losses import classification
from mvjax.losses import pixels

N, K = 40, 5
KINDS = ("cross_entropy", "focal", "balance", "sigmoid_focal", "rce", "ohem")
# By kind, of fields that are not the defaults.
SETTINGS = {
    "cross_entropy": {},
    "focal": dict(gamma=1.5),
    "balance": {},
    "sigmoid_focal": dict(gamma=0.7, alpha=0.4),
    "rce": dict(reverse=0.3),
    "ohem": dict(threshold=0.2, min_kept=9),
}


def draw():
    """Logits, and labels of which a fifth is unknown."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(N, K)).astype(np.float32)
    labels = generator.integers(-1, K, N)
    return logits, labels


def softmax(row):
    return np.exp(row - row.max()) / np.sum(np.exp(row - row.max()))


def slow(kind, logits, labels, settings):
    """A loop over the known pixels, in float64."""
    rows = [(np.float64(z), y) for z, y in zip(logits, labels) if y != -1]
    own = [softmax(z)[y] for z, y in rows]
    cost = [-np.log(p) for p in own]
    if kind == "focal":
        cost = [(1 - p) ** settings["gamma"] * c for p, c in zip(own, cost)]
    elif kind == "balance":
        cost = [(1 - softmax(np.exp(z))[y]) ** 2 * c for (z, y), c in zip(rows, cost)]
    elif kind == "sigmoid_focal":
        cost = []
        for z, y in rows:
            total = 0
            for k in range(K):
                p = 1 / (1 + np.exp(-z[k] if k == y else z[k]))
                share = settings["alpha"] if k == y else 1 - settings["alpha"]
                total -= share * (1 - p) ** settings["gamma"] * np.log(p)
            cost.append(total)
    elif kind == "rce":
        for i, (z, y) in enumerate(rows):
            truth = np.where(np.arange(K) == y, 1, 1e-9)
            cost[i] -= settings["reverse"] * np.sum(softmax(z) * np.log(truth))
    elif kind == "ohem":
        limit = max(settings["threshold"], sorted(own)[settings["min_kept"] - 1])
        cost = [c for p, c in zip(own, cost) if p <= limit]
    return np.mean(cost)


@functools.cache
def compiled(kind):
    """Value and gradient, of all shapes alike: compiling takes the time."""
    return jax.jit(jax.value_and_grad(pixels.Objective(kind, **SETTINGS[kind])))


@pytest.mark.parametrize("kind", KINDS)
def test_loss_matches_a_plain_loop_and_leaves_out_the_unknown(kind):
    logits, labels = draw()
    value, gradient = compiled(kind)(logits, labels)
    np.testing.assert_allclose(
        value, slow(kind, logits, labels, SETTINGS[kind]), rtol=1e-5
    )
    assert not np.any(np.asarray(gradient)[labels == -1])
    # The gradient against differences of the loop, of a pixel that each kind counts.
    place = (np.argmin(np.where(labels >= 0, logits[np.arange(N), labels], 99)), 1)
    step = np.zeros((N, K))
    step[place] = 1e-4
    both = [slow(kind, logits + s * step, labels, SETTINGS[kind]) for s in (1, -1)]
    np.testing.assert_allclose(
        gradient[place], (both[0] - both[1]) / 2e-4, rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_logits_have_finite_gradients(kind):
    # Right, wrong, unknown, and a tie of the two largest.
    rows = np.array([[1, -1, 0, 0, 0]] * 3 + [[1, 1, -1, 0, 0]], np.float32)
    logits, labels = np.tile(rows, (N // 4, 1)), np.tile([0, 1, -1, 0], N // 4)
    for size in (50.0, 1e4, 1e30):
        value, gradient = compiled(kind)(np.float32(size) * logits, labels)
        assert np.isfinite(value) and np.all(np.isfinite(gradient)), size


@pytest.mark.parametrize("kind", KINDS)
def test_without_known_pixels_all_is_zero(kind):
    logits, labels = draw()
    value, gradient = compiled(kind)(logits, np.full_like(labels, -1))
    assert value == 0 and not np.any(gradient)


def test_limits_are_the_cross_entropy():
    logits, labels = draw()
    known = int(np.sum(labels >= 0))

    @jax.jit
    def run(logits):
        return classification.cross_entropy(logits, labels), {
            "exponent 0": pixels.focal(logits, labels, gamma=0),
            # Fewer known pixels, or fewer pixels, than are to be kept: all are.
            "few known": pixels.hardest(
                logits, labels, threshold=0.0, min_kept=known + 1
            ),
            "few": pixels.hardest(logits, labels, threshold=0.0, min_kept=10 * N),
        }

    expected, found = run(logits)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=name)


def test_the_released_reverse_term_counts_misses_and_teaches_nothing():
    logits, labels = draw()
    misses = np.sum((logits.argmax(axis=1) != labels) & (labels != -1)) / N

    @jax.jit
    @jax.value_and_grad
    def term(x):
        both = pixels.with_reverse(x, labels, weight=0.5, released=True)
        return both - classification.cross_entropy(x, labels)

    value, gradient = term(logits)
    np.testing.assert_allclose(value, 0.5 * misses * -np.log(1e-9), rtol=1e-5)
    assert misses and not np.any(gradient)


def test_a_field_of_another_kind_is_refused_by_name():
    with pytest.raises(errors.UserError, match="min_kept .* kind=focal reads gamma"):
        nested.build(pixels.Objective, "objective", dict(kind="focal", min_kept=5))
    with pytest.raises(
        errors.UserError, match="Choices: balance, cross_entropy, focal"
    ):
        nested.build(pixels.Objective, "objective", dict(kind="dice"))
