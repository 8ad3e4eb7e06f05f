"""Golden check of DIM's loss terms: values, and gradients by every input."""

from collections.abc import Callable
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.losses import adversarial
from mvjax.losses import classification
from mvjax.losses import mutual_information
from tests import golden_data

FILE = golden_data.FOLDER / "dim" / "losses.npz"
# As the recording demands; both sides are float32 sums of at most 512 terms.
RTOL, ATOL = 1e-5, 1e-7


def _jsd(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    return mutual_information.loss("jsd", joint, marginal[:, None])


def _l1(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(x - y))


# Recorded name: the formula and its inputs.
TERMS: dict[str, tuple[Callable[..., jax.Array], tuple[str, ...]]] = {
    "djs_global": (_jsd, ("T_global", "Tp_global")),
    "djs_local": (_jsd, ("T_local", "Tp_local")),
    "djs_extreme": (_jsd, ("T_extreme", "Tp_extreme")),
    "classif10": (classification.double_softmax, ("logits10", "target10")),
    "classif12": (classification.double_softmax, ("logits12", "target12")),
    "plain_ce10": (classification.cross_entropy, ("logits10", "target10")),
    "plain_ce12": (classification.cross_entropy, ("logits12", "target12")),
    "accuracy10": (classification.accuracy, ("logits10", "target10")),
    "accuracy12": (classification.accuracy, ("logits12", "target12")),
    "discriminator": (adversarial.discriminator, ("real", "fake")),
    "generator": (adversarial.generator, ("fake",)),
    "generator_extreme": (adversarial.generator, ("fake_extreme",)),
    "l1": (_l1, ("shared_x", "shared_y")),
}


def check_losses(file: pathlib.Path) -> None:
    """Compares every recorded value and gradient."""
    case = golden_data.load(file)
    assert set(case.outputs) == set(TERMS)
    compared = {key for term in TERMS for key in check_term(case, term)}
    assert compared == set(case.grads), "a recorded gradient was left out"


def check_term(case: golden_data.Case, term: str) -> list[str]:
    """Compares one term; returns the names of the gradients that it compared."""
    function, names = TERMS[term]
    inputs = [case.inputs[name] for name in names]
    keys = [f"{term}/{name}" for name in names]
    argnums = tuple(i for i, key in enumerate(keys) if key in case.grads)
    value = jax.jit(function)(*inputs)
    assert value.shape == () and value.dtype == jnp.float32
    _assert_close(value, case.outputs[term], term)
    if argnums:
        gradients = jax.jit(jax.grad(function, argnums))(*inputs)
        for i, gradient in zip(argnums, gradients, strict=True):
            _assert_close(gradient, case.grads[keys[i]], keys[i])
    return [keys[i] for i in argnums]


def _assert_close(actual: jax.Array, expected: np.ndarray, name: str) -> None:
    np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=ATOL, err_msg=name)
