"""Golden checks of MV-MR's steps, trajectories and probe."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import tree
from mvjax.evaluators import multilabel
from mvjax.losses import classification
from mvjax.methods import classify
from mvjax.methods import mvmr
from mvjax.methods import mvmr_clip
from mvjax.models import resnet
from mvjax.models import resnet_cifar
from mvjax.models import vit
from mvjax.ops import representations
from mvjax.train import optim
from tests import golden_data

AUGMENT = "full_img_augment"
NAMES = {"MSE": "mse", "STD": "std", "DC_zz": "dc_zz", "DC_clip": "dc/teacher"}


def widths(out_dim: str | int | None) -> tuple[int, ...]:
    """The projector of a published config."""
    if out_dim is None:
        return ()
    return tuple(int(size) for size in str(out_dim).split("-"))


def backbone_of(encoder: dict[str, Any]) -> Any:
    """The backbone of a published config."""
    small, name = encoder["small_kernel"], encoder["backbone"]
    if name == "resnet8x4":
        return resnet_cifar.Backbone(default_stem=small)
    stem = "small" if small else "standard"
    return resnet.Backbone(int(name.removeprefix("resnet")), stem)


def fields_of(config: dict[str, Any]) -> dict[str, Any]:
    """Fields that both methods take from a published config."""
    return dict(
        backbone=backbone_of(config["encoder"]),
        widths=widths(config["encoder"]["out_dim"]),
        normalize_z=config["normalize_z"],
        std_margin=float(config["std_margin"]),
    )


def make_method(config: dict[str, Any]) -> mvmr.Method:
    """The released method of a published config."""
    scattering, hog = config["scatnet"], config["hog"]
    settings = representations.Settings(
        scattering=representations.Scattering(scattering["J"], scattering["L"]),
        hog=representations.Hog(bins=hog["nbins"], pool=hog["pool"]),
    )
    return mvmr.Method(rep_objective="official", settings=settings, **fields_of(config))


def weights_of(manifest: dict[str, Any], salt: int, part: str = "encoder") -> dict:
    """Tensors of a state dict as they stand in a file of several."""
    return {
        f"{part}:{key}": golden_data.make_weight(key, shape, dtype, salt)
        for key, (shape, dtype) in manifest.items()
    }


def load(method: mvmr.Base, weights: dict[str, np.ndarray]) -> tuple[dict, list]:
    """Variables, and the table of the published file."""
    leaves = list(method.torch_tables()["script"])
    variables, _ = torch_map.to_flax(leaves, weights)
    return variables, leaves


def published(leaves: list, arrays: Any, collection: str) -> dict[str, np.ndarray]:
    """Arrays of one collection under the keys of the encoder."""
    mine = [leaf for leaf in leaves if leaf.path.startswith(f"{collection}/")]
    found = torch_map.to_torch(mine, jax.device_get(arrays))
    return {key.removeprefix("encoder:"): array for key, array in found.items()}


def batch_of(case: golden_data.Case) -> dict[str, Any]:
    """The two views and what stands for the random representation."""
    views = {
        "image": golden_data.nhwc(case.inputs["im_orig"]),
        "augmented": golden_data.nhwc(case.inputs["im_aug"]),
    }
    batch: dict[str, Any] = {"views": views}
    if "rep_aug" in case.inputs:
        # Distances do not hang on the order of the axes.
        rows = case.inputs["rep_aug"].reshape(len(views["image"]), -1)
        batch["constant"] = {AUGMENT: jnp.asarray(rows / mvmr.SCALE)}
    return batch


def key() -> jax.Array:
    """A key that nothing is drawn from."""
    return jax.random.key(0)


def run(method: mvmr.Base, variables: dict, batch: dict, mode: str) -> dict[str, Any]:
    """Loss, terms, embeddings, their gradients and those of all parameters."""
    augmented, plain = method.pair(batch)
    both = jnp.stack([augmented, plain], axis=1).reshape(-1, *plain.shape[1:])

    def embed(params):
        mine = variables | {"params": params}
        if mode == "train":
            _, z, moved = method.embed(mine, both, train=True, rng=key(), groups=2)
        else:
            _, z, moved = method.embed(mine, both, train=False)
        return (z[::2], z[1::2]), moved

    @jax.jit
    def everything(params):
        truths = method.truths(variables, batch, key())
        (z, z_orig), back, moved = jax.vjp(embed, params, has_aux=True)
        value = functools.partial(method.terms, truths=truths)
        (loss, metrics), grads = jax.value_and_grad(value, (0, 1), has_aux=True)(
            z, z_orig
        )
        (slopes,) = back(grads)
        return dict(
            loss=loss,
            metrics=metrics,
            z=(z, z_orig),
            dz=grads,
            slopes=slopes,
            moved=moved,
        )

    return jax.device_get(everything(variables["params"]))


def check_terms(metrics: dict, recorded: dict[str, Any], least: float) -> None:
    """Each term within an absolute distance; HOG's has its own, twice the others'."""
    for name, expected in recorded.items():
        ours = NAMES.get(name) or f"dc/{name.removeprefix('DC_')}"
        found = metrics[ours]
        if name == "DC_clip":
            found = 1 - found  # Logged so, unlike the other correlations.
        limit = max(least, 2e-3) if name.endswith("hog") else least
        np.testing.assert_allclose(found, expected, 0, limit, err_msg=name)


def components(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The recorded terms below a prefix."""
    return {
        k.removeprefix(prefix): v
        for k, v in arrays.items()
        if k.removeprefix(prefix) in ("MSE", "STD") or k.startswith(f"{prefix}DC_")
    }


