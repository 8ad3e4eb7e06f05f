"""Logistic regression on the device, with the objective of scikit-learn.

`fit` gives the answer of `sklearn.linear_model.LogisticRegression`: its objective and its
stopping rule, the largest entry of the gradient. Two things make it need fewer passes over
the rows. The curvature is never above half that of least squares (Boehning, 1992), so
that the products of the features among each other, from some of the rows, tell how far to
go in which direction; and each step has the best length, see `quasi_newton.py`. Chunks of
rows are standardised on the way, so that no second table is needed; what is kept are two
logits for each row and class. `fit_stochastic` minimises the same objective by a few passes
over shuffled rows, as linear probes of large data sets do.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl

from mvjax.core import precision
from mvjax.evaluators.common import chunks as chunks_lib
from mvjax.evaluators.common import quasi_newton

_SIZE = 1024  # Rows of a chunk.
_TOLERANCE = 1e-5  # Of the largest entry of the gradient.
_SAMPLE = 4096  # Rows that the products of features come from, at least,
_PER_FEATURE = 2  # and so many for each feature.
_WIDEST = 8192  # More features have too many products.
_FAR = 64  # Deviations between zero and a mean from which digits are lost.
_MOMENTUM = 0.9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scale:
    """What standardises rows: `(rows - mean) / deviation`."""

    mean: np.ndarray  # [D] float32.
    deviation: np.ndarray  # [D] float32; 1 for a constant feature.
    # Whether the mean is taken from the rows, or, which is quicker, from the products.
    far: bool = dataclasses.field(metadata={"static": True})


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
    far = bool((np.abs(mean) > _FAR * deviation).any())
    return Scale(mean.astype(np.float32), deviation.astype(np.float32), far)


def _logits(weights: jax.Array, rows: jax.Array, scale: Scale) -> jax.Array:
    """Logits `[K, n]` of weights `[K, D + 1]`, whose last column is the intercept."""
    inner, free = weights[:, :-1] / scale.deviation, weights[:, -1]
    if scale.far:
        rows = rows - scale.mean
    else:
        free = free - precision.matmul(inner, scale.mean)
    # With classes first no product has to be turned around, here or in the gradient.
    return precision.matmul(inner, rows.T) + free[:, None]


def _total(logits: jax.Array) -> jax.Array:
    """Log of the summed likelihoods before they are divided, `[n]`; one logit: of two."""
    if len(logits) == 1:
        return jax.nn.softplus(logits[0])
    most = jnp.max(logits, axis=0)
    return most + jnp.log(jnp.sum(jnp.exp(logits - most), axis=0))


def _own(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """The logits of the rows' own classes, `[n]`."""
    if len(logits) == 1:
        return classes * logits[0]
    return jnp.take_along_axis(logits, classes[None], axis=0)[0]


_guess = jax.jit(_logits)
_multiply = jax.jit(precision.matmul)


