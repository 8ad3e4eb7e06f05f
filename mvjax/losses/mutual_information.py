"""Lower bounds on mutual information from the scores T of a critic, by name.

`joint`, `[B, ...]`, holds the scores of matching pairs and `marginal`, `[B, K, ...]`,
those of K mismatched pairs of each sample: K is 1 if the negatives are rolled or
permuted, B - 1 if they are all other samples (`off_diagonal`). `...` are positions of a
local critic; `dv` and `smile` bound each position on its own, and the mean is taken.
Losses are minus the bound in nats; only `jsd` differs, as its docstring says.
Scores of less than 32 bits are computed with in float32, float64 stays what it is.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from mvjax.core import errors

# Exponentials of larger scores go on as a straight line, so that no score overflows.
_LARGEST_EXPONENT = 50.0


def loss(
    name: str,
    joint: jax.Array,
    marginal: jax.Array,
    *,
    average: jax.Array | float | None = None,
    tau: float = 5.0,
) -> jax.Array:
    """The loss that a critic and its encoders minimise.

    Args:
      name: One of `dv`, `infonce`, `jsd`, `nwj`, `smile`.
      joint: Scores of matching pairs, `[B, ...]`.
      marginal: Scores of mismatched pairs, `[B, K, ...]`.
      average: Moving average of exp T'; only `dv` takes it.
      tau: Largest magnitude of a T'; only `smile` takes it.

    Returns:
      Scalar, `[]`.
    """
    choices: dict[str, Callable[..., jax.Array]] = {
        "dv": functools.partial(dv, average=average),
        "infonce": infonce,
        "jsd": jsd,
        "nwj": nwj,
        "smile": functools.partial(smile, tau=tau),
    }
    if name not in choices:
        raise errors.unknown("bound on mutual information", name, choices)
    if average is not None and name != "dv":
        raise errors.UserError(
            f"Only the bound 'dv' has a moving average, not {name!r}."
        )
    return choices[name](joint, marginal)


def estimate(
    name: str, joint: jax.Array, marginal: jax.Array, *, tau: float = 5.0
) -> jax.Array:
    """Value of the bound in nats, for logs, `[]`; arguments as for `loss`.

    For `jsd` it is ln 4 minus the loss: twice the Jensen-Shannon divergence between
    joint and product distribution if the critic is the best one.
    """
    value = loss(name, joint, marginal, tau=tau)
    return jnp.log(4.0) - value if name == "jsd" else -value


def jsd(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """Jensen-Shannon loss (Hjelm et al., ICLR 2019): mean sp(-T) + mean sp(T'), `[]`.

    Means are over all elements; with no information at all it is at best 2 ln 2.
    """
    joint, marginal = _check(joint, marginal)
    return jnp.mean(jax.nn.softplus(-joint)) + jnp.mean(jax.nn.softplus(marginal))


def dv(
    joint: jax.Array,
    marginal: jax.Array,
    *,
    average: jax.Array | float | None = None,
) -> jax.Array:
    """Donsker-Varadhan: the bound is mean T - log mean exp T'.

    The gradient of the logarithm over a small batch is biased. MINE (Belghazi et al.,
    ICML 2018, section 3.2) divides the gradient of mean exp T' by a moving average
    instead of by the mean itself; the value stays the bound.

    Args:
      joint: `[B, ...]`.
      marginal: `[B, K, ...]`.
      average: Moving average of exp T', `[]` or `[...]`, a constant. Give it after
        `update_average` with these scores: it then bounds the correction, which grows
        without limit if the average lags behind. None leaves the gradient as it is.

    Returns:
      Minus the bound, `[]`.
    """
    joint, marginal = _check(joint, marginal)
    log_mean = _log_mean_exp(marginal, axis=(0, 1))  # [...]
    if average is not None:
        ratio = log_mean - jnp.log(jnp.asarray(average, log_mean.dtype))
        ratio = jnp.exp(jnp.minimum(ratio, _LARGEST_EXPONENT))
        log_mean = _with_gradient(log_mean, jax.lax.stop_gradient(ratio) * log_mean)
    return jnp.mean(log_mean) - jnp.mean(joint)


def update_average(
    average: jax.Array | float, marginal: jax.Array, *, decay: float = 0.99
) -> jax.Array:
    """Moves the average of exp T' that `dv` takes.

    Args:
      average: `[]` or, to keep positions apart, `[...]`. Zero stands for nothing seen
        yet, so start from zeros.
      marginal: Scores of mismatched pairs, `[B, K, ...]`.
      decay: Share of the old average that is kept.

    Returns:
      The new average, in the shape and type of the old one and without gradient.
      The mean over a batch enters with a logarithm of at most 50.
    """
    average, marginal = _real(average), jax.lax.stop_gradient(_real(marginal))
    log_mean = _log_mean_exp(marginal, axis=(0, 1) if average.ndim else None)
    if log_mean.shape != average.shape:
        raise errors.UserError(
            f"A moving average of shape {average.shape} does not fit scores of shape "
            f"{marginal.shape}: give {log_mean.shape} or ()."
        )
    limit = _LARGEST_EXPONENT
    new = jnp.exp(jnp.clip(log_mean, -limit, limit)).astype(average.dtype)
    moved = decay * average + (1 - decay) * new
    return jax.lax.stop_gradient(jnp.where(average == 0, new, moved))


def nwj(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """Nguyen-Wainwright-Jordan: minus the bound mean T - mean exp(T' - 1), `[]`.

    The best critic is 1 + log p(y | x) / p(y). Above T' = 51 the exponential goes on as
    its tangent: finite, but no longer a bound.
    """
    joint, marginal = _check(joint, marginal)
    exponent = marginal - 1
    capped = jnp.minimum(exponent, _LARGEST_EXPONENT)
    return jnp.mean(jnp.exp(capped) * (1 + exponent - capped)) - jnp.mean(joint)


def infonce(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """InfoNCE (van den Oord et al., 2018): the positive against its own K negatives.

    The bound, mean log(exp T / (exp T + sum_k exp T'_k)) + log(K + 1), never exceeds
    log(K + 1); returned is minus the bound, `[]`.
    """
    joint, marginal = _check(joint, marginal)
    scores = jnp.concatenate([joint[:, None], marginal], axis=1)  # [B, K + 1, ...]
    return jnp.mean(_log_mean_exp(scores, axis=1) - joint)


def smile(joint: jax.Array, marginal: jax.Array, *, tau: float = 5.0) -> jax.Array:
    """SMILE (Song and Ermon, ICLR 2020): Donsker-Varadhan with T' clipped to +-tau.

    The clipped bound alone has no maximum, since nothing pushes back a T' above tau.
    As in the authors' code, the value is the clipped bound and the gradient that of
    `jsd`, whose best critic is the log density ratio that the bound needs.

    Args:
      joint: `[B, ...]`.
      marginal: `[B, K, ...]`.
      tau: Largest magnitude of a T'.

    Returns:
      Minus the bound, `[]`.
    """
    surrogate = jsd(joint, marginal)
    joint, marginal = _check(joint, marginal)
    log_mean = _log_mean_exp(jnp.clip(marginal, -tau, tau), axis=(0, 1))
    return _with_gradient(jnp.mean(log_mean) - jnp.mean(joint), surrogate)


def off_diagonal(scores: jax.Array) -> jax.Array:
    """Takes the mismatched pairs out of a matrix of all pairs.

    Args:
      scores: Row i, column j: sample i with its counterpart j, `[B, B, ...]`.

    Returns:
      Row i without its column i, otherwise in order, `[B, B - 1, ...]`.
    """
    size = scores.shape[0]
    if scores.ndim < 2 or scores.shape[1] != size:
        raise errors.UserError(f"Scores of all pairs are no square: {scores.shape}.")
    before = jnp.arange(size - 1) < jnp.arange(size)[:, None]  # [B, B - 1]
    before = before.reshape(before.shape + (1,) * (scores.ndim - 2))
    return jnp.where(before, scores[:, :-1], scores[:, 1:])


def _check(joint: jax.Array, marginal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scores as floats; shapes that do not fit would broadcast into nonsense."""
    joint, marginal = _real(joint), _real(marginal)
    fits = marginal.ndim > 1 and marginal.shape[1] > 0
    if not fits or marginal.shape[:1] + marginal.shape[2:] != joint.shape:
        raise errors.UserError(
            f"Scores of matching pairs [B, ...] and of K > 0 mismatched pairs "
            f"[B, K, ...] do not fit: {joint.shape} and {marginal.shape}."
        )
    return joint, marginal


def _real(x: jax.Array | float) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _log_mean_exp(x: jax.Array, axis: int | tuple[int, ...] | None) -> jax.Array:
    total = jax.nn.logsumexp(x, axis=axis)
    return total - jnp.log(x.size / max(total.size, 1))


def _with_gradient(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """`value`, exactly, with the gradient of `surrogate`."""
    # The difference is an exact zero; `value - surrogate + surrogate` would round.
    return jax.lax.stop_gradient(value) + (surrogate - jax.lax.stop_gradient(surrogate))