def check_step(case: golden_data.Case) -> None:
    """Loss, terms, embeddings, gradients and statistics in both modes."""
    method, batch = make_method(case.config), batch_of(case)
    weights = weights_of(case.meta["manifest"], case.meta["salt"])
    variables, leaves = load(method, weights)
    for mode in {"eval", "train"} - set(case.meta["modes_without_golden"]):
        _check_mode(case, method, variables, leaves, batch, mode)


def _check_mode(case, method, variables, leaves, batch, mode: str) -> None:
    found = run(method, variables, batch, mode)
    least, wide, steep = (1e-4, 2e-4, 5e-3) if mode == "eval" else (1e-3, 2e-3, 2e-2)
    check_terms(found["metrics"], components(case.outputs, f"{mode}/"), least)
    if mode == "eval":
        std = case.outputs["eval/STD"]
        np.testing.assert_allclose(found["metrics"]["std"], std, 1e-5)
    terms = len(method.representations)
    np.testing.assert_allclose(
        found["loss"], case.outputs[f"{mode}/loss"], 0, least * (3 + terms)
    )
    other = dataclasses.replace(method, rep_objective="maximize")
    truths = method.truths(variables, batch, key())
    loss, _ = other.terms(*map(jnp.asarray, found["z"]), truths)
    np.testing.assert_allclose(
        loss, case.outputs[f"{mode}/loss_maximize"], 0, least * (3 + terms)
    )
    for name, z, dz in zip(("z", "z_orig"), found["z"], found["dz"]):
        golden_data.assert_close(z, case.outputs[f"{mode}/{name}"], wide, name)
        golden_data.assert_close(dz, case.grads[f"{mode}/{name}"], steep, name)
    slopes = published(leaves, {"params": found["slopes"]}, "params")
    for name, expected in case.grads.items():
        if name.startswith(f"{mode}/") and name.split("/")[1] in slopes:
            mine = slopes[name.split("/")[1]]
            golden_data.assert_close(mine, expected, steep, name)
    check_norms(slopes, case.meta["gradnorm"][mode])
    state = published(leaves, found["moved"], "batch_stats") if mode == "train" else {}
    for name, expected in case.outputs.items():
        if name.startswith(f"{mode}/stats/"):
            mine = state[name.removeprefix(f"{mode}/stats/")]
            np.testing.assert_allclose(mine, expected, 1e-3, 1e-4, err_msg=name)


def check_norms(slopes: dict[str, np.ndarray], recorded: dict[str, float]) -> None:
    """Norms of the gradients that are not tiny beside the largest."""
    most = max(recorded.values())
    for name, expected in recorded.items():
        if expected > 1e-3 * most:
            norm = np.linalg.norm(slopes[name])
            np.testing.assert_allclose(norm, expected, 2e-2, err_msg=name)


