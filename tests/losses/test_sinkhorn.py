"""Transport agrees with plain loops, assignments and differences, in every mode."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy import special

from mvjax.core import errors
from mvjax.losses import sinkhorn

MODES = ("official", "converged", "exact_1d")


def draw(n=7, m=7, *, batch=2, width=1, scale=1.0, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(batch, n, width))
    y = 1.5 * generator.normal(size=(batch, m, width)) + 0.5
    return scale * x, scale * y


def two_places(distance, *, n=17):
    """Nearly all of x is in one place and nearly all of y in another, far away.

    Each step changes the scalings by a factor of about n, and many are needed.
    """
    x, y = draw(n, n, batch=1, scale=0.1)
    x[:, 1:] += distance
    y[:, :1] += distance
    return x, y


def official(x, y, *, epsilon=0.5, max_iterations=30, threshold=0.1):
    """Costs and number of steps of the released loop, in float64."""
    batch, n, m = len(x), x.shape[1], y.shape[1]
    cost = np.sum((x[:, :, None] - y[:, None]) ** 2, axis=-1)
    u, v = np.zeros((batch, n)), np.zeros((batch, m))
    steps, change = 0, math.inf
    while steps < max_iterations and not change < threshold:
        steps, change = steps + 1, 0
        for b in range(batch):
            before = u[b].copy()
            exponent = (u[b][:, None] + v[b] - cost[b]) / epsilon
            u[b] += epsilon * (
                math.log(1 / n + 1e-8) - special.logsumexp(exponent, axis=1)
            )
            exponent = (u[b][:, None] + v[b] - cost[b]) / epsilon
            v[b] += epsilon * (
                math.log(1 / m + 1e-8) - special.logsumexp(exponent, axis=0)
            )
            change += np.sum(np.abs(u[b] - before)) / batch
    plan = np.exp((u[:, :, None] + v[:, None] - cost) / epsilon)
    return np.sum(plan * cost, axis=(1, 2)), plan, steps


def assigned(x, y):
    """Least mean squared distance; points are copied until there are as many of both."""
    count = math.lcm(len(x), len(y))
    x, y = np.repeat(x, count // len(x)), np.repeat(y, count // len(y))
    cost = (x[:, None] - y) ** 2
    return np.mean(cost[optimize.linear_sum_assignment(cost)])


def is_safe(x, y, **settings):
    defaults = dict(epsilon=0.5, max_iterations=30, threshold=0.1)
    cost = jnp.sum((x[:, :, None] - y[:, None]) ** 2, axis=-1)
    settings = sinkhorn._Settings(**(defaults | settings))
    return bool(sinkhorn._scale(cost, settings).safe)


def assert_gradient_is_slope(x, y, step=1e-5, **options):
    """Central differences in float64 along every coordinate of x and of y."""

    @jax.jit
    def value(x, y):
        cost = sinkhorn.transport_cost(x, y, **options).cost
        return jnp.vdot(cost, jnp.arange(1.0, 1 + len(cost)))

    points = [x, y]
    gradients = jax.jit(jax.grad(value, (0, 1)))(x, y)
    for side, gradient in enumerate(gradients):
        slopes = np.zeros_like(points[side])
        for index in np.ndindex(slopes.shape):
            shifted = [points.copy(), points.copy()]
            for sign, both in zip((1, -1), shifted):
                both[side] = both[side].copy()
                both[side][index] += sign * step
            slopes[index] = (value(*shifted[0]) - value(*shifted[1])) / (2 * step)
        largest = np.max(np.abs(slopes))
        # Truncation is step^2 times a third derivative, rounding 1e-16 / step.
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-6 * largest)


@pytest.mark.parametrize(
    ("points", "safe"),
    [
        (lambda: draw(9, 6), True),
        (lambda: draw(9, 6, width=3, scale=4), True),
        (lambda: two_places(9), False),
    ],
)
def test_official_matches_plain_loops_by_scalings_and_by_logs(points, safe):
    x, y = (z.astype(np.float32) for z in points())
    assert is_safe(x, y) == safe
    cost, plan, steps = official(x.astype(np.float64), y.astype(np.float64))
    found = jax.jit(sinkhorn.transport_cost)(x, y)
    assert found.iterations == steps
    # Exponents are a few hundred at most, and float32 rounds them to 6e-8 of that.
    np.testing.assert_allclose(found.cost, cost, rtol=1e-4)
    np.testing.assert_allclose(found.plan, plan, rtol=0, atol=1e-4 * plan.max())
    np.testing.assert_allclose(found.mass, plan.sum(axis=(1, 2)), rtol=1e-4)
    n, m = plan.shape[1:]
    marginal = np.abs(plan.sum(axis=2) - 1 / n).sum(axis=1)
    marginal += np.abs(plan.sum(axis=1) - 1 / m).sum(axis=1)
    np.testing.assert_allclose(found.marginal_error, marginal, atol=1e-4)


@pytest.mark.parametrize(
    ("points", "options", "safe"),
    [
        (lambda: draw(8, 6, width=2), dict(), True),
        (lambda: draw(5, 6), dict(max_iterations=1), True),
        (lambda: two_places(25), dict(max_iterations=300), False),
    ],
)
def test_official_gradient_is_that_of_the_executed_steps(points, options, safe):
    with jax.enable_x64():
        x, y = points()
        assert is_safe(x, y, **options) == safe
        assert_gradient_is_slope(x, y, **options)


def test_both_ways_of_the_official_mode_agree():
    settings = sinkhorn._Settings(0.5, 30, 0.01)
    with jax.enable_x64():
        x, y = draw(11, 8, batch=3)
        cost = jnp.sum((x[:, :, None] - y[:, None]) ** 2, axis=-1)
        assert sinkhorn._scale(cost, settings).safe
        found = []
        for way in (sinkhorn._plan, sinkhorn._plan_in_logs):
            planned, pull = jax.vjp(lambda c, way=way: way(c, settings).plan, cost)
            found.append((planned, pull(cost**2)[0]))
            expected = official(x, y, threshold=0.01)[1]
            np.testing.assert_allclose(planned, expected, rtol=1e-9)
        for scaled, in_logs in zip(*found, strict=True):
            np.testing.assert_allclose(scaled, in_logs, rtol=1e-9, atol=1e-15)


def test_converged_gradient_is_that_of_the_fixed_point():
    with jax.enable_x64():
        assert_gradient_is_slope(
            *draw(5, 6), mode="converged", converged_threshold=1e-11, step=1e-4
        )


@pytest.mark.parametrize("m", [7, 4])
def test_exact_gradient_is_that_of_the_matching(m):
    with jax.enable_x64():
        assert_gradient_is_slope(*draw(7, m), mode="exact_1d")


def test_converged_is_the_limit_of_many_steps():
    x, y = draw(9, 6)
    expected, plan, _ = official(x, y, max_iterations=1000, threshold=1e-7)
    solve = jax.jit(functools.partial(sinkhorn.transport_cost, mode="converged"))
    found = solve(x.astype(np.float32), y.astype(np.float32))
    # The solver stops at an error of the marginals of 1e-6, the plan's is larger.
    np.testing.assert_allclose(found.cost, expected, rtol=1e-5)
    np.testing.assert_allclose(found.plan, plan, atol=1e-5)
    assert 0 < found.error <= 1e-6 and np.all(found.marginal_error < 1e-5)
    assert 1 < found.iterations < 2000


@pytest.mark.parametrize(("n", "m"), [(7, 7), (6, 4), (3, 5), (1, 4), (8, 1)])
def test_exact_matches_assignment(n, m):
    x, y = draw(n, m, batch=3)
    found = sinkhorn.transport_cost(
        x.astype(np.float32), y.astype(np.float32), mode="exact_1d"
    )
    expected = [assigned(x[b, :, 0], y[b, :, 0]) for b in range(3)]
    np.testing.assert_allclose(found.cost, expected, rtol=1e-5)
    cost = np.sum((x[:, :, None] - y[:, None]) ** 2, axis=-1)
    np.testing.assert_allclose(np.sum(found.plan * cost, axis=(1, 2)), expected, 1e-5)
    np.testing.assert_allclose(found.plan.sum(axis=2), 1 / n, rtol=1e-5)
    np.testing.assert_allclose(found.plan.sum(axis=1), 1 / m, rtol=1e-5)
    assert np.all(found.marginal_error < 1e-5)


def test_converged_approaches_exact_as_the_entropy_vanishes():
    x, y = (z.astype(np.float32) for z in draw(8, 8))
    exact = sinkhorn.transport_cost(x, y, mode="exact_1d").cost
    gaps = [
        np.max(np.abs(found.cost - exact))
        for epsilon in (0.5, 0.02)
        for found in [sinkhorn.transport_cost(x, y, mode="converged", epsilon=epsilon)]
    ]
    assert gaps[1] < 0.01 < 0.1 < gaps[0]


def test_one_hard_sample_keeps_an_easy_one_going():
    easy, hard = draw(8, 8, batch=1, scale=0.7), draw(8, 8, batch=1, scale=1.5, seed=1)
    both = [np.concatenate(z).astype(np.float32) for z in zip(easy, hard)]
    together = sinkhorn.transport_cost(*both)
    alone = sinkhorn.transport_cost(*[z[:1] for z in both])
    assert alone.iterations < together.iterations < 30
    as_long = sinkhorn.transport_cost(
        *[z[:1] for z in both],
        threshold=0.0,
        max_iterations=int(together.iterations),
    )
    np.testing.assert_allclose(together.cost[:1], as_long.cost, rtol=1e-6)
    assert np.abs(alone.cost - as_long.cost)[0] > 1e-4 * as_long.cost[0]


@pytest.mark.parametrize("mode", MODES)
def test_order_of_points_does_not_matter(mode):
    x, y = (z.astype(np.float32) for z in draw(7, 5))
    order = np.random.default_rng(1).permutation(7)
    value = jax.jit(functools.partial(sinkhorn.transport_cost, mode=mode))
    before, after = value(x, y), value(x[:, order], y)
    np.testing.assert_allclose(after.cost, before.cost, rtol=1e-5)
    np.testing.assert_allclose(after.plan, before.plan[:, order], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_diagnostics_have_no_gradient(mode):
    def diagnostics(x, y):
        found = sinkhorn.transport_cost(x, y, mode=mode)
        return found.error + jnp.sum(found.marginal_error + found.mass)

    x, y = (z.astype(np.float32) for z in draw())
    assert not np.any(jax.grad(diagnostics)(x, y))


@pytest.mark.eight_devices
def test_devices_stop_together_and_agree_with_one():
    x, y = (z.astype(np.float32) for z in draw(8, 6, batch=8))
    x[0] *= 3  # One device holds the only hard sample.

    @jax.jit
    def run(x, y):
        def mean(x):
            found = sinkhorn.transport_cost(x, y)
            return jnp.mean(found.cost), found

        return jax.grad(mean, has_aux=True)(x)

    types = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=types)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    gradient, found = run(*jax.device_put((x, y), sharding))
    expected_gradient, expected = run(x, y)
    assert found.iterations == expected.iterations
    np.testing.assert_allclose(found.cost, expected.cost, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


@pytest.mark.slow
def test_seeds_at_once_stop_and_choose_their_way_alone():
    problems = draw(17, 17, batch=1), two_places(25)
    both = [np.stack(z) for z in zip(*problems)]

    def mean(x, y):
        found = sinkhorn.transport_cost(x, y, max_iterations=300)
        return jnp.mean(found.cost), found.iterations

    gradient = jax.value_and_grad(mean, has_aux=True)
    with jax.enable_x64():
        safe = [is_safe(x, y, max_iterations=300) for x, y in problems]
        assert safe == [True, False]
        # A `cond` that became a `select` would make everybody's steps in logarithms.
        assert "cond[" in str(jax.make_jaxpr(jax.vmap(gradient))(*both))
        (values, steps), slopes = jax.jit(jax.vmap(gradient))(*both)
        alone = [jax.jit(gradient)(x, y) for x, y in zip(*both)]
    assert steps[0] != steps[1]
    for i, ((value, step), slope) in enumerate(alone):
        assert step == steps[i]
        np.testing.assert_allclose(values[i], value, rtol=1e-12)
        np.testing.assert_allclose(slopes[i], slope, rtol=1e-9, atol=1e-12)


def test_what_is_no_number_comes_out_as_such():
    x, y = (z.astype(np.float32) for z in draw())
    x[0, 0] = np.nan
    found = sinkhorn.transport_cost(x, y)
    assert np.isnan(found.cost[0]) and not np.isnan(found.cost[1])


def test_multimodal_adds_up_the_cycle_of_pairs():
    generator = np.random.default_rng(0)
    text, audio, vision = generator.normal(size=(3, 2, 3, 4)).astype(np.float32)
    audio, vision = 2 * audio, vision + 1

    def mean(a, b):
        points = [h.reshape(2, 12, 1).astype(np.float64) for h in (a, b)]
        return np.mean(official(*points, epsilon=0.3)[0])

    expected = [mean(text, audio), mean(audio, vision), mean(vision, text)]
    total, transports = sinkhorn.multimodal([text, audio, vision], epsilon=0.3)
    np.testing.assert_allclose(total, sum(expected), rtol=1e-5)
    np.testing.assert_allclose([t.cost.mean() for t in transports], expected, 1e-5)
    total, transports = sinkhorn.multimodal([audio, vision], epsilon=0.3)
    np.testing.assert_allclose(total, expected[1], rtol=1e-5)
    assert len(transports) == 1
    total, transports = sinkhorn.multimodal([text])
    assert total.shape == () and total == 0 and transports == []


def test_mistakes_are_named():
    x, y = (z.astype(np.float32) for z in draw(width=2))
    with pytest.raises(errors.UserError, match="'offical'.*mean 'official'"):
        sinkhorn.transport_cost(x, y, mode="offical")
    with pytest.raises(errors.UserError, match=r"exact_1d.*\(2, 7, 2\)"):
        sinkhorn.transport_cost(x, y, mode="exact_1d")
    with pytest.raises(errors.UserError, match=r"\(2, 7, 2\) and \(2, 7, 1\)"):
        sinkhorn.transport_cost(x, y[..., :1])
    with pytest.raises(errors.UserError, match="not 4"):
        sinkhorn.multimodal([x] * 4)
