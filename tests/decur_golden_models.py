"""Golden checks of DeCUR and its baselines: whole models, and a few steps of training."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mvjax.convert import torch_map
from mvjax.core import backbone as backbone_lib
from mvjax.core import tree
from mvjax.methods import barlow_twins
from mvjax.methods import clip
from mvjax.methods import decur
from mvjax.methods import simclr
from mvjax.methods import vicreg
from mvjax.models import mit
from mvjax.models import resnet
from mvjax.models import resnet_rda
from mvjax.models import two_towers
from mvjax.models import vit
from mvjax.train import optim
from tests import backbone_golden
from tests import golden_data
from tests import manifest_golden

GPUS = 4  # The released divisor is that many batches of one device.
ZERO = 1e-9  # Of the largest gradient: what is less is zero but for rounding.


def backbone_of(config: dict[str, Any]) -> backbone_lib.Backbone:
    """The backbone that a recording names."""
    name = config["backbone"]
    if name.startswith("resnet"):
        module = resnet_rda if config["rda"] else resnet
        return module.Backbone(int(name.removeprefix("resnet")))
    if name.startswith("mit_"):
        head = config.get("num_classes", 2048)
        return mit.Backbone(name.removeprefix("mit_"), head=head, drop_path=0.0)
    assert name == "vits16", name
    return vit.Backbone(image_size=config["size"])


def make_method(case: golden_data.Case) -> two_towers.Towers:
    """The method of a recording, with its settings."""
    config, name = case.config, case.meta["case"]
    common = dict(views=tuple(config["mode"]), backbone=backbone_of(config))
    if "simclr" in name:
        return simclr.Method(**common)
    if "clip" in name:
        return clip.Method(**common)
    common["widths"] = tuple(map(int, config["projector"].split("-")))
    if "vicreg" in name:
        return vicreg.Method(
            invariance=config["sim_coeff"],
            variance=config["std_coeff"],
            covariance=config["cov_coeff"],
            cov_divisor=config["batch_size"] - 1,
            **common,
        )
    common |= dict(lambd=config["lambd"], corr_divisor=GPUS * config["batch_size"])
    if "barlowtwins" in name:
        return barlow_twins.Method(**common)
    share = "official" if config["rda"] else "separate"
    return decur.Method(dim_common=config["dim_common"], rda_share=share, **common)


def batch_of(case: golden_data.Case) -> dict[str, Any]:
    """Float images by view, `[B, H, W, C]` or two draws of each."""
    factor, views = case.config["upsample"], {}
    for i, view in enumerate(case.config["mode"], 1):
        draws = [
            case.inputs[name]
            for name in (f"y{i}_f16", f"y{i}_1_f16", f"y{i}_2_f16")
            if name in case.inputs
        ]
        x = np.stack([golden_data.nhwc(x) for x in draws], axis=1).astype(np.float32)
        x = x.repeat(factor, axis=2).repeat(factor, axis=3)
        views[view] = jnp.asarray(x if len(draws) > 1 else x[:, 0])
    return {"views": views}


def load(
    method: two_towers.Towers, case: golden_data.Case
) -> tuple[dict[str, Any], list[torch_map.Leaf]]:
    """Variables of the recipe, and the table of the state dict without `module`."""
    weights = case.weights()
    if method.shared_projector:  # The last copy is what both hold.
        last = f"projector{len(method.views)}."
        for key in [k for k in weights if k.startswith("projector")]:
            weights[key] = weights[last + key.partition(".")[2]]
    leaves = list(method.torch_tables()["plain"])
    variables, _ = torch_map.to_flax(leaves, weights)
    return variables, leaves


def published(
    leaves: list[torch_map.Leaf], variables: dict, kind: str
) -> dict[str, np.ndarray]:
    """A collection under its published names."""
    mine = [leaf for leaf in leaves if leaf.path.startswith(f"{kind}/")]
    return torch_map.to_torch(mine, {kind: jax.device_get(variables[kind])})


def run(method: Any, variables: dict, batch: dict) -> tuple:
    """Loss, what comes with it, and gradients."""

    @jax.jit
    def both(params, rest, batch):
        def value(params):
            return method.loss(rest | {"params": params}, batch, jax.random.key(0))

        return jax.value_and_grad(value, has_aux=True)(params)

    rest = {k: v for k, v in variables.items() if k != "params"}
    (loss, aux), grads = both(variables["params"], rest, batch)
    return jax.device_get((loss, aux, grads))


def exactly(method: two_towers.Towers, variables: dict, batch: dict) -> tuple:
    """The same in double precision."""
    with jax.enable_x64():
        method = dataclasses.replace(method, dtype="float64")
        variables = backbone_golden.widen(variables)
        return run(method, variables, batch)


def check_model(case: golden_data.Case) -> None:
    """Loss, terms, all gradient norms, some gradients and the statistics that moved."""
    method, batch = make_method(case), batch_of(case)
    variables, leaves = load(method, case)
    tolerance = case.meta["tolerance"]
    loss, aux, grads = run(method, variables, batch)
    np.testing.assert_allclose(loss, case.outputs["loss"], tolerance["loss_rtol"])
    if "terms" in case.outputs:
        _check_terms(method, aux.metrics, case.outputs["terms"], tolerance["loss_rtol"])
    grads = published(leaves, {"params": grads}, "params")
    exact_loss, _, exact = exactly(method, variables, batch)
    exact = published(leaves, {"params": exact}, "params")
    limit = tolerance["gradnorm_float64_rtol"]
    np.testing.assert_allclose(exact_loss, case.meta["loss_float64"], limit)
    _check_norms(case, grads, exact)
    for key, expected in case.grads.items():
        _check_gradient(grads[key], exact[key], expected, tolerance, key)
    moved = tree.merge(variables, aux.model_state)
    found = published(leaves, moved, "batch_stats")
    for key, expected in case.outputs.items():
        if key.startswith("buffer/"):
            key = key.removeprefix("buffer/")
            _close(found[key], expected, tolerance, key)


def _close(found: Any, expected: Any, tolerance: dict[str, Any], name: str) -> None:
    np.testing.assert_allclose(
        found, expected, tolerance["rtol"], tolerance["atol"], err_msg=name
    )


def _check_gradient(
    mine: np.ndarray,
    exact: np.ndarray,
    recorded: np.ndarray,
    tolerance: dict[str, Any],
    name: str,
) -> None:
    """Compares a gradient with the recorded one, which is of float32.

    Of two networks the recording is off by more than its tolerance from the gradient of
    float64, whose norm it confirms to 1e-5. There ours must be within the tolerance of the
    latter, as a share of its norm, and the recording near enough to tell a wrong layout.
    """
    limits = tolerance["rtol"], tolerance["atol"]
    if np.allclose(exact, recorded, *limits):
        return _close(mine, recorded, tolerance, name)
    size = np.linalg.norm(exact)
    own, theirs = (np.linalg.norm(x - exact) / size for x in (mine, recorded))
    print(f"{name}: off by {own:.3g}, the recording itself by {theirs:.3g}")
    assert own <= limits[0], f"{name}: {own}"
    assert theirs <= 0.05, f"{name}: {theirs}"


def _check_terms(
    method: decur.Method, metrics: dict, expected: np.ndarray, rtol: float
) -> None:
    within = [metrics[f"intra/{view}"] for view in method.views]
    across = (metrics["common"] + metrics["unique"]) / 2
    np.testing.assert_allclose((*within, across), expected[:3], rtol)


def _check_norms(case: golden_data.Case, grads: dict, exact: dict) -> None:
    meta = case.meta
    expected = meta["gradnorm_float64"]
    largest = max(expected.values())
    share = float(meta["tolerance"]["gradnorm_float32"].split("*")[0].split()[-1])
    limit = meta["tolerance"]["gradnorm_float64_rtol"]
    for key in meta["params_without_gradient"]:
        assert not np.any(grads[key]) and not np.any(exact[key]), key
    for key, value in expected.items():
        mine = np.linalg.norm(exact[key])
        if value < ZERO * largest:
            assert mine < ZERO * largest, key
        else:
            np.testing.assert_allclose(mine, value, limit, err_msg=key)
        off = abs(np.linalg.norm(grads[key].astype(np.float64)) - value)
        assert off <= share * (value + 1e-4 * largest), key


def check_trajectory(case: golden_data.Case) -> None:
    """Losses and rates of a few steps, in both precisions, and sums of all that moved."""
    config = case.config
    assert config["one_step_per_epoch"], "each step has the rate of its own epoch"
    method = make_method(case)
    variables, leaves = load(method, case)
    schedule: dict[str, Any] = dict(name="cosine")
    if not config["cos"]:
        milestones = tuple(map(float, config["schedule"]))
        schedule = dict(name="multistep", milestones=milestones)
    settings = dict(
        name="lars" if "lars" in case.meta["case"] else "adamw",
        lr=config["learning_rate_weights"],
        weight_decay=config["weight_decay"],
        schedule=schedule,
        groups=dict(
            biases=dict(rank="vector", lr=config["learning_rate_biases"]), rest=dict()
        ),
    )
    made = optim.make(
        settings, variables["params"], steps_per_epoch=1, epochs=float(config["epochs"])
    )
    steps = range(config["steps"])
    rates = [[made.schedules[k](t) for k in ("rest", "biases")] for t in steps]
    np.testing.assert_allclose(rates, case.outputs["lrs"], 1e-6, 1e-12)
    check_steps(case, method, made.transform, variables, batch_of(case), leaves)


def check_steps(
    case: golden_data.Case,
    method: Any,
    transform: optax.GradientTransformation,
    variables: dict,
    batch: dict,
    leaves: Sequence[torch_map.Leaf],
) -> None:
    """Losses of a few steps in both precisions, and sums of all variables after them."""
    tolerance, count = case.meta["tolerance"], case.config["steps"]
    losses, _ = _train(method, transform, variables, batch, count)
    limit = tolerance["loss_rtol_float32"]
    np.testing.assert_allclose(losses, case.outputs["losses_float32"], limit)
    with jax.enable_x64():
        exact = dataclasses.replace(method, dtype="float64")
        wide = backbone_golden.widen(variables)
        losses, wide = _train(exact, transform, wide, batch, count)
    limit = tolerance["loss_rtol_float64"]
    np.testing.assert_allclose(losses, case.outputs["losses_float64"], limit)
    found = torch_map.to_torch(leaves, wide)
    limit = tolerance["checksum_abs_sum_rtol"]
    for key, (total, magnitude) in case.meta["checksum"].items():
        mine = np.asarray(found[key], np.float64)
        np.testing.assert_allclose(np.abs(mine).sum(), magnitude, limit, err_msg=key)
        np.testing.assert_allclose(mine.sum(), total, 0, limit * magnitude, err_msg=key)


def _train(
    method: Any,
    transform: optax.GradientTransformation,
    variables: dict,
    batch: dict,
    count: int,
) -> tuple[list[float], dict]:
    """Losses of so many steps, and the variables after them."""

    @jax.jit
    def step(params, rest, state, batch):
        def value(params):
            return method.loss(rest | {"params": params}, batch, jax.random.key(0))

        (loss, aux), grads = jax.value_and_grad(value, has_aux=True)(params)
        updates, state = transform.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u.astype(p.dtype), params, updates)
        return loss, params, tree.merge(rest, aux.model_state), state

    params, state = variables["params"], transform.init(variables["params"])
    rest, losses = {k: v for k, v in variables.items() if k != "params"}, []
    for _ in range(count):
        loss, params, rest, state = step(params, rest, state, batch)
        losses.append(float(loss))
    return losses, jax.device_get(rest | {"params": params})


def _joint_method(
    shapes: manifest_golden.Shapes,
) -> tuple[two_towers.Towers, dict[str, int]]:
    """The method that writes a file of pretraining, and the channels of its views."""
    views, inside = ("one", "two"), []
    for i in (1, 2):
        prefix = f"backbone_{i}."
        mine = {k: x for k, x in shapes.items() if k.startswith(prefix)}
        inside.append({k.removeprefix(prefix): x for k, x in mine.items()})
    (build,) = (
        make for first, make in manifest_golden.BUILDERS.items() if first in inside[0]
    )
    network = build(inside[0])
    if any(key.startswith("da1_") for key in shapes):
        network = resnet_rda.Backbone(network.depth)
    (stem,) = [key for key in manifest_golden.STEMS if key in inside[0]]
    channels = {view: x[stem][1] for view, x in zip(views, inside)}
    fields: dict[str, Any] = dict(views=views, backbone=network)
    if "projector1.0.bias" in shapes:
        return simclr.Method(**fields), channels
    kind = decur.Method if "bn.running_var" in shapes else vicreg.Method
    return kind(**fields), channels


def check_manifests(case: golden_data.Case) -> None:
    """Every backbone and every transfer, and all keys of the files of pretraining."""
    manifest_golden.check_decur(case)
    count = 0
    for name, file in case.meta["files"].items():
        shapes = {key: tuple(shape) for key, (shape, _) in file["entries"].items()}
        if not any(key.startswith("module.projector1") for key in shapes):
            continue
        bare = {key.removeprefix("module."): shape for key, shape in shapes.items()}
        method, channels = _joint_method(bare)
        size = getattr(method.backbone, "image_size", 64)
        views = {
            view: jax.ShapeDtypeStruct((2, size, size, n), "float32")
            for view, n in channels.items()
        }
        made = jax.eval_shape(method.init, jax.random.key(0), {"views": views})
        tables = method.torch_tables()
        kinds = {"bare": ("joint",), "model": ("checkpoint",)}
        for kind in kinds.get(file["wrapper"], ("joint", "checkpoint")):
            assert tables[kind].inside == ("model" if kind == "checkpoint" else "")
            assert manifest_golden.shapes_of(tables[kind], made) == shapes, name
        count += 1
    assert count