def check_clip_step(case: golden_data.Case) -> None:
    """Loss, terms, the teacher's features and gradients in training mode."""
    about = case.meta["teacher"]
    teacher = vit.Backbone(
        image_size=about["image_size"],
        patch=about["patch"],
        features=about["width"],
        layers=about["layers"],
        heads=about["heads"],
        activation="quick_gelu" if about["quick_gelu"] else "gelu",
        style="clip",
        projection=about["out"],
        epsilon=1e-5,
    )
    method = mvmr_clip.Method(
        teacher=teacher, teacher_size=about["image_size"], **fields_of(case.config)
    )
    manifest, salt = case.meta["manifest"], case.meta["salt"]
    variables, leaves = load(method, weights_of(manifest["encoder"], salt))
    tower = {
        k: golden_data.make_weight(k, shape, dtype, salt)
        for k, (shape, dtype) in manifest["clip"].items()
    }
    tables = method.torch_tables()
    for name, table in tables.items():
        if name.startswith("teacher_") and set(tower) == _keys(table):
            held, _ = torch_map.to_flax(list(table), tower)
    for kind, parts in held.items():
        variables.setdefault(kind, {}).update(parts)
    batch = batch_of(case)
    features = method.truths(variables, batch, key())["teacher"] * mvmr.SCALE
    golden_data.assert_close(features, case.outputs["teacher_feat"], 1e-4, "teacher")
    found = run(method, variables, batch, "train")
    check_terms(found["metrics"], components(case.outputs, "train/"), 1e-3)
    np.testing.assert_allclose(found["loss"], case.outputs["train/loss"], 0, 4e-3)
    for name, z, dz in zip(("z", "z_orig"), found["z"], found["dz"]):
        golden_data.assert_close(z, case.outputs[f"train/{name}"], 2e-3, name)
        golden_data.assert_close(dz, case.grads[name], 2e-2, name)
    held = found["slopes"].pop("teacher")
    assert all(not np.any(x) for x in jax.tree.leaves(held))
    slopes = published(leaves, {"params": found["slopes"]}, "params")
    check_norms(slopes, case.meta["gradnorm"])


def _keys(table: Any) -> set[str]:
    return {name for leaf in table for name in leaf.torch_names}


def check_trajectory(case: golden_data.Case) -> None:
    """Losses, terms and rates of each step, and sums of the parameters after them."""
    config, per_epoch = case.config, case.meta["steps_per_epoch"]
    method, batch = make_method(config), batch_of(case)
    weights = weights_of(case.meta["manifest"], case.meta["salt"])
    variables, leaves = load(method, weights)
    schedule = dict(name=config["scheduler"], unit="step")
    rate = float(config["lr"])
    if config["scheduler"] == "warmup_cosine":
        least = 1e-6 / rate
        schedule |= dict(
            warmup=float(config["warmup_epochs"] * per_epoch), start=least, end=least
        )
    else:
        milestones = tuple(float(m) for m in config["milestones"])
        schedule |= dict(unit="epoch", milestones=milestones)
        schedule["factor"] = config.get("gamma", 0.1)
    settings = dict(name=config["optimizer"], lr=rate, schedule=schedule)
    settings["weight_decay"] = float(config["wd"])
    settings["clip_norm"] = case.meta["gradient_clip_val"]
    made = optim.make(
        ml_collections.ConfigDict(settings),
        variables["params"],
        steps_per_epoch=per_epoch,
        epochs=config["epochs"],
    )
    state, params = made.transform.init(variables["params"]), variables["params"]

    @jax.jit
    def step(params, stats, state):
        def value(params):
            return method.loss(stats | {"params": params}, batch, key())

        (loss, aux), grads = jax.value_and_grad(value, has_aux=True)(params)
        updates, state = made.transform.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        return loss, aux, params, tree.merge(stats, aux.model_state), state

    stats = {k: v for k, v in variables.items() if k != "params"}
    (curve,) = made.schedules.values()
    for t, expected in enumerate(case.outputs["loss"]):
        np.testing.assert_allclose(curve(t), case.outputs["lr"][t], 1e-6)
        loss, aux, params, stats, state = step(params, stats, state)
        limit = 5e-3 if t else 2e-4
        np.testing.assert_allclose(loss, expected, limit, err_msg=f"step {t}")
        names = ["MSE", "STD", "DC_zz", *(f"DC_{r}" for r in method.representations)]
        terms = dict(zip(names, case.outputs["components"][t], strict=True))
        check_terms(aux.metrics, terms, 5e-3 if t else 1e-3)
    final = published(leaves, {"params": params}, "params")
    final |= published(leaves, stats, "batch_stats")
    check_sums(final, case.outputs, "final/")


