"""Optimal transport between the feature values of modalities: RERD's regulariser.

The paper's multimodal Sinkhorn distance (Guo et al., IEEE TMM 2022) adds up, over pairs
of modalities, the entropic transport cost between two sets of points with equal weights
and squared Euclidean cost. As in the released code, and unlike the usual regularised
objective of OT libraries (`reg_ot_cost` of ott),

- the value is the transport cost <P, C> of the final plan, WITHOUT its entropy;
- the weights are 1/n + 1e-8, so that a plan's mass is a little above 1;
- the iteration ends for the whole batch at once, when the mean over the batch of
  sum_i |u_i - previous u_i| falls below a threshold, or after a fixed number of steps;
- the gradient goes through every executed step. As these are few, it is neither the
  gradient at fixed potentials nor that of the converged plan.

All this is the mode `official`. `converged` and `exact_1d` are the limits of many steps
and of no regularisation, with the clean weights 1/n and the gradients of the limits.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import precision

_OFFSET = 1e-8  # The released code adds it inside the logarithms of the weights.
# Accelerators shorten products unless they are told not to.


class Transport(NamedTuple):
    """Transport from n to m points for each of B samples.

    All but `cost` and `plan` are diagnostics without gradient. `error` is the last value
    that the stopping rule saw: for `official` the batch mean of sum_i |change of u_i|,
    for `converged` the L1 error of the marginals of the worst sample.
    """

    cost: jax.Array  # [B]
    plan: jax.Array  # [B, n, m]
    iterations: jax.Array  # [] int32, executed; the largest over the batch.
    error: jax.Array  # [] float32
    marginal_error: jax.Array  # [B], sum of |row sum - 1/n| and |column sum - 1/m|.
    mass: jax.Array  # [B]


def transport_cost(
    x: jax.Array,
    y: jax.Array,
    *,
    mode: str = "official",
    epsilon: float = 0.5,
    max_iterations: int = 30,
    threshold: float = 0.1,
    converged_iterations: int = 2000,
    converged_threshold: float = 1e-6,
) -> Transport:
    """Cost of moving the points x onto the points y, one problem per sample.

    Args:
      x: Points `[B, n, D]`, all of weight 1/n.
      y: Points `[B, m, D]`, all of weight 1/m.
      mode: `official`: as the module says; differentiated through every executed step.
        `converged`: ott's solver until each problem has converged, differentiated
        implicitly at the fixed point. `exact_1d`: no regularisation, for D = 1: the
        points are matched in sorted order, and the gradient is that of the matching.
      epsilon: Weight of the entropy, in units of the squared distance.
      max_iterations: Most steps of `official`.
      threshold: `official` stops after a step that moves u by less than this.
      converged_iterations: Most steps of `converged`.
      converged_threshold: L1 error of the marginals at which `converged` stops.

    Returns:
      The transport. Samples in `official` mode depend on each other through the stop.
    """
    choices: dict[str, Callable[[jax.Array, jax.Array], Transport]] = {
        "official": functools.partial(
            _official, settings=_Settings(epsilon, max_iterations, threshold)
        ),
        "converged": functools.partial(
            _converged,
            settings=_Settings(epsilon, converged_iterations, converged_threshold),
        ),
        "exact_1d": _exact_1d,
    }
    if mode not in choices:
        raise errors.unknown("Sinkhorn mode", mode, choices)
    if x.ndim != 3 or y.ndim != 3 or x.shape[::2] != y.shape[::2]:
        raise errors.UserError(
            f"Transport takes points [B, n, D] and [B, m, D], not {x.shape} and "
            f"{y.shape}."
        )
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    return choices[mode](jnp.asarray(x, dtype), jnp.asarray(y, dtype))


def multimodal(
    representations: Sequence[jax.Array], **options: Any
) -> tuple[jax.Array, list[Transport]]:
    """The regulariser: mean transport costs between modalities, added up.

    Every representation counts as a set of T * D numbers, so the regulariser compares
    distributions of feature values and ignores where in `[T, D]` a value stands.

    Args:
      representations: One to three of `[B, T, D]`, in the order text, audio, vision.
      **options: Keyword arguments of `transport_cost`.

    Returns:
      Sum over pairs (three modalities: 0-1, 1-2, 2-0; two: 0-1; one: none) of the
      batch means, `[]`, and the transport of each pair.
    """
    count = len(representations)
    if not 1 <= count <= 3:
        raise errors.UserError(f"Transport joins one to three modalities, not {count}.")
    pairs = {1: [], 2: [(0, 1)], 3: [(0, 1), (1, 2), (2, 0)]}[count]
    points = [h.reshape(h.shape[0], -1, 1) for h in representations]
    transports = [transport_cost(points[i], points[j], **options) for i, j in pairs]
    total = sum((jnp.mean(t.cost) for t in transports), start=jnp.zeros([]))
    return total, transports


class _Settings(NamedTuple):
    epsilon: float
    max_iterations: int
    threshold: float


class _Planned(NamedTuple):
    plan: jax.Array  # `[B, n, m]`
    iterations: jax.Array  # `[]` int32
    error: jax.Array  # `[]`


def _official(x: jax.Array, y: jax.Array, settings: _Settings) -> Transport:
    cost = _squared_distances(x, y)
    plan, iterations, error = _plan(cost, settings)
    return _transport(plan, cost, iterations, error)


def _converged(x: jax.Array, y: jax.Array, settings: _Settings) -> Transport:
    # ott is imported here because that takes seconds.
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    solver = sinkhorn.Sinkhorn(
        lse_mode=True,
        threshold=settings.threshold,
        max_iterations=settings.max_iterations,
    )

    def solve(cost: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        geom = geometry.Geometry(cost_matrix=cost, epsilon=settings.epsilon)
        out = solver(linear_problem.LinearProblem(geom))
        # ott fills the errors of steps that it did not make with -1.
        reached = jnp.min(jnp.where(out.errors < 0, jnp.inf, out.errors))
        return out.matrix, out.n_iters, reached

    cost = _squared_distances(x, y)
    plan, iterations, error = jax.vmap(solve)(cost)
    return _transport(plan, cost, jnp.max(iterations), jnp.max(error))


def _exact_1d(x: jax.Array, y: jax.Array) -> Transport:
    if x.shape[2] != 1:
        raise errors.UserError(
            f"The Sinkhorn mode 'exact_1d' takes points [B, n, 1], not {x.shape}."
        )
    x, y = x[..., 0], y[..., 0]
    batch, n, m = *x.shape, y.shape[1]
    # Both quantile functions are constant between these levels, in units of 1 / (n m).
    levels = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    weights = np.diff(levels) / (n * m)
    i, j = levels[:-1] // m, levels[:-1] // n  # Ranks in x and y.
    gaps = jnp.sort(x)[:, i] - jnp.sort(y)[:, j]
    sample = np.arange(batch)[:, None]
    order = jnp.argsort(x)[:, i], jnp.argsort(y)[:, j]
    plan = jnp.zeros((batch, n, m), x.dtype).at[sample, *order].set(weights)
    transport = _transport(plan, plan, jnp.array(0), jnp.array(0.0))
    return transport._replace(cost=jnp.sum(weights.astype(x.dtype) * gaps**2, axis=1))


def _transport(
    plan: jax.Array, cost: jax.Array, iterations: jax.Array, error: jax.Array
) -> Transport:
    """Joins a plan and a matrix of costs `[B, n, m]` to what callers see."""
    still = jax.lax.stop_gradient(plan)
    rows, columns = jnp.sum(still, axis=2), jnp.sum(still, axis=1)
    marginal_error = jnp.sum(jnp.abs(rows - 1 / plan.shape[1]), axis=1)
    marginal_error += jnp.sum(jnp.abs(columns - 1 / plan.shape[2]), axis=1)
    return Transport(
        cost=jnp.sum(plan * cost, axis=(1, 2)),
        plan=plan,
        iterations=iterations.astype(jnp.int32),
        error=jax.lax.stop_gradient(error).astype(jnp.float32),
        marginal_error=marginal_error,
        mass=jnp.sum(rows, axis=1),
    )


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """`[B, n, D]` and `[B, m, D]` to `[B, n, m]`, without cancelling products."""
    return jnp.sum(jnp.square(x[:, :, None] - y[:, None]), axis=-1)


def _weights(cost: jax.Array) -> tuple[float, float]:
    """Weight of each row and of each column in `official` mode."""
    return tuple(1 / size + _OFFSET for size in cost.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _plan(cost: jax.Array, settings: _Settings) -> _Planned:
    """The plan after the official steps, for costs `[B, n, m]`.

    The steps multiply scalings by one kernel, which takes a fraction of the time of sums
    of exponentials. Where the range of floats is too small for that, which is noticed,
    they are made again by ott with logarithms. Both ways backwards are what automatic
    differentiation makes of the executed steps.
    """
    return _plan_forwards(cost, settings)[0]


# Under `vmap` (of several seeds) a plain `cond` would make the steps both ways.
_one_by_one = jax.custom_batching.sequential_vmap


def _plan_forwards(cost: jax.Array, settings: _Settings) -> tuple[_Planned, Any]:
    @_one_by_one
    def plan(cost: jax.Array) -> tuple[_Planned, _Scaled]:
        scaled = _scale(cost, settings)
        planned = jax.lax.cond(
            scaled.safe,
            _planned_by_scalings,
            lambda _: _plan_in_logs(cost, settings),
            scaled,
        )
        return planned, scaled

    planned, scaled = plan(cost)
    return planned, (cost, planned.plan, scaled)


def _plan_backwards(
    settings: _Settings, residuals: Any, cotangents: _Planned
) -> tuple[jax.Array]:
    @_one_by_one
    def pull(
        cost: jax.Array, plan: jax.Array, scaled: _Scaled, by_plan: jax.Array
    ) -> jax.Array:
        def by_scalings(by_plan: jax.Array) -> jax.Array:
            return _scale_backwards(scaled, plan, by_plan, settings)

        def in_logs(by_plan: jax.Array) -> jax.Array:
            _, pull = jax.vjp(lambda cost: _plan_in_logs(cost, settings).plan, cost)
            return pull(by_plan)[0]

        return jax.lax.cond(scaled.safe, by_scalings, in_logs, by_plan)

    return (pull(*residuals, cotangents.plan),)


_plan.defvjp(_plan_forwards, _plan_backwards)


def _plan_in_logs(cost: jax.Array, settings: _Settings) -> _Planned:
    """The official steps by sums of exponentials that neither over- nor underflow."""
    from ott.geometry import geometry  # This import takes seconds.

    epsilon, steps, threshold = settings
    log_rows, log_columns = map(math.log, _weights(cost))

    def update(cost: jax.Array, u: jax.Array, v: jax.Array) -> tuple[Any, Any]:
        # ott's own solver updates v first and has another stopping rule.
        geom = geometry.Geometry(cost_matrix=cost, epsilon=epsilon)
        u = geom.update_potential(u, v, jnp.full_like(u, log_rows), axis=1)
        return u, geom.update_potential(u, v, jnp.full_like(v, log_columns), axis=0)

    def step(state: tuple) -> tuple:
        i, _, before, v = state
        u, v = jax.vmap(update)(cost, before, v)
        change = jnp.sum(jnp.abs(jax.lax.stop_gradient(u - before)), axis=1)
        return i + 1, jnp.mean(change), u, v

    # Without the checkpoint each step would keep several matrices [B, n, m].
    @jax.checkpoint
    def step_unless_done(state: tuple, _: None) -> tuple[tuple, None]:
        done = state[1] < threshold
        return jax.lax.cond(done, lambda state: state, step, state), None

    start = (
        jnp.array(0, jnp.int32),
        jnp.array(jnp.inf, cost.dtype),
        jnp.zeros_like(cost, shape=cost.shape[:2]),
        jnp.zeros_like(cost, shape=cost.shape[::2]),
    )
    (i, error, u, v), _ = jax.lax.scan(step_unless_done, start, length=steps)
    return _Planned(jnp.exp((u[:, :, None] + v[:, None] - cost) / epsilon), i, error)


class _Scaled(NamedTuple):
    """The official steps by K_ij = exp((r_i + c_j - C_ij) / eps), P_ij = a_i K_ij b_j."""

    iterations: jax.Array
    error: jax.Array
    safe: jax.Array  # `[]` bool: nothing that matters was rounded to zero.
    kernel: jax.Array  # K `[B, n, m]`
    a: jax.Array  # exp((u - r) / eps) after each step, `[1 + max_iterations, B, n]`.
    b: jax.Array  # exp((v - c) / eps), from the start on, `[1 + max_iterations, B, m]`.


def _scale(cost: jax.Array, settings: _Settings) -> _Scaled:
    """Steps a = mu / (K b), b = nu / (K' a).

    The plans do not depend on the reference (r, c), so neither do the gradients. It is
    chosen such that every row and every column of K has an entry 1 and none above.
    """
    n, m = cost.shape[1:]
    epsilon, steps, threshold = settings
    row_weight, column_weight = _weights(cost)
    r = jnp.min(cost, axis=2)  # [B, n]
    c = jnp.min(cost - r[:, :, None], axis=1)  # [B, m]
    kernel = jnp.exp((r[:, :, None] + c[:, None] - cost) / epsilon)
    # What is rounded to zero in K is below `tiny`. It would add less than a rounding
    # error to any sum as long as a_i b_j stays below `eps` / (`tiny` n m).
    info = jnp.finfo(cost.dtype)
    limit = float(info.eps) / float(info.tiny) / (n * m)

    def step(state: tuple) -> tuple:
        i, _, highest, log_before, a_all, b_all = state
        b = b_all[i]
        a = row_weight / precision.einsum("bij,bj->bi", kernel, b)
        highest = jnp.maximum(highest, _peak(a, b))
        b = column_weight / precision.einsum("bij,bi->bj", kernel, a)
        highest = jnp.maximum(highest, _peak(a, b))
        log_a = jnp.log(a)  # u changes by epsilon times its changes.
        error = epsilon * jnp.mean(jnp.sum(jnp.abs(log_a - log_before), axis=1))
        a_all, b_all = a_all.at[i + 1].set(a), b_all.at[i + 1].set(b)
        return i + 1, error, highest, log_a, a_all, b_all

    def proceeds(state: tuple) -> jax.Array:
        i, error, highest, *_ = state
        return (i < steps) & ~(error < threshold) & (highest <= limit)

    start = (
        jnp.array(0, jnp.int32),
        jnp.array(jnp.inf, cost.dtype),
        jnp.array(0, cost.dtype),
        -r / epsilon,  # u and v start at zero.
        jnp.zeros_like(r, shape=(steps + 1, *r.shape)),
        jnp.zeros_like(c, shape=(steps + 1, *c.shape)).at[0].set(jnp.exp(-c / epsilon)),
    )
    i, error, highest, _, a_all, b_all = jax.lax.while_loop(proceeds, step, start)
    # The comparison is also false for NaN.
    return _Scaled(i, error, highest <= limit, kernel, a_all, b_all)


def _planned_by_scalings(scaled: _Scaled) -> _Planned:
    i = scaled.iterations
    a, b = scaled.a[i], scaled.b[i]
    return _Planned(a[:, :, None] * scaled.kernel * b[:, None], i, scaled.error)


def _scale_backwards(
    scaled: _Scaled, plan: jax.Array, by_plan: jax.Array, settings: _Settings
) -> jax.Array:
    """Gradient by the cost from that by the plan, both `[B, n, m]`.

    The gradient by K is a sum of products of a column and a row, two of each step: they
    are gathered and multiplied at the end.
    """
    kernel = scaled.kernel
    row_weight, column_weight = _weights(kernel)
    by_log_plan = plan * by_plan

    def step(state: tuple) -> tuple:
        i, by_log_a, by_log_b, lefts, rights = state
        a, b, b_before = scaled.a[i], scaled.b[i], scaled.b[i - 1]
        by_sum = -by_log_b * b / column_weight  # Gradient of K' a, [B, m].
        lefts, rights = lefts.at[0, i].set(a), rights.at[0, i].set(by_sum)
        by_log_a += a * precision.einsum("bij,bj->bi", kernel, by_sum)
        by_sum = -by_log_a * a / row_weight  # Gradient of K b, [B, n].
        lefts, rights = lefts.at[1, i].set(by_sum), rights.at[1, i].set(b_before)
        by_log_b = b_before * precision.einsum("bij,bi->bj", kernel, by_sum)
        # The step before reaches the plan through its b alone.
        return i - 1, jnp.zeros_like(by_log_a), by_log_b, lefts, rights

    start = (
        scaled.iterations,
        jnp.sum(by_log_plan, axis=2),
        jnp.sum(by_log_plan, axis=1),
        jnp.zeros_like(kernel, shape=(2, *scaled.a.shape)),
        jnp.zeros_like(kernel, shape=(2, *scaled.b.shape)),
    )
    *_, lefts, rights = jax.lax.while_loop(lambda state: state[0] > 0, step, start)
    by_kernel = precision.einsum("stbi,stbj->bij", lefts, rights)
    return -(by_log_plan + kernel * by_kernel) / settings.epsilon


def _peak(a: jax.Array, b: jax.Array) -> jax.Array:
    """Largest of a_i, b_j and a_i b_j, but at least 1; `[B, n]`, `[B, m]` to `[]`."""
    return jnp.max(
        jnp.maximum(jnp.max(a, axis=1), 1) * jnp.maximum(jnp.max(b, axis=1), 1)
    )
