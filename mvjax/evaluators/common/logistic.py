"""Logistic regression on the device, with the objective of scikit-learn.

`fit` gives the answer of `sklearn.linear_model.LogisticRegression`: its solver (L-BFGS-B
of SciPy), its start and its stopping rule; only the objective is computed elsewhere, from
chunks of rows that are standardised on the way, so that no second table is needed.
`fit_stochastic` minimises the same objective by a few passes over shuffled rows, as
linear probes of large data sets do.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.evaluators.common import chunks as chunks_lib

_SIZE = 1024  # Rows of a chunk.
_TOLERANCE = 1e-4  # Of the largest entry of the gradient.
# Of the decrease of the objective, in units of float64: none.
_DECREASE = 64 * np.finfo(np.float64).eps
_MOST_LINE_STEPS = 50
_MOMENTUM = 0.9


class Scale(NamedTuple):
    """What standardises rows: `(rows - mean) / deviation`."""

    mean: np.ndarray  # [D] float32.
    deviation: np.ndarray  # [D] float32; 1 for a constant feature.


def measure_scale(rows: np.ndarray) -> Scale:
    """Mean and population deviation of each feature of `[N, D]`."""
    total, count, eps = 0.0, len(rows), np.finfo(np.float64).eps
    for start in range(0, count, _SIZE):
        total = total + rows[start : start + _SIZE].sum(axis=0, dtype=np.float64)
    mean, squares = total / count, 0.0
    for start in range(0, count, _SIZE):
        away = rows[start : start + _SIZE] - mean.astype(np.float32)
        squares = squares + np.square(away, out=away).sum(axis=0, dtype=np.float64)
    variance = squares / count
    # As scikit-learn has it: what rounding makes of a constant is one.
    constant = variance <= count * eps * variance + (count * mean * eps) ** 2
    deviation = np.where(constant, 1, np.sqrt(variance))
    return Scale(mean.astype(np.float32), deviation.astype(np.float32))


@jax.jit
def _standardise(rows: jax.Array, scale: Scale) -> jax.Array:
    return (rows - scale.mean) / scale.deviation


def _logits(weights: jax.Array, rows: jax.Array, scale: Scale) -> jax.Array:
    """Logits `[n, K]` of weights `[K, D + 1]`, whose last column is the intercept."""
    return _standardise(rows, scale) @ weights[:, :-1].T + weights[:, -1]


def _loss(
    weights: jax.Array,
    rows: jax.Array,
    scale: Scale,
    classes: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """Sum of the negative log likelihoods of rows with weights; one logit: two classes."""
    logits = _logits(weights, rows, scale)
    if logits.shape[1] == 1:
        each = jax.nn.softplus(logits[:, 0]) - classes * logits[:, 0]
    else:
        own = jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
        each = jax.nn.logsumexp(logits, axis=1) - own
    return jnp.sum(weight * each)


_part = jax.jit(jax.value_and_grad(_loss))
_guess = jax.jit(_logits)


class Model(NamedTuple):
    """A fitted classifier."""

    scale: Scale
    weights: np.ndarray  # [K, D + 1] float32; [1, D + 1] for two classes.
    classes: np.ndarray  # [K], sorted.
    steps: int  # Steps of the solver, or of the gradient.

    def predict(
        self, rows: np.ndarray, devices: Sequence[jax.Device] | None = None
    ) -> np.ndarray:
        """Classes of rows `[N, D]`, `[N]`."""
        chunks, found = chunks_lib.Chunks(rows, _SIZE, devices), []
        weights, scale = jax.device_put((self.weights, self.scale), chunks.whole)
        for chunk in chunks:
            logits = np.asarray(_guess(weights, chunk.rows, scale))
            one = logits.shape[1] == 1
            found.append((logits[:, 0] > 0) * 1 if one else logits.argmax(axis=1))
        return self.classes[np.concatenate(found)[: len(rows)]]


def fit(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    strength: float = 1.0,
    steps: int = 300,
    devices: Sequence[jax.Device] | None = None,
) -> Model:
    """Fits multinomial logistic regression to standardised features.

    Args:
      rows: `[N, D]`.
      labels: `[N]`, of at least two classes.
      strength: Inverse weight of the L2 penalty, C of scikit-learn; the penalty is
        `|weights|^2 / 2` beside the summed losses over C.
      steps: Most steps.
      devices: To split the rows over; None: those of this process.
    """
    from scipy import optimize

    classes, numbers = np.unique(labels, return_inverse=True)
    outputs = len(classes) if len(classes) > 2 else 1
    shape, count = (outputs, rows.shape[1] + 1), len(rows)
    scale = measure_scale(rows)
    chunks = chunks_lib.Chunks(rows, _SIZE, devices)
    padded = np.zeros(-(-count // chunks.size) * chunks.size, np.int32)
    padded[:count] = numbers
    targets = [
        jax.device_put(part, chunks.split) for part in padded.reshape(-1, chunks.size)
    ]
    place = jax.device_put(scale, chunks.whole)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean loss with the penalty, and its gradient, float64."""
        weights = flat.reshape(shape)
        moved = jax.device_put(weights.astype(np.float32), chunks.whole)
        losses, total = [], 0.0
        for chunk, target in zip(chunks, targets, strict=True):
            loss, slope = _part(moved, chunk.rows, place, target, chunk.weight)
            losses.append(loss)
            jax.block_until_ready(losses[-2:-1])  # Else copies of all chunks wait.
            total = total + slope
        slope = np.asarray(total, np.float64) / count
        penalty = 1 / (strength * count)
        slope[:, :-1] += penalty * weights[:, :-1]
        value = sum(map(float, losses)) / count
        return value + penalty / 2 * float((weights[:, :-1] ** 2).sum()), slope.ravel()

    found = optimize.minimize(
        objective,
        np.zeros(shape).ravel(),
        method="L-BFGS-B",
        jac=True,
        options={
            "maxiter": steps,
            "maxls": _MOST_LINE_STEPS,
            "gtol": _TOLERANCE,
            "ftol": _DECREASE,
        },
    )
    weights = found.x.reshape(shape).astype(np.float32)
    return Model(scale, weights, classes, int(found.nit))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _descend(
    weights: jax.Array,
    velocity: jax.Array,
    rows: jax.Array,
    scale: Scale,
    classes: jax.Array,
    rate: jax.Array,
    penalty: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A step of gradient descent with momentum; weights, velocity and the batch's loss."""
    everyone = jnp.ones(len(rows))
    loss, slope = jax.value_and_grad(_loss)(weights, rows, scale, classes, everyone)
    # The intercept is free.
    slope = slope / len(rows) + penalty * weights.at[:, -1].set(0)
    velocity = _MOMENTUM * velocity + slope
    return weights - rate * velocity, velocity, loss


def fit_stochastic(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    strength: float = 1.0,
    epochs: int = 3,
    rate: float = 0.1,
    batch_size: int = 512,
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
) -> Model:
    """Minimises the objective of `fit` by stochastic gradient descent.

    Momentum is 0.9 and the rate falls to zero along half a cosine. Each epoch sees the
    rows in another order, without those that are left over from whole batches.

    Args:
      rows: `[N, D]`.
      labels: `[N]`, of at least two classes.
      strength: Inverse weight of the L2 penalty, see `fit`.
      epochs: Passes over the rows.
      rate: Learning rate of the first step.
      batch_size: Rows of a step, at most N; rounded up to a multiple of the devices.
      seed: Of the orders.
      devices: To split a batch over; None: those of this process.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    outputs, count = len(classes) if len(classes) > 2 else 1, len(rows)
    numbers, generator = numbers.astype(np.int32), np.random.default_rng(seed)
    layout = chunks_lib.lay_out(min(batch_size, count), devices)
    scale = measure_scale(rows)
    start = np.zeros((2, outputs, rows.shape[1] + 1), np.float32)
    weights, velocity, place = jax.device_put((*start, scale), layout.whole)
    batches = max(count // layout.size, 1)
    steps, penalty, loss = epochs * batches, 1 / (strength * count), None
    for step in range(steps):
        if step % batches == 0:
            order = generator.permutation(max(count, layout.size)) % count
        chosen = order[step % batches * layout.size :][: layout.size]
        batch = np.asarray(rows[chosen], np.float32), numbers[chosen]
        mine, truth = jax.device_put(batch, layout.split)
        now = rate * (1 + np.cos(np.pi * step / steps)) / 2
        jax.block_until_ready(loss)  # Else copies of all batches wait.
        weights, velocity, loss = _descend(
            weights, velocity, mine, place, truth, now, penalty
        )
    return Model(scale, np.asarray(weights), classes, steps)