def check_sums(final: dict, recorded: dict[str, np.ndarray], prefix: str) -> None:
    """Sums of parameters, by key, against those of their magnitudes."""
    for name, expected in recorded.items():
        if name.startswith(f"{prefix}abssum/"):
            key = name.removeprefix(f"{prefix}abssum/")
            mine = final[key].astype(np.float64)
            np.testing.assert_allclose(np.abs(mine).sum(), expected, 2e-3, err_msg=key)
            total = recorded[f"{prefix}sum/{key}"]
            np.testing.assert_allclose(
                mine.sum(), total, 0, 2e-3 * expected, err_msg=key
            )


def check_probe(case: golden_data.Case) -> None:
    """Losses, accuracies and weights of the probe, and the statistics that drift."""
    config, salt = case.config, case.meta["salt"]
    method = mvmr.Method(
        backbone=backbone_of(config),
        widths=widths(config["out_dim"]),
        classes=config["n_classes"],
        probe_norm="drift",
        representations=(),
    )
    manifest = case.meta["manifest"]
    weights = {
        name: array
        for part in ("encoder", "online_finetuner")
        for name, array in weights_of(manifest[part], salt, part).items()
    }
    variables, leaves = load(method, weights)
    batch = {
        "views": {"image": golden_data.nhwc(case.inputs["im"])},
        "label": jnp.asarray(case.inputs["y"], jnp.int32),
    }
    settings = dict(name="adam", lr=1e-4, schedule=dict(name="constant"))
    head = {"probe": variables["params"]["probe"]}
    made = optim.make(
        ml_collections.ConfigDict(settings), head, steps_per_epoch=1, epochs=10
    )
    state = made.transform.init(head)

    @jax.jit
    def step(variables, state):
        def value(head):
            params = variables["params"] | head
            return method.probe_loss(variables | {"params": params}, batch, key())

        head = {"probe": variables["params"]["probe"]}
        (loss, aux), grads = jax.value_and_grad(value, has_aux=True)(head)
        updates, state = made.transform.update(grads, state, head)
        head = jax.tree.map(lambda p, u: p + u, head, updates)
        variables = tree.merge(variables, aux.model_state)
        return (
            loss,
            aux.metrics,
            variables | {"params": variables["params"] | head},
            state,
        )

    for t, expected in enumerate(case.outputs["loss"]):
        loss, metrics, variables, state = step(variables, state)
        np.testing.assert_allclose(loss, expected, 1e-4, err_msg=f"step {t}")
        for name, recorded in (("accuracy", "acc"), ("top5", "acc5")):
            found, expected = metrics[f"probe/{name}"], case.outputs[recorded][t]
            np.testing.assert_allclose(found, expected, 1e-6)
    found = torch_map.to_torch(leaves, jax.device_get(variables))
    for name in ("weight", "bias"):
        mine = found[f"online_finetuner:{name}"]
        np.testing.assert_allclose(mine, case.outputs[f"final/{name}"], 0, 1e-5)
    for name, expected in case.outputs.items():
        if name.startswith("final/stats/"):
            mine = found["encoder:" + name.removeprefix("final/stats/")]
            np.testing.assert_allclose(mine, expected, 1e-4, 1e-6, err_msg=name)


def load_classifier(method: classify.Method, case: golden_data.Case) -> tuple:
    """Variables of backbone and classifier, and their table."""
    manifest, salt = case.meta["manifest"], case.meta["salt"]
    weights = weights_of(manifest["classifier"], salt, "classifier")
    for key, array in weights_of(manifest["encoder"], salt, "").items():
        if key.startswith(":backbone."):  # The projector is dropped.
            weights["encoder:" + key.removeprefix(":backbone.")] = array
    leaves = list(method.torch_tables()["encoder_classifier"])
    variables, _ = torch_map.to_flax(leaves, weights)
    return variables, leaves


def classifier_steps(
    method: classify.Method,
    variables: dict,
    batch: dict,
    made: optim.Optimizer,
    trained: tuple[str, ...],
    count: int,
) -> tuple[list[tuple[Any, dict]], dict]:
    """Loss and metrics of each step, and the variables after the last."""

    def part(variables: dict) -> dict:
        return {name: variables["params"][name] for name in trained}

    @jax.jit
    def step(variables, state):
        def value(mine):
            params = variables["params"] | mine
            return method.loss(variables | {"params": params}, batch, key())

        (loss, aux), grads = jax.value_and_grad(value, has_aux=True)(part(variables))
        updates, state = made.transform.update(grads, state, part(variables))
        mine = jax.tree.map(lambda p, u: p + u, part(variables), updates)
        moved = tree.merge(variables, aux.model_state)
        return (loss, aux.metrics), moved | {"params": moved["params"] | mine}, state

    state, found = made.transform.init(part(variables)), []
    for _ in range(count):
        result, variables, state = step(variables, state)
        found.append(result)
    return found, variables


