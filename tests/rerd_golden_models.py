"""Golden checks of RERD's layers, encoders, fusion transformer and whole network."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import tree
from mvjax.methods import rerd as rerd_method
from mvjax.models import cross_modal
from mvjax.models import prob_sparse
from mvjax.models.layers import sequence
from tests import golden_data

GRADNORM_RTOL = 2e-3  # As the recordings' index demands.
LETTERS = {"l": "text", "a": "audio", "v": "vision"}
NAMES = {v: k for k, v in LETTERS.items()}
# Our names of the recorded settings; the others have ours.
SETTINGS = {"layers": "nlevels"}


def assert_near(case: golden_data.Case, actual: Any, expected: Any, name: str) -> None:
    """Asserts `|a - b| <= atol + rtol * |b|` and prints the share that is used."""
    rtol, atol = case.meta["tolerance"]["rtol"], case.meta["tolerance"]["atol"]
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: {actual.shape} {expected.shape}"
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    used = np.max(error / (atol + rtol * np.abs(expected)), initial=0.0)
    print(f"{used:10.3g} of the tolerance: {name}")
    assert used <= 1, f"{name}: {used:.3g} of the tolerance"


def assert_norms(case: golden_data.Case, grads: dict[str, np.ndarray]) -> None:
    """Compares the 2-norm of the gradient of every parameter that the file lists."""
    for key, expected in case.meta["gradnorm"].items():
        if expected is None:
            assert not np.any(grads.get(key, 0)), f"{key}: a gradient where none was"
            continue
        norm = np.linalg.norm(np.asarray(grads[key], np.float64))
        limit = GRADNORM_RTOL * expected + case.meta["tolerance"]["atol"]
        assert abs(norm - expected) <= limit, f"norm of {key}: {norm} {expected}"


def assert_recorded_gradients(
    case: golden_data.Case, grads: dict[str, np.ndarray]
) -> None:
    """Compares every recorded gradient of a parameter."""
    for key, expected in case.grads.items():
        if key in grads:
            assert_near(case, grads[key], expected, f"gradient of {key}")
    assert set(case.grads) <= set(grads) | set(case.inputs), "a gradient was left out"


def weights_of(case: golden_data.Case, constants: Any = None) -> dict[str, np.ndarray]:
    """The recipe's weights; those that it does not fill come from `constants`."""
    filled = case.weights()
    for key in case.meta.get("constant_keys", ()):
        filled.pop(key)
        if constants is not None and key in constants:
            filled[key] = np.asarray(constants[key])
    return filled


def variables_of(
    leaves: list[torch_map.Leaf], weights: dict[str, np.ndarray], **options: Any
) -> dict[str, Any]:
    """Flax variables of a whole state dict."""
    found = torch_map.to_flax(leaves, weights, **options)[0]
    return jax.tree.map(jnp.asarray, found)


def to_torch(
    leaves: list[torch_map.Leaf], collection: str, arrays: dict[str, Any]
) -> dict[str, np.ndarray]:
    """One collection (of gradients, say) under PyTorch's names."""
    flat = tree.flatten({collection: arrays})
    part = [leaf for leaf in leaves if leaf.path in flat]
    return torch_map.to_torch(
        part, tree.unflatten({p.path: flat[p.path] for p in part})
    )


def check_prob_attn(case: golden_data.Case) -> None:
    """Context, sharpness, selected queries and gradients."""

    def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> prob_sparse.Attended:
        shape = (q.shape[0], q.shape[2], q.shape[1], q.shape[3])
        parts = (x.reshape(shape) for x in (q, k, v))
        return prob_sparse.attend(
            *parts,
            case.inputs["index_sample"],
            factor=case.config["factor"],
            causal=case.config["mask_flag"],
        )

    inputs = [jnp.asarray(case.inputs[name]) for name in "qkv"]
    context, pull = jax.vjp(lambda *x: attend(*x).context, *inputs)
    found = attend(*inputs)
    selected = np.zeros(case.outputs["selected"].shape, np.uint8)
    np.put_along_axis(selected, np.asarray(found.selected), 1, axis=2)
    np.testing.assert_array_equal(selected, case.outputs["selected"])
    assert_near(case, context, case.outputs["context"], "context")
    assert_near(case, found.sharpness, case.outputs["M"], "M")
    for name, gradient in zip("qkv", pull(case.inputs["cotangent"]), strict=True):
        assert_near(case, gradient, case.grads[name], f"gradient of {name}")


