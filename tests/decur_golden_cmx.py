"""Golden checks of CMX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.methods import segment
from mvjax.models import cross_modal_fusion
from mvjax.models import mit
from mvjax.models.decoders import mlp
from mvjax.train import optim
from tests import backbone_golden
from tests import decur_golden_models
from tests import golden_data
from tests.decur_golden_transfer import images
from tests.decur_golden_transfer import weights


def close(case: golden_data.Case, found: Any, expected: Any, name: str) -> None:
    """Compares with the tolerances of the recording."""
    tolerance = case.meta["tolerance"]
    np.testing.assert_allclose(
        found, expected, tolerance["rtol"], tolerance["atol"], err_msg=name
    )


def check_modules(case: golden_data.Case) -> None:
    """FRM, FFM and the MLP decoder, each alone."""
    found = _run_frm(case) | _run_ffm(case) | _run_decoder(case)
    for recorded in (case.outputs, case.grads):
        for key, expected in recorded.items():
            name = key if recorded is case.outputs else f"grad/{key}"
            close(case, found[name], expected, name)


def _gradients(
    case: golden_data.Case, name: str, leaves: list[torch_map.Leaf], gradients: Any
) -> dict[str, Any]:
    """Gradients of the two maps by name; compares the norms of all others."""
    params, *maps = jax.device_get(gradients)
    trained = [leaf for leaf in leaves if leaf.path.startswith("params/")]
    tensors = torch_map.to_torch(trained, {"params": params})
    for key, expected in case.meta["gradnorm"][name].items():
        norm = np.linalg.norm(tensors[key].astype(np.float64))
        # A bias before a batch norm has no gradient but rounding.
        close(case, norm, expected, f"norm of the gradient of {name}/{key}")
    return {f"grad/{name}/x{i}": golden_data.nchw(x) for i, x in enumerate(maps, 1)}


def _maps(case: golden_data.Case, prefix: str) -> list[np.ndarray]:
    keys = sorted(key for key in case.inputs if key.startswith(prefix))
    return [golden_data.nhwc(case.inputs[key]) for key in keys]


def _run_frm(case: golden_data.Case) -> dict[str, Any]:
    frm, leaves = cross_modal_fusion.FRM(), cross_modal_fusion.frm_leaves()
    variables, _ = torch_map.to_flax(leaves, weights(case, "frm"))
    cotangents = _maps(case, "cotangent")

    def total(params, a, b):
        maps, state = frm.apply({"params": params}, a, b, capture_intermediates=True)
        return sum((m * c).sum() for m, c in zip(maps, cotangents)), (maps, state)

    run = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))
    gradients, (maps, state) = run(variables["params"], *_maps(case, "x"))
    inside = {
        name: jax.nn.sigmoid(state["intermediates"][name]["__call__"][0])
        for name in ("channel_out", "pixel_out")
    }
    found = {f"frm/x{i}": golden_data.nchw(m) for i, m in enumerate(maps, 1)}
    for key, name in (("channel", "channel_out"), ("spatial", "pixel_out")):
        halves = jnp.split(inside[name], 2, axis=-1)
        found[f"frm/{key}_weights"] = golden_data.nchw(jnp.stack(halves))
    return found | _gradients(case, "frm", leaves, gradients)


def _run_ffm(case: golden_data.Case) -> dict[str, Any]:
    ffm = cross_modal_fusion.FFM(case.config["num_heads"])
    leaves = cross_modal_fusion.ffm_leaves()
    variables, _ = torch_map.to_flax(leaves, weights(case, "ffm"))
    x, cotangent = _maps(case, "x"), _maps(case, "cotangent1")[0]

    @jax.jit
    def evaluate(variables):
        return ffm.apply(variables, *x, train=False, capture_intermediates=True)

    def total(params, a, b):
        held = variables | {"params": params}
        y, state = ffm.apply(held, a, b, train=True, mutable=["batch_stats"])
        return (y * cotangent).sum(), (y, state)

    evaluated, inside = evaluate(variables)
    run = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))
    gradients, (y, state) = run(variables["params"], *x)
    tokens = inside["intermediates"]["exchange"]["__call__"][0]
    found = {"ffm/eval": golden_data.nchw(evaluated), "ffm/train": golden_data.nchw(y)}
    found |= {f"ffm/cross{i}": rows for i, rows in enumerate(tokens, 1)}
    moved = backbone_golden.statistics(leaves, state)
    found |= {f"ffm/{key}": array for key, array in moved.items()}
    return found | _gradients(case, "ffm", leaves, gradients)


def _run_decoder(case: golden_data.Case) -> dict[str, Any]:
    config, maps = case.config["decoder"], _maps(case, "mlp_decoder/c")
    # The recorded one has the epsilon of a network built without a criterion.
    decoder = mlp.Decoder(config["embed_dim"], eval_epsilon=1e-5)
    leaves = decoder.torch_leaves(len(maps))
    variables, _ = torch_map.to_flax(leaves, weights(case, "mlp_decoder"))
    net = decoder.net(config["num_classes"])
    run = jax.jit(lambda v: net.apply(v, maps, maps[0].shape[1:3], train=False))
    return {"mlp_decoder/logits": golden_data.nchw(run(variables))}


def _method(config: dict[str, Any], **head: Any) -> segment.Method:
    """CMX as a recording has it, without dropping anything."""
    return segment.Method(
        backbone=mit.Backbone(config["backbone"].removeprefix("mit_"), drop_path=0.0),
        view="rgb",
        also=("x",),
        fusion="cmx",
        classes=config["num_classes"],
        ignore=config.get("background", 255),
        head=mlp.Decoder(config["decoder_embed_dim"], dropout=0.0, **head),
    )


def _batch(case: golden_data.Case, labels: np.ndarray) -> dict[str, Any]:
    factor = case.config["upsample"]
    views = {view: images(case, f"{view}_f16", factor) for view in ("rgb", "x")}
    return {"views": views, "targets": {"mask": labels}}


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The optimiser of CMX: parameters of one axis do not decay."""
    return dict(
        name="adamw",
        lr=config.get("lr", 1.0),
        weight_decay=config.get("weight_decay", 0.5),
        schedule=dict(
            name="warmup_poly",
            unit="step",
            warmup=float(config.get("warmup_iters", 0)),
            power=config.get("power", 0.9),
            lag=1,
        ),
        groups=dict(vectors=dict(rank="vector", weight_decay=0.0), rest=dict()),
    )


