"""Bounds on mutual information: recordings, closed forms, loops, safe gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.losses import mutual_information
from tests import dim_golden_losses
from tests import golden_data

NAMES = ("dv", "infonce", "jsd", "nwj", "smile")
B, K, P = 5, 3, 2
EACH = pytest.mark.parametrize("name", NAMES)


# Many small operations take their time to compile one by one.
bound_of = jax.jit(mutual_information.estimate, static_argnums=0)
loss_of = jax.jit(mutual_information.loss, static_argnums=0)


def draw(*positions):
    generator = np.random.default_rng(0)
    joint = 1 + generator.normal(size=(B, *positions))
    marginal = generator.normal(size=(B, K, *positions))
    return joint.astype(np.float32), marginal.astype(np.float32)


def bound_of_one_position(name, joint, marginal, tau):
    """The bound by loops, from `[B]` and `[B, K]`."""
    joint, marginal = joint.astype(np.float64), marginal.astype(np.float64)
    positive, negatives = np.mean(joint), [t for row in marginal for t in row]
    if name == "dv":
        return positive - np.log(np.mean([np.exp(t) for t in negatives]))
    if name == "nwj":
        return positive - np.mean([np.exp(t - 1) for t in negatives])
    if name == "smile":
        clipped = [min(max(np.exp(t), np.exp(-tau)), np.exp(tau)) for t in negatives]
        return positive - np.log(np.mean(clipped))
    if name == "infonce":
        rows = []
        for t, row in zip(joint, marginal, strict=True):
            total = np.exp(t) + sum(np.exp(other) for other in row)
            rows.append(np.log(np.exp(t) / total) + np.log(len(row) + 1))
        return np.mean(rows)
    loss = np.mean([np.log1p(np.exp(-t)) for t in joint])
    loss += np.mean([np.log1p(np.exp(t)) for t in negatives])
    return np.log(4) - loss


@pytest.mark.parametrize("term", ["djs_global", "djs_local", "djs_extreme"])
def test_jsd_agrees_with_the_recording(term):
    case = golden_data.load(dim_golden_losses.FILE)
    dim_golden_losses.check_term(case, term)


def test_every_recorded_loss_of_dim_agrees():
    dim_golden_losses.check_losses(dim_golden_losses.FILE)


@EACH
@pytest.mark.parametrize("positions", [(), (1,), (P, P)])
def test_bound_matches_plain_loops(name, positions):
    joint, marginal = draw(*positions)
    flat = joint.reshape(B, -1), marginal.reshape(B, K, -1)
    rows = [
        bound_of_one_position(name, flat[0][:, p], flat[1][..., p], 0.5)
        for p in range(flat[0].shape[1])
    ]
    found = bound_of(name, joint, marginal, tau=0.5)
    np.testing.assert_allclose(found, np.mean(rows), rtol=1e-5, atol=1e-6)
    loss = loss_of(name, joint, marginal, tau=0.5)
    offset = np.log(4) if name == "jsd" else 0
    np.testing.assert_allclose(loss, offset - found, rtol=1e-6, atol=1e-6)
    assert loss.shape == () and loss.dtype == jnp.float32


def correlated_gaussians(correlation, count):
    """Pairs `[N]`, and the log of their density ratio as a function."""
    x, noise = np.random.default_rng(1).normal(size=(2, count))
    rest = 1 - correlation**2

    def ratio(x, y):
        return -0.5 * np.log(rest) - (y - correlation * x) ** 2 / (2 * rest) + y**2 / 2

    return x, correlation * x + np.sqrt(rest) * noise, ratio


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("name", ["dv", "infonce", "nwj", "smile"])
def test_optimal_critic_reaches_the_mutual_information(name, correlation):
    x, y, ratio = correlated_gaussians(correlation, 4000)
    negatives = np.stack([np.roll(y, -k - 1) for k in range(64)], axis=1)
    # The best critic of the NWJ bound is one more; the others take any constant.
    shift = 1 if name == "nwj" else 0
    found = bound_of(
        name, ratio(x, y) + shift, ratio(x[:, None], negatives) + shift, tau=20.0
    )
    # The scores deviate by 0.8 or less: 0.013 over 4000. InfoNCE lacks another 0.01.
    truth = -0.5 * np.log(1 - correlation**2)
    np.testing.assert_allclose(found, truth, atol=0.04)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_jsd_estimate_of_the_optimal_critic_is_twice_the_divergence(correlation):
    x, y, ratio = correlated_gaussians(correlation, 4000)
    negatives = np.stack([np.roll(y, -k - 1) for k in range(64)], axis=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    u, v = np.meshgrid(nodes, nodes)
    weights = np.outer(weights, weights) / (2 * np.pi)
    joint = ratio(u, correlation * u + np.sqrt(1 - correlation**2) * v)
    truth = np.log(4) - np.sum(
        weights * (np.logaddexp(0, -joint) + np.logaddexp(0, ratio(u, v)))
    )
    found = bound_of("jsd", ratio(x, y), ratio(x[:, None], negatives))
    np.testing.assert_allclose(found, truth, atol=0.02)
    assert truth <= -0.5 * np.log(1 - correlation**2) + 1e-6


@EACH
def test_blind_critic_finds_no_information(name):
    constant = 1.0 if name == "nwj" else 0.0
    joint, marginal = np.full((B, P), constant), np.full((B, K, P), constant)
    estimate = bound_of(name, joint, marginal)
    np.testing.assert_allclose(estimate, 0, atol=1e-6)


def test_jsd_at_zero_scores_is_two_ln_two():
    found = loss_of("jsd", np.zeros((B, 1)), np.zeros((B, 1, 1)))
    np.testing.assert_allclose(found, 2 * np.log(2), rtol=1e-6)


def test_infonce_never_exceeds_the_logarithm_of_its_choices():
    joint, marginal = np.full(B, 50.0), np.full((B, K), -50.0)
    found = bound_of("infonce", joint, marginal)
    np.testing.assert_allclose(found, np.log(K + 1), rtol=1e-6)


@EACH
def test_gradients_match_finite_differences(name):
    scores = draw(P)

    def differentiated(joint, marginal):
        # SMILE descends the JSD loss instead of its own clipped value.
        shown = "jsd" if name == "smile" else name
        return loss_of(shown, joint, marginal)

    gradients = jax.jit(
        jax.grad(mutual_information.loss, argnums=(1, 2)), static_argnums=0
    )(name, *scores)
    step = 1e-2  # Truncation 1e-5, rounding 1e-7 / step.
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            shift = [np.zeros_like(s) for s in scores]
            shift[which][index] = step
            up = differentiated(*(s + d for s, d in zip(scores, shift, strict=True)))
            down = differentiated(*(s - d for s, d in zip(scores, shift, strict=True)))
            np.testing.assert_allclose(
                gradient[index], (up - down) / (2 * step), atol=1e-4
            )


def test_smile_tends_to_donsker_varadhan_and_clips_its_negatives_only():
    joint, marginal = draw()
    wide = loss_of("smile", joint, marginal, tau=100.0)
    np.testing.assert_allclose(wide, loss_of("dv", joint, marginal), rtol=1e-6)
    found = bound_of("smile", 10 + joint, 100 + marginal)
    np.testing.assert_allclose(found, np.mean(10 + joint) - 5, rtol=1e-5)


@EACH
@pytest.mark.parametrize("size", [100.0, 1e3])
@pytest.mark.parametrize("signs", [(-1, -1), (-1, 1), (1, -1), (1, 1)])
def test_large_scores_stay_finite(name, size, signs):
    joint, marginal = draw(P)
    scores = joint + signs[0] * size, marginal + signs[1] * size
    average = None
    if name == "dv":
        average = mutual_information.update_average(np.zeros(()), scores[1])
        assert 0 < average < np.inf
    value, gradients = jax.jit(
        jax.value_and_grad(mutual_information.loss, argnums=(1, 2)), static_argnums=0
    )(name, *scores, average=average)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradients)


@pytest.mark.parametrize("average", [0.7, np.array([0.7, 2.0], np.float32)])
def test_mine_gradient_divides_by_the_moving_average(average):
    joint, marginal = draw(P)
    function = jax.jit(
        jax.value_and_grad(mutual_information.loss, argnums=(1, 2)), static_argnums=0
    )
    value, (by_joint, by_marginal) = function("dv", joint, marginal, average=average)
    np.testing.assert_array_equal(value, function("dv", joint, marginal)[0])
    np.testing.assert_allclose(by_joint, np.full_like(joint, -1 / joint.size))
    # d/dT' of mean exp T' / average, in the mean over P positions.
    expected = np.exp(marginal) / (B * K) / average / P
    np.testing.assert_allclose(by_marginal, expected, rtol=1e-5)


def test_mine_gradient_with_the_mean_of_the_batch_is_the_plain_one():
    joint, marginal = draw(P)
    mean = np.mean(np.exp(marginal), axis=(0, 1))
    function = jax.jit(jax.grad(mutual_information.loss, argnums=2), static_argnums=0)
    np.testing.assert_allclose(
        function("dv", joint, marginal, average=mean),
        function("dv", joint, marginal),
        rtol=1e-5,
    )


@pytest.mark.parametrize("shape", [(), (P,)])
def test_moving_average_starts_at_the_first_batch_and_decays(shape):
    _, first = draw(P)
    second = first + 1
    axes = (0, 1) if shape else None
    means = [np.mean(np.exp(s), axis=axes) for s in (first, second)]
    average = mutual_information.update_average(np.zeros(shape, np.float32), first)
    np.testing.assert_allclose(average, means[0], rtol=1e-5)
    moved = mutual_information.update_average(average, second, decay=0.9)
    np.testing.assert_allclose(moved, 0.9 * means[0] + 0.1 * means[1], rtol=1e-5)
    assert moved.shape == shape and moved.dtype == jnp.float32


def test_no_gradient_flows_through_the_moving_average():
    joint, marginal = draw()

    def loss(marginal):
        average = mutual_information.update_average(0.7, marginal, decay=0.5)
        return loss_of("dv", joint, marginal, average=average)

    average = 0.5 * 0.7 + 0.5 * np.mean(np.exp(marginal))
    expected = np.exp(marginal) / (B * K) / average
    np.testing.assert_allclose(jax.grad(loss)(marginal), expected, rtol=1e-5)


@pytest.mark.parametrize("positions", [(), (1,), (P, P)])
def test_off_diagonal_matches_a_double_loop(positions):
    scores = np.random.default_rng(2).normal(size=(B, B, *positions))
    scores = scores.astype(np.float32)
    expected = np.stack(
        [np.stack([scores[i, j] for j in range(B) if j != i]) for i in range(B)]
    )
    found = mutual_information.off_diagonal(scores)
    np.testing.assert_array_equal(found, expected)


@EACH
def test_all_pairs_match_an_explicit_double_loop(name):
    scores = np.random.default_rng(3).normal(size=(B, B)).astype(np.float32)
    others = [[scores[i, j] for j in range(B) if j != i] for i in range(B)]
    joint = np.array([scores[i, i] for i in range(B)])
    expected = bound_of_one_position(name, joint, np.array(others), 5.0)
    marginal = mutual_information.off_diagonal(scores)
    found = bound_of(name, jnp.diagonal(scores), marginal)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@EACH
def test_order_of_samples_and_of_negatives_does_not_matter(name):
    joint, marginal = draw(P)
    generator = np.random.default_rng(4)
    rows, columns = generator.permutation(B), generator.permutation(K)
    np.testing.assert_allclose(
        loss_of(name, joint[rows], marginal[rows][:, columns]),
        loss_of(name, joint, marginal),
        rtol=1e-5,
        atol=1e-6,
    )


@EACH
def test_half_precision_scores_are_summed_in_single(name):
    joint, marginal = (jnp.asarray(s, jnp.bfloat16) for s in draw(P))
    found = jax.jit(mutual_information.loss, static_argnums=0)(name, joint, marginal)
    assert found.dtype == jnp.float32


def test_mistakes_are_named():
    joint, marginal = draw()
    with pytest.raises(errors.UserError, match="'nwjj'.*'nwj'.*dv, infonce, jsd, nwj"):
        loss_of("nwjj", joint, marginal)
    with pytest.raises(errors.UserError, match="infonce"):
        bound_of("nce", joint, marginal)
    with pytest.raises(errors.UserError, match="not 'jsd'"):
        loss_of("jsd", joint, marginal, average=1.0)
    for wrong in (joint, marginal[:-1], marginal[:, :0], marginal[..., None]):
        with pytest.raises(errors.UserError, match=r"\[B, K, ...\] do not fit"):
            loss_of("jsd", joint, wrong)
    with pytest.raises(errors.UserError, match="moving average of shape"):
        mutual_information.update_average(np.zeros(P + 1), draw(P)[1])
    with pytest.raises(errors.UserError, match="no square"):
        mutual_information.off_diagonal(np.zeros((B, B + 1)))