def check_conv_layer(case: golden_data.Case) -> None:
    """Distilling layer in both modes, statistics and gradients."""
    leaves = prob_sparse.distilling_leaves()
    variables = variables_of(leaves, weights_of(case))
    module, cotangent = prob_sparse.Distilling(), case.inputs["cotangent"]
    x = jnp.asarray(case.inputs["x"])
    y, pull = jax.vjp(lambda x: module.apply(variables, x, train=False), x)
    assert_near(case, y, case.outputs["eval"], "eval")
    assert_near(case, pull(cotangent)[0], case.grads["x_eval"], "gradient of x, eval")

    def train(params: Any, x: jax.Array) -> Any:
        held = {**variables, "params": params}
        return module.apply(held, x, train=True, mutable=["batch_stats"])

    y, pull, moved = jax.vjp(train, variables["params"], x, has_aux=True)
    assert_near(case, y, case.outputs["train"], "train")
    d_params, dx = pull(cotangent)
    assert_near(case, dx, case.grads["x_train"], "gradient of x, train")
    grads = to_torch(leaves, "params", d_params)
    for key, expected in case.grads.items():
        if not key.startswith("x_"):
            name = key.removesuffix("_train")
            assert_near(case, grads[name], expected, f"gradient of {name}")
    stats = to_torch(leaves, "batch_stats", moved["batch_stats"])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert_near(case, stats[f"norm.{name}"], case.outputs[name], name)


def check_data_embedding(case: golden_data.Case) -> None:
    """Circular convolution plus positions."""
    weights = weights_of(case)
    leaves = torch_map.conv1d("", "value_embedding.tokenConv")
    module = sequence.Conv1D(case.config["d_model"], circular=True)
    x = case.inputs["x"]
    y = module.apply(variables_of(leaves, weights), x)
    positions = sequence.sinusoids(x.shape[1], case.config["d_model"])
    assert_near(case, y + positions, case.outputs["y"], "y")
    known = case.outputs["pe_first8"]
    assert_near(case, positions[: len(known)], known, "positions")


def check_encoder_layer(case: golden_data.Case) -> None:
    """One layer forwards, gradients."""
    leaves, config = prob_sparse.encoder_layer_leaves(), case.config
    variables = variables_of(leaves, weights_of(case))
    module = prob_sparse.EncoderLayer(
        heads=config["n_heads"],
        hidden=config["d_ff"],
        factor=config["factor"],
        activation=config["activation"],
        dropout=config["dropout"],
    )

    def run(params: Any, x: jax.Array) -> jax.Array:
        index = case.inputs["index_sample"]
        return module.apply({"params": params}, x, index)

    y, pull = jax.vjp(run, variables["params"], jnp.asarray(case.inputs["x"]))
    assert_near(case, y, case.outputs["y"], "y")
    d_params, dx = pull(case.inputs["cotangent"])
    grads = to_torch(leaves, "params", d_params) | {"x": dx}
    assert_recorded_gradients(case, grads)


