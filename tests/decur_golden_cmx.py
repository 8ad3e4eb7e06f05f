"""Golden checks of CMX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.models import cross_modal_fusion
from mvjax.models.decoders import mlp
from tests import backbone_golden
from tests import golden_data
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
