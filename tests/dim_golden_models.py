"""Golden checks of SDIM's and EDIM's networks."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import tree
from mvjax.losses import classification
from mvjax.models import dim
from tests import golden_data

MAP = (4, 4, 256)


def assert_near(actual: Any, expected: Any, rtol: float, atol: Any, name: str) -> None:
    """Asserts `|a - b| <= atol + rtol * |b|` and prints the share that is used."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: {actual.shape} {expected.shape}"
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    used = np.max(error / (atol + rtol * np.abs(expected)), initial=0.0)
    print(f"{used:10.3g} of the tolerance: {name}")
    assert used <= 1, f"{name}: {used:.3g} of the tolerance"


def assert_gradient(actual: Any, expected: Any, name: str) -> None:
    """The recordings' tolerance of gradients."""
    atol = 1e-5 * float(np.max(np.abs(expected)))
    assert_near(actual, expected, 1e-3, atol, f"gradient of {name}")


def variables_of(
    leaves: list[torch_map.Leaf], weights: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Flax variables of a whole state dict."""
    return jax.tree.map(jnp.asarray, torch_map.to_flax(leaves, weights)[0])


def to_torch(
    leaves: list[torch_map.Leaf], collection: str, arrays: dict[str, Any]
) -> dict[str, np.ndarray]:
    """One collection (of gradients, say) under PyTorch's names."""
    flat = tree.flatten({collection: arrays})
    part = [leaf for leaf in leaves if leaf.path in flat]
    return torch_map.to_torch(
        part, tree.unflatten({p.path: flat[p.path] for p in part})
    )


def check_encoder(case: golden_data.Case) -> None:
    """Code, map, gradients for given cotangents, moved statistics."""
    train = case.config["train"]
    leaves = dim.encoder_leaves(MAP)
    variables = variables_of(leaves, case.weights())
    module = dim.ConvEncoder(case.config["repr_dim"])
    cotangents = (
        case.inputs["ct_representation"],
        golden_data.nhwc(case.inputs["ct_feature"]),
    )

    def scalar(params: dict, x: jax.Array) -> tuple[jax.Array, Any]:
        outputs, state = module.apply(
            {**variables, "params": params}, x, train=train, mutable=["batch_stats"]
        )
        total = sum(jnp.sum(a * b) for a, b in zip(outputs, cotangents, strict=True))
        return total, (outputs, state)

    x = golden_data.nhwc(case.inputs["x"])
    gradient = jax.jit(jax.value_and_grad(scalar, (0, 1), has_aux=True))
    (total, ((code, maps), state)), grads = gradient(variables["params"], x)
    outputs = {"representation": code, "feature": golden_data.nchw(maps)}
    outputs["scalar"] = total
    outputs |= to_torch(leaves, "batch_stats", state["batch_stats"])
    scale = float(sum(np.sum(np.abs(c)) for c in cotangents))
    for name, expected in case.outputs.items():
        atol = 1e-5 * scale if name == "scalar" else 1e-5
        assert_near(outputs[name], expected, 1e-4, atol, name)
    named = to_torch(leaves, "params", grads[0]) | {"x": golden_data.nchw(grads[1])}
    for name, expected in case.grads.items():
        assert_gradient(named[name], expected, name)
    dead = dim.DEAD_BIASES["encoder"] if train else ()
    dead = {path.replace("/", ".") for path in dead}
    for name, norm in case.meta["gradnorm"].items():
        if name not in dead:
            assert_near(np.linalg.norm(named[name]), norm, 1e-3, 0, f"norm of {name}")


def _critic(case: golden_data.Case, *, local: bool) -> None:
    """Scores of a critic and the gradients of their mean square."""
    channels = case.config["channels"]
    leaves = dim.local_leaves() if local else dim.global_leaves((4, 4, channels))
    variables = variables_of(leaves, case.weights())
    module = dim.Critic(local)

    def scalar(maps: jax.Array, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        joint, _ = module.apply(variables, maps, code)
        return jnp.mean(jnp.square(joint)), joint

    maps = golden_data.nhwc(case.inputs["feature"])
    run = jax.jit(jax.grad(scalar, (0, 1), has_aux=True))
    grads, joint = run(maps, case.inputs["vector"])
    name = "local_statistics" if local else "global_statistics"
    shape = case.outputs[name].shape  # [B, 1, 4, 4] or [B, 1].
    found = {name: joint.reshape(shape), "scalar": jnp.mean(jnp.square(joint))}
    if local:  # Tiling adds nothing to a channel but its own sum.
        tiled = 16 * case.inputs["vector"]
        sums = [case.inputs["feature"].sum(axis=(2, 3)), tiled]
        found["concat_sum_per_channel"] = np.concatenate(sums, axis=1)
    for key, expected in case.outputs.items():
        atol = 1e-4 if key.startswith("concat") else 1e-6
        assert_near(found[key], expected, 1e-4, atol, key)
    assert_gradient(golden_data.nchw(grads[0]), case.grads["feature"], "feature")
    assert_gradient(grads[1], case.grads["vector"], "vector")


def check_local_statistics(case: golden_data.Case) -> None:
    """The local critic."""
    _critic(case, local=True)


def check_global_statistics(case: golden_data.Case) -> None:
    """The global critic."""
    _critic(case, local=False)


def check_discriminator(case: golden_data.Case) -> None:
    """Logits and the gradient of their mean square."""
    variables = variables_of(dim.discriminator_leaves(), case.weights())
    module: nn.Module = dim.Discriminator()

    def scalar(x: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(module.apply(variables, x)))

    codes = case.inputs["codes"]
    apply = jax.jit(module.apply)
    found = {"logit": apply(variables, codes), "scalar": jax.jit(scalar)(codes)}
    for key, expected in case.outputs.items():
        assert_near(found[key], expected, 1e-4, 1e-6, key)
    gradient = jax.jit(jax.grad(scalar))(codes)
    assert_gradient(gradient, case.grads["codes"], "codes")


def check_classifier(case: golden_data.Case) -> None:
    """Logits, the official loss, accuracy, gradients, moved statistics."""
    train = case.config["train"]
    leaves = dim.probe_leaves(norm_logits=True)
    variables = variables_of(leaves, case.weights())
    module = dim.Probe(case.config["output_dim"], norm_logits=True)
    target = case.inputs["target"]

    def loss(params: dict, codes: jax.Array) -> tuple[jax.Array, Any]:
        logits, state = module.apply(
            {**variables, "params": params}, codes, train=train, mutable=["batch_stats"]
        )
        return classification.double_softmax(logits, target), (logits, state)

    codes = case.inputs["codes"]
    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (value, (logits, state)), grads = run(variables["params"], codes)
    found = {"logits": logits, "loss": value}
    found["accuracy"] = classification.accuracy(logits, target)
    found |= to_torch(leaves, "batch_stats", state["batch_stats"])
    for key, expected in case.outputs.items():
        assert_near(found[key], expected, 1e-4, 1e-5, key)
    named = to_torch(leaves, "params", grads[0]) | {"codes": grads[1]}
    for key, expected in case.grads.items():
        assert_gradient(named[key], expected, key)