def check_distnet(case: golden_data.Case) -> None:
    """A whole encoder in both modes, statistics and all gradients."""
    config = case.config
    leaves = prob_sparse.torch_leaves(config["e_layers"], distil=config["distil"])
    ignore = ("dec_embedding.*", "*.pe")
    variables = variables_of(leaves, weights_of(case), ignore=ignore)
    module = prob_sparse.DistillingEncoder(
        out_features=config["c_out"],
        width=config["d_model"],
        heads=config["n_heads"],
        hidden=config["d_ff"],
        layers=config["e_layers"],
        factor=config["factor"],
        activation=config["activation"],
        dropout=config["dropout"],
        distil=config["distil"],
    )
    sampled = [case.inputs[f"idx/{i}"] for i in range(config["e_layers"])]
    x = jnp.asarray(case.inputs["x"])
    y = jax.jit(functools.partial(module.apply, train=False))(variables, x, sampled)
    assert_near(case, y, case.outputs["eval"], "eval")

    def differentiate(dtype: str) -> tuple[jax.Array, Any, dict[str, np.ndarray]]:
        """Output, moved statistics and gradients, computed in `dtype`."""
        held = jax.tree.map(lambda a: _cast(a, dtype), variables)
        points = jnp.asarray(case.inputs["x"], dtype)
        typed = module.clone(dtype=dtype)

        @jax.jit
        def train(params: Any, x: jax.Array) -> Any:
            full = {**held, "params": params}
            return typed.apply(full, x, sampled, train=True, mutable=["batch_stats"])

        y, pull, moved = jax.vjp(train, held["params"], points, has_aux=True)
        d_params, dx = pull(jnp.asarray(case.inputs["cotangent"], dtype))
        return y, moved, to_torch(leaves, "params", d_params) | {"x": dx}

    y, moved, grads = differentiate("float32")
    assert_near(case, y, case.outputs["train"], "train")
    stats = to_torch(leaves, "batch_stats", moved.get("batch_stats", {}))
    for key, expected in case.outputs.items():
        if key.startswith("stats/"):
            assert_near(case, stats[key.removeprefix("stats/")], expected, key)
    assert_norms(case, grads)
    # The recording's own rounding is up to 0.94 of the tolerance, so it is compared with
    # our gradients in float64, and those in float32 with these.
    with jax.enable_x64():
        _, _, exact = differentiate("float64")
    assert_recorded_gradients(case, exact)
    for key in case.grads:
        assert_near(case, grads[key], exact[key], f"float32 gradient of {key}")


def _cast(array: jax.Array, dtype: str) -> jax.Array:
    """Gives an array of floats another type; counters keep theirs."""
    is_float = jnp.issubdtype(array.dtype, jnp.floating)
    return array.astype(dtype) if is_float else array


def _by_time(x: np.ndarray) -> jax.Array:
    """`[T, B, C]` to `[B, T, C]`, and back."""
    return jnp.swapaxes(jnp.asarray(x), 0, 1)


def check_transformer(case: golden_data.Case) -> None:
    """Self and cross attention, masked or not, gradients."""
    config = case.config
    leaves = cross_modal.torch_leaves(config["layers"])
    variables = variables_of(leaves, weights_of(case))

    @functools.partial(jax.jit, static_argnums=3)
    def run(params: Any, x: jax.Array, memory: Any, causal: bool) -> jax.Array:
        module = cross_modal.Transformer(
            config["num_heads"], config["layers"], causal=causal
        )
        return module.apply({"params": params}, x, memory)

    params, inputs = (
        variables["params"],
        {k: _by_time(v) for k, v in case.inputs.items()},
    )
    for name, expected in case.outputs.items():
        memory = None
        if name.startswith("cross_"):
            memory = inputs[f"kv_{name.split('_')[1]}"]
        masked = not name.endswith("_unmasked")
        y = run(params, inputs["x"], memory, masked)
        assert_near(case, _by_time(y), expected, name)
    ct = inputs["cotangent"]
    _, pull = jax.vjp(lambda p, x: run(p, x, None, True), params, inputs["x"])
    d_params, dx = pull(ct)
    assert_norms(case, to_torch(leaves, "params", d_params))
    found = {"x_self_causal": _by_time(dx)}
    _, pull = jax.vjp(
        lambda x, m: run(params, x, m, True), inputs["x"], inputs["kv_long"]
    )
    dx, dm = pull(ct)
    found |= {"x_cross_long_masked": _by_time(dx), "kv_cross_long_masked": _by_time(dm)}
    assert set(found) == set(case.grads)
    for name, expected in case.grads.items():
        assert_near(case, found[name], expected, f"gradient of {name}")