def check_fine_tuning(case: golden_data.Case) -> None:
    """Losses, accuracies and rates of a backbone with a classifier, and sums after."""
    config = case.config
    method = classify.Method(backbone=backbone_of(config), classes=config["n_classes"])
    variables, leaves = load_classifier(method, case)
    batch = {
        "views": {"image": golden_data.nhwc(case.inputs["im"])},
        "label": jnp.asarray(case.inputs["y"], jnp.int32),
    }
    schedule = dict(name="cosine_wave", unit="step", half=float(config["T_max"]))
    settings = dict(name="adam", lr=config["lr"], weight_decay=config["wd"])
    made = optim.make(
        ml_collections.ConfigDict(settings | {"schedule": schedule}),
        variables["params"],
        steps_per_epoch=1,
        epochs=10,
    )
    (curve,) = made.schedules.values()
    count = len(case.outputs["loss"])
    np.testing.assert_allclose(curve(np.arange(count)), case.outputs["lr"], 1e-6)
    found, variables = classifier_steps(
        method, variables, batch, made, ("backbone", "head"), count
    )
    for t, (loss, metrics) in enumerate(found):
        limit = 5e-3 if t else 1e-4
        np.testing.assert_allclose(loss, case.outputs["loss"][t], limit)
        np.testing.assert_allclose(metrics["accuracy"], case.outputs["acc"][t], 1e-6)
    final = torch_map.to_torch(leaves, jax.device_get(variables))
    for part in ("encoder", "classifier"):
        mine = {k.removeprefix(f"{part}:"): v for k, v in final.items()}
        check_sums(mine, case.outputs, f"final_{part}/")


def check_voc(case: golden_data.Case) -> None:
    """Losses and precisions of a linear layer on a frozen backbone that drifts."""
    config = case.config
    method = classify.Method(
        backbone=backbone_of(config),
        classes=config["num_classes"],
        objective="bce",
        target="tags",
        frozen=("backbone",),
        frozen_norm="drift",
    )
    variables, leaves = load_classifier(method, case)
    tags = case.inputs["y"]
    batch = {
        "views": {"image": golden_data.nhwc(case.inputs["im"])},
        "targets": {"tags": jnp.asarray(tags, jnp.float32)},
    }
    settings = dict(name="adam", lr=config["lr"], weight_decay=config["wd"])
    head = {"head": variables["params"]["head"]}
    made = optim.make(
        ml_collections.ConfigDict(settings | {"schedule": dict(name="constant")}),
        head,
        steps_per_epoch=1,
        epochs=10,
    )
    count = len(case.outputs["loss"])
    found, variables = classifier_steps(
        method, variables, batch, made, ("head",), count
    )
    for t, (loss, _) in enumerate(found):
        np.testing.assert_allclose(loss, case.outputs["loss"][t], 2e-3)
    logits = jax.jit(method.predict)(variables, batch)["logits"]
    cost = classification.binary_cross_entropy(logits, batch["targets"]["tags"])
    np.testing.assert_allclose(cost, case.outputs["val_loss"], 2e-3)
    precision = multilabel.average_precision(
        np.asarray(logits).ravel(), tags.astype(int).ravel()
    )
    recorded = case.outputs["val_average_precision"]
    np.testing.assert_allclose(precision, recorded, 0, 0.02)
    final = torch_map.to_torch(leaves, jax.device_get(variables))
    for name, expected in case.outputs.items():
        if name.startswith("final/stats/"):
            mine = final["encoder:" + name.removeprefix("final/stats/")]
            np.testing.assert_allclose(mine, expected, 1e-2, 1e-4, err_msg=name)
    mine = {k.removeprefix("classifier:"): v for k, v in final.items()}
    for name, expected in case.outputs.items():
        if name.startswith("final_classifier/abssum/"):
            part = mine[name.split("/")[-1]]
            np.testing.assert_allclose(np.abs(part).sum(), expected, 1e-3)