@jax.jit
def _measure(
    length: jax.Array,
    logits: jax.Array,
    change: jax.Array,
    classes: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """Summed loss at `logits + length * change`, its slope and its curvature, `[3]`."""
    logits = logits + length * change
    total = _total(logits)
    likely = jnp.exp(logits - total)
    mean = jnp.sum(likely * change, axis=0)
    spread = jnp.sum(likely * change * change, axis=0) - mean * mean
    loss, slope = total - _own(logits, classes), mean - _own(change, classes)
    return jnp.sum(weight * jnp.stack([loss, slope, spread]), axis=1)


@functools.partial(jax.jit, donate_argnums=1)
def _move(
    length: jax.Array,
    logits: jax.Array,
    change: jax.Array,
    rows: jax.Array,
    scale: Scale,
    classes: jax.Array,
    weight: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The logits after a step, and the gradient of the summed loss, `[K, D + 1]`."""
    logits = logits + length * change
    one = len(logits) == 1
    truth = classes[None] if one else jax.nn.one_hot(classes, len(logits), axis=0)
    slope = weight * (jnp.exp(logits - _total(logits)) - truth)
    like = jax.ShapeDtypeStruct((len(logits), rows.shape[1] + 1), jnp.float32)
    back = jax.linear_transpose(lambda weights: _logits(weights, rows, scale), like)
    return logits, back(slope)[0]


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
            one = len(logits) == 1
            found.append((logits[0] > 0) * 1 if one else logits.argmax(axis=0))
        return self.classes[np.concatenate(found)[: len(rows)]]


class _Course:
    """The objective, followed from weights of zero on; see `quasi_newton.Course`."""

    def __init__(
        self,
        rows: np.ndarray,
        numbers: np.ndarray,
        outputs: int,
        scale: Scale,
        penalty: float,
        devices: Sequence[jax.Device] | None,
    ):
        self._count, self._penalty = len(rows), penalty
        self._chunks = chunks = chunks_lib.Chunks(rows, _SIZE, devices)
        self.place = chunks.whole
        self._scale = jax.device_put(scale, self.place)
        padded = np.zeros(-(-len(rows) // chunks.size) * chunks.size, np.int32)
        padded[: len(rows)] = numbers
        weight = (np.arange(len(padded)) < len(rows)).astype(np.float32)
        self._truth = [
            jax.device_put(part, chunks.split)
            for part in zip(
                padded.reshape(-1, chunks.size),
                weight.reshape(-1, chunks.size),
                strict=True,
            )
        ]
        spec = jax.sharding.PartitionSpec(None, *chunks.split.spec)
        across = jax.sharding.NamedSharding(chunks.split.mesh, spec)
        zeros = np.zeros((outputs, chunks.size), np.float32)
        self._logits, self._change = (
            [jax.device_put(zeros, across) for _ in self._truth] for _ in range(2)
        )
        self.weights = np.zeros((outputs, rows.shape[1] + 1), np.float32)
        self._direction = np.zeros_like(self.weights)

    def aim(self, direction: np.ndarray) -> None:
        """Computes how a step in this direction, `[K, D + 1]`, changes the logits."""
        self._direction, self._change = direction, []
        moved = jax.device_put(direction, self.place)
        for chunk in self._chunks:
            self._change.append(_guess(moved, chunk.rows, self._scale))
            jax.block_until_ready(
                self._change[-2:-1]
            )  # Else copies of all chunks wait.
        here, there = self.weights[:, :-1], direction[:, :-1]
        pairs = (here, here), (here, there), (there, there)
        self._products = [quasi_newton.dot(*pair) for pair in pairs]

    def measure(self, length: float) -> quasi_newton.Point:
        """Mean loss with the penalty after a step of this length."""
        parts = [
            _measure(np.float32(length), logits, change, *truth)
            for logits, change, truth in zip(
                self._logits, self._change, self._truth, strict=True
            )
        ]
        losses = np.sum(jax.device_get(parts), axis=0, dtype=np.float64) / self._count
        norm, mixed, square = self._products
        slope = mixed + length * square
        penalties = (norm + length * (mixed + slope)) / 2, slope, square
        found = losses + self._penalty * np.array(penalties)
        return quasi_newton.Point(*found.tolist())

    def move(self, length: float) -> np.ndarray:
        """Takes the step; the gradient after it, `[K, D + 1]` float32."""
        self.weights = self.weights + length * self._direction
        total = 0.0
        for i, chunk in enumerate(self._chunks):
            before, pair = total, (self._logits[i], self._change[i])
            self._logits[i], slope = _move(
                np.float32(length), *pair, chunk.rows, self._scale, *self._truth[i]
            )
            total = total + slope
            jax.block_until_ready(before)  # Else copies of all chunks wait.
        gradient = np.asarray(total) / np.float32(self._count)
        gradient[:, :-1] += self._penalty * self.weights[:, :-1]
        return gradient


def _make_solver(
    rows: np.ndarray,
    scale: Scale,
    curvature: float,
    penalty: float,
    place: jax.sharding.Sharding,
) -> Callable[[np.ndarray], np.ndarray]:
    """What maps gradients `[K, D + 1]` to steps.

    It is Newton's step from where all classes are equally likely, as far as some rows
    tell the products of the features.

    Args:
      rows: `[N, D]`.
      scale: Of the rows.
      curvature: Of the loss of a row by its logits.
      penalty: Of the weights.
      place: Where the inverse lies.
    """
    from scipy import linalg

    features = rows.shape[1]
    least = max(_SAMPLE, _PER_FEATURE * features)
    sample = rows[:: max(len(rows) // least, 1)]
    if features > min(_WIDEST, len(sample)):
        return np.copy
    products = np.zeros((features, features), np.float32)
    for start in range(0, len(sample), _SIZE):
        part = (sample[start : start + _SIZE] - scale.mean) / scale.deviation
        products += part.T @ part
    products *= curvature / len(sample)
    # Of directions with smaller products than this a sample tells little.
    noise = 2 * curvature * features / len(sample)
    products.flat[:: features + 1] += noise + penalty
    with threadpoolctl.threadpool_limits(1):  # More wait for each other for seconds.
        factor, _ = linalg.cho_factor(products, lower=True, overwrite_a=True)
        half, _ = linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
    inverse = jax.device_put(np.tril(half) + np.tril(half, -1).T, place)

    def solve(gradient: np.ndarray) -> np.ndarray:
        step = gradient / np.float32(curvature)  # That of the intercept.
        step[:, :-1] = _multiply(jax.device_put(gradient[:, :-1], place), inverse)
        return step

    return solve


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
      steps: Most steps, each of which costs one pass over the rows.
      devices: To split the rows over; None: those of this process.
    """
    classes, numbers = np.unique(labels, return_inverse=True)
    count, outputs = len(classes), len(classes) if len(classes) > 2 else 1
    scale, penalty = measure_scale(rows), 1 / (strength * len(rows))
    course = _Course(rows, numbers, outputs, scale, penalty, devices)
    # What the loss curves by where all classes are equally likely.
    curvature = (count - 1) / count**2
    solve = _make_solver(rows, scale, curvature, penalty, course.place)
    taken = quasi_newton.minimise(course, solve, tolerance=_TOLERANCE, steps=steps)
    return Model(scale, course.weights, classes, taken)


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

    def sum_losses(weights):
        logits = _logits(weights, rows, scale)
        return jnp.sum(_total(logits) - _own(logits, classes))

    loss, slope = jax.value_and_grad(sum_losses)(weights)
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