def check_multihead_attention(case: golden_data.Case) -> None:
    """Outputs and mean attention, of one sequence and of two."""
    variables = variables_of(cross_modal.attention_leaves(), weights_of(case))
    module = cross_modal.MultiHeadAttention(case.config["num_heads"])
    x, memory = _by_time(case.inputs["x"]), _by_time(case.inputs["kv"])
    found = {}
    for name, keys in (("self", x), ("cross", memory)):
        y, weights = module.apply(variables, x, keys)
        found |= {name: _by_time(y), f"{name}_weights": weights}
    assert set(found) == set(case.outputs)
    for name, expected in case.outputs.items():
        assert_near(case, found[name], expected, name)


def make_method(config: dict[str, Any], **options: Any) -> rerd_method.Method:
    """The method as a recording was made."""
    known = set(rerd_method.Method.__dataclass_fields__)
    fields = {SETTINGS.get(k, k): v for k, v in config.items()}
    fields = {k: v for k, v in fields.items() if k in known}
    active = [name for k, name in LETTERS.items() if config.get(f"{k}only", True)]
    text = config.get("bert")
    if config.get("use_bert"):
        keys = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
        keys += ("intermediate_size", "max_position_embeddings")
        fields |= {"tokens": "text", "bert_sizes": tuple(text[k] for k in keys)}
    return rerd_method.Method(**{**fields, "active": tuple(active), **options})


def make_batch(inputs: dict[str, np.ndarray], dtype: str) -> dict[str, Any]:
    """A batch of recorded inputs."""
    views = {v: inputs[v] for v in LETTERS.values()}
    if views["text"].shape[1:2] != (3,) or views["text"].ndim != 3:
        views["text"] = views["text"].astype(dtype)
    rows = len(views["audio"])
    return {
        "views": {k: v if k == "text" else v.astype(dtype) for k, v in views.items()},
        "label": np.full(rows, -1, np.int32),
        "index": np.arange(rows, dtype=np.int32),
        "targets": {"score": inputs["label"].reshape(-1).astype(dtype)},
    }


def recorded_keys(
    method: rerd_method.Method, inputs: dict[str, np.ndarray], prefix: str = "idx/"
) -> dict[str, list[np.ndarray]]:
    """The recorded draws of ProbSparse attention by view."""
    return {
        view: [
            inputs[f"{prefix}{NAMES[view]}_refine/{i}"].astype(np.int32)
            for i in range(method.dis_e_layers)
        ]
        for view in method.sizes.encoded
    }


def start(
    case: golden_data.Case,
    method: rerd_method.Method,
    batch: dict[str, Any],
    dtype: str = "float32",
) -> dict[str, Any]:
    """Variables that the recipe gives; constants are the method's own."""
    fresh = method.init(jax.random.key(0), batch)
    weights = method.standard_names(weights_of(case, fresh["unused"]))
    weights = {
        k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in weights.items()
    }
    leaves = method.torch_tables()["rerd"]
    return variables_of(leaves, weights, template=fresh)