def check_model(case: golden_data.Case) -> None:
    """Classes in evaluation, with both epsilons, then loss, gradients and statistics."""
    config = case.config
    assert config["decoder"] == "MLPDecoder"
    method, batch = _method(config), _batch(case, case.inputs["labels"])
    table = method.torch_tables()["cmx"]
    variables, _ = torch_map.to_flax(table, weights(case, "mlp"))
    found = {}
    for name, epsilon in (("train_network", 1e-3), ("eval_network", 1e-5)):
        predictor = _method(config, eval_epsilon=epsilon)
        logits = jax.jit(predictor.predict)(variables, batch)["logits"]
        found[f"{name}/logits_strided4"] = golden_data.nchw(logits)[..., ::4, ::4]
        alike = np.argmax(logits, axis=-1) == case.outputs[f"{name}/argmax"]
        assert alike.mean() >= case.meta["tolerance"]["argmax_agreement"], name
    maps = jax.jit(lambda *given: method.maps(*given)[0])(variables, batch)
    for i, x in enumerate(maps):
        found[f"fused{i}_chanmean"] = np.mean(x, axis=(1, 2))
        found[f"fused{i}_ch0"] = x[..., 0]
    loss, aux, gradients = decur_golden_models.run(method, variables, batch)
    limit = case.meta["tolerance"]["loss_rtol"]
    np.testing.assert_allclose(loss, case.outputs["train/loss"], limit)
    moved = backbone_golden.statistics(list(table), aux.model_state)
    found |= {f"train/{key}": array for key, array in moved.items()}
    for key, expected in case.outputs.items():
        if not key.endswith(("argmax", "train/loss")):
            close(case, found[key], expected, key)
    _check_gradients(case, table, gradients)
    _check_decay(case, table, variables["params"])


def _check_gradients(case: golden_data.Case, table: Any, gradients: Any) -> None:
    mine = decur_golden_models.published(list(table), {"params": gradients}, "params")
    for key, expected in case.grads.items():
        close(case, mine[key], expected, key)
    limit, norms = case.meta["tolerance"]["gradnorm_rtol"], case.meta["gradnorm"]
    assert set(norms) == set(mine)
    least = 1e-4 * max(norms.values())  # Below it, biases before norms: zero.
    for key, expected in norms.items():
        off = abs(np.linalg.norm(mine[key].astype(np.float64)) - expected)
        assert off <= limit * (expected + least), key


def _check_decay(case: golden_data.Case, table: Any, params: Any) -> None:
    """Without gradients a step moves what decays, and nothing else."""
    made = optim.make(_settings({}), params, steps_per_epoch=1, epochs=1.0)
    ones, zeros = (jax.tree.map(f, params) for f in (jnp.ones_like, jnp.zeros_like))
    updates, _ = made.transform.update(zeros, made.transform.init(ones), ones)
    moved = decur_golden_models.published(list(table), {"params": updates}, "params")
    decaying = {key for key, array in moved.items() if np.any(array)}
    assert decaying == set(case.meta["decay_params"])
    assert set(moved) - decaying == set(case.meta["no_decay_params"])


def check_trajectory(case: golden_data.Case) -> None:
    """Losses and rates of a few steps, in both precisions, and sums of all that moved."""
    config, method = case.config, _method(case.config)
    factor = config["upsample"]
    labels = case.inputs["labels_small"].repeat(factor, 1).repeat(factor, 2)
    table = method.torch_tables()["cmx"]
    variables, _ = torch_map.to_flax(table, case.weights())
    made = optim.make(
        _settings(config),
        variables["params"],
        steps_per_epoch=1,
        epochs=float(config["total_iters"]),
    )
    rates = [made.schedules["rest"](t) for t in range(config["steps"])]
    np.testing.assert_allclose(rates, case.outputs["lrs_used"], 1e-6)
    batch = _batch(case, labels)
    leaves = list(table)
    decur_golden_models.check_steps(
        case, method, made.transform, variables, batch, leaves
    )
