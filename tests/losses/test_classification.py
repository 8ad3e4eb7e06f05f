"""Cross entropy and accuracy: recorded values, plain loops, unknown labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.losses import classification
from tests import dim_golden_losses
from tests import golden_data

B, K = 6, 4
LABELS = np.array([0, 3, -1, 2, -1, 1])


def draw():
    return np.random.default_rng(0).normal(size=(B, K)).astype(np.float32)


def softmax(row):
    return np.exp(row) / np.sum(np.exp(row))


@pytest.mark.parametrize(
    "term", [f"{t}{k}" for t in ("classif", "plain_ce", "accuracy") for k in (10, 12)]
)
def test_term_agrees_with_the_recording(term):
    case = golden_data.load(dim_golden_losses.FILE)
    dim_golden_losses.check_term(case, term)


def test_cross_entropies_match_a_plain_loop_over_the_known():
    logits = draw()
    single, double = [], []
    for row, label in zip(logits, LABELS, strict=True):
        if label != -1:
            single.append(-np.log(softmax(row)[label]))
            double.append(-np.log(softmax(softmax(row))[label]))
    np.testing.assert_allclose(
        classification.cross_entropy(logits, LABELS), np.mean(single), rtol=1e-5
    )
    np.testing.assert_allclose(
        classification.double_softmax(logits, LABELS), np.mean(double), rtol=1e-5
    )


def test_unknown_samples_change_nothing_and_get_no_gradient():
    logits = draw()
    known = LABELS >= 0
    for function in (classification.cross_entropy, classification.double_softmax):
        np.testing.assert_allclose(
            function(logits, LABELS), function(logits[known], LABELS[known]), rtol=1e-6
        )
        gradient = np.asarray(jax.grad(function)(logits, LABELS))
        np.testing.assert_array_equal(gradient[~known], 0)
        assert np.all(np.any(gradient[known], axis=1))
    np.testing.assert_allclose(
        classification.accuracy(logits, LABELS),
        classification.accuracy(logits[known], LABELS[known]),
        rtol=1e-6,
    )


def test_without_known_labels_all_is_zero():
    logits, labels = draw(), np.full(B, -1)
    for function in (classification.cross_entropy, classification.double_softmax):
        value, gradient = jax.value_and_grad(function)(logits, labels)
        assert value == 0 and not np.any(gradient)
    assert classification.accuracy(logits, labels) == 0


def test_double_softmax_never_reaches_zero():
    certain = 100 * np.eye(10, dtype=np.float32)
    labels = np.arange(10)
    np.testing.assert_allclose(classification.cross_entropy(certain, labels), 0)
    # Right and wrong: softmax of a one-hot vector.
    right = np.log(np.e + 9) - 1
    np.testing.assert_allclose(
        classification.double_softmax(certain, labels), right, rtol=1e-6
    )
    np.testing.assert_allclose(
        classification.double_softmax(certain, (labels + 1) % 10), right + 1, rtol=1e-6
    )


def test_accuracy_gives_ties_to_the_first_index():
    logits = np.array([[1, 1, 0], [0, 2, 2], [0, 0, 0]], np.float32)
    assert classification.accuracy(logits, np.array([0, 1, 0])) == 1
    assert classification.accuracy(logits, np.array([1, 2, 2])) == 0


def test_accuracy_counts_labels_among_the_k_largest():
    logits = np.array([[3, 1, 2, 0], [3, 1, 2, 0], [np.nan, 1, 2, 0]], np.float32)
    labels = np.array([2, 3, 0])
    hits = [float(classification.accuracy(logits, labels, k=k)) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(hits, [0, 1 / 3, 1 / 3, 2 / 3], rtol=1e-6)
    # Of equal logits the first comes first; samples without a label do not count.
    even = np.zeros((3, 4), np.float32)
    found = classification.accuracy(even, np.array([1, 2, -1]), k=2)
    assert found == 0.5


def test_gradient_of_the_cross_entropy_is_softmax_minus_one_hot():
    logits, labels = draw(), np.arange(B) % K
    expected = np.stack([softmax(row) for row in logits]) - np.eye(K)[labels]
    gradient = jax.grad(classification.cross_entropy)(logits, labels)
    # Entries are differences of numbers of order 1, divided by B.
    np.testing.assert_allclose(gradient, expected / B, rtol=1e-5, atol=1e-7)


def test_gradient_of_the_double_softmax_matches_finite_differences():
    logits, labels = draw(), np.arange(B) % K
    gradient = np.asarray(jax.grad(classification.double_softmax)(logits, labels))
    step = 1e-2  # Truncation 1e-5 of the slope, rounding 1e-7 / step.
    for i in range(B):
        for k in range(K):
            shift = np.zeros_like(logits)
            shift[i, k] = step
            slope = (
                classification.double_softmax(logits + shift, labels)
                - classification.double_softmax(logits - shift, labels)
            ) / (2 * step)
            np.testing.assert_allclose(gradient[i, k], slope, atol=5e-5)


def test_labels_may_be_floats_and_logits_half_precision():
    logits, labels = draw(), np.arange(B) % K
    assert classification.cross_entropy(
        logits, labels.astype(np.float32)
    ) == classification.cross_entropy(logits, labels)
    half = jnp.asarray(logits, jnp.bfloat16)
    assert classification.double_softmax(half, labels).dtype == jnp.float32
    assert classification.accuracy(half, labels).dtype == jnp.float32


def test_smoothing_gives_every_class_its_share():
    logits = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 3, -1, 1, 2])
    truth = np.full((5, 4), 0.3 / 4)
    truth[np.arange(5), labels] += 0.7
    log_q = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(truth * log_q).sum(1)[labels >= 0].mean()
    found = classification.cross_entropy(logits, labels, smoothing=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_tags_that_are_unknown_count_nowhere():
    logits = np.array([[2.0, -3.0], [0.5, 80.0]], np.float32)
    tags = np.array([[1.0, -1.0], [0.0, 0.0]], np.float32)
    expected = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(0.5)) + 80.0) / 3
    found = classification.binary_cross_entropy(logits, tags)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    tags = np.array([[1, 255], [0, 0]], np.uint8)  # As data sets have it.
    found = classification.binary_cross_entropy(logits, tags)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