def check_model(case: golden_data.Case) -> None:
    """Predictions, representations, losses, statistics and gradients of the network."""
    method = make_method(case.config)
    leaves = method.torch_tables()["rerd"]
    batch = make_batch(case.inputs, "float32")
    variables = start(case, method, batch)
    sampled = recorded_keys(method, case.inputs)

    @jax.jit
    def evaluate(variables: Any) -> Any:
        out, _ = method.forward(variables, batch, sampled=sampled)
        return out, *method._regulariser(out.representations, batch)

    out, cost, metrics = evaluate(variables)
    expected = case.outputs
    assert_near(case, out.prediction, expected["pred"], "pred")
    assert_near(case, out.fused, expected["last_h_fusion"], "fusion")
    for view, h in out.representations.items():
        known = np.swapaxes(expected[f"h_{NAMES[view]}"], 0, 1)
        known = np.broadcast_to(known, h.shape)
        assert_near(case, h, known, f"h of {view}")
    assert_near(case, cost, expected["reg"], "reg")
    _assert_iterations(case, metrics, "n_iters")
    if "pred_train" in expected:
        _check_training(case, method, leaves, variables, batch, sampled)


def _assert_iterations(case: golden_data.Case, metrics: dict, name: str) -> None:
    recorded = case.outputs[name]
    if recorded.size:
        found = metrics["sinkhorn_iterations"]
        np.testing.assert_allclose(found, recorded.mean(), rtol=1e-6, err_msg=name)


def _check_training(
    case: golden_data.Case,
    method: rerd_method.Method,
    leaves: list[torch_map.Leaf],
    variables: dict[str, Any],
    batch: dict[str, Any],
    sampled: dict[str, list[np.ndarray]],
) -> None:
    expected, rng = case.outputs, jax.random.key(0)

    # One program for both objectives, as compiling it is most of this test.
    def loss(params: Any, stats: Any, share: jax.Array) -> Any:
        held = {**variables, "params": params, "batch_stats": stats}
        out, moved = method.forward(held, batch, rng, sampled=sampled)
        task = jnp.mean(jnp.abs(out.prediction[:, 0] - batch["targets"]["score"]))
        cost, metrics = method._regulariser(out.representations, batch)
        total = share * task + method.reg_lambda * cost
        return total, (out.prediction, task, metrics, moved.get("batch_stats", {}))

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    params, stats = variables["params"], variables.get("batch_stats", {})
    (total, aux), grads = run(params, stats, 1.0)
    prediction, task, metrics, moved = aux
    assert_near(case, prediction, expected["pred_train"], "pred_train")
    assert_near(case, task, expected["raw_loss"], "raw_loss")
    assert_near(case, metrics["msd"], expected["reg_train"], "reg_train")
    assert_near(case, total, expected["joint_loss"], "joint_loss")
    _assert_iterations(case, metrics, "n_iters_train")
    assert_norms_of_model(case, method, leaves, grads)
    # The second training pass that was recorded: the regulariser alone.
    (_, (*_, moved)), grads = run(params, moved, 0.0)
    assert_total(grads, expected["reg_only_grad_total_norm"], "reg only")
    stats = to_torch(leaves, "batch_stats", moved)
    for key, known in expected.items():
        name = key.removeprefix("stats/")
        # Released: the text's encoder has statistics even where BERT replaces it.
        if name != key and name in stats:
            assert_near(case, stats[name], known, key)


def assert_norms_of_model(
    case: golden_data.Case,
    method: rerd_method.Method,
    leaves: list[torch_map.Leaf],
    grads: dict[str, Any],
) -> None:
    """Compares recorded gradients, all their norms and the total; BERT is frozen."""
    trained = {k: v for k, v in grads.items() if k != "bert"}
    named = to_torch(leaves, "params", trained)
    assert_recorded_gradients(case, named)
    assert_norms(case, named)
    assert_total(trained, case.outputs["grad_total_norm"], "joint")


def assert_total(grads: dict[str, Any], expected: Any, name: str) -> None:
    """Compares the global norm of all gradients but BERT's."""
    trained = {k: v for k, v in grads.items() if k != "bert"}
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(trained)]
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in leaves))
    golden_data.assert_close(norm, expected, GRADNORM_RTOL, f"total norm, {name}")
