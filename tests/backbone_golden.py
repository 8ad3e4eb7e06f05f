"""Golden checks of the backbones of MRDD, DeCUR and MV-MR."""

import functools
from typing import Any

import jax
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import backbone
from mvjax.core import tree
from mvjax.models import mit
from mvjax.models import projector
from mvjax.models import resnet
from mvjax.models import resnet_cifar
from mvjax.models import vit
from mvjax.ops import images
from tests import golden_data


def shapes(network: backbone.Backbone, channels: int) -> dict[str, Any]:
    """Shapes and types of the variables, which no size of images changes."""
    init = functools.partial(network.net(channels, dtype="float32").init, train=False)
    x = jax.ShapeDtypeStruct((2, 32, 32, channels), "float32")
    return jax.eval_shape(init, jax.random.key(0), x)


def leaves_of(network: backbone.Backbone, channels: int) -> list[torch_map.Leaf]:
    """The table that is written."""
    return next(iter(network.torch_tables(channels).values()))


def load(
    network: backbone.Backbone, weights: dict[str, np.ndarray], channels: int
) -> tuple[dict[str, Any], list[torch_map.Leaf]]:
    """Variables from a state dict without its classifier, and their table."""
    leaves = leaves_of(network, channels)
    variables, _ = torch_map.to_flax(leaves, weights)
    return variables, leaves


def statistics(leaves: list[torch_map.Leaf], state: Any) -> dict[str, np.ndarray]:
    """Batch norm statistics under their published names."""
    mine = [leaf for leaf in leaves if leaf.path.startswith("batch_stats/")]
    return torch_map.to_torch(mine, jax.device_get(dict(state)))


def run(network: backbone.Backbone, variables: Any, x: np.ndarray):
    """Features in evaluation, in training, and the statistics afterwards."""
    net = network.net(x.shape[-1], dtype=x.dtype)

    @jax.jit
    def both(variables, x):
        evaluated = net.apply(variables, x, train=False)
        trained, state = net.apply(variables, x, train=True, mutable=["batch_stats"])
        return evaluated, trained, state

    return both(variables, x)


def widen(arrays: Any) -> Any:
    """Floats in double precision."""
    return jax.tree.map(
        lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, arrays
    )


def check_mrdd(case: golden_data.Case) -> None:
    """The value of each `output_layer`: the input, the stem, four stages, the mean."""
    config = case.config
    network = resnet.Backbone(int(config["arch"].removeprefix("resnet")))
    variables, leaves = load(network, case.weights(), config["in_channel"])
    x = golden_data.nhwc(case.inputs["x"])
    evaluated, trained, state = run(network, variables, x)
    found: dict[str, Any] = {}
    for mode, features in (("eval", evaluated), ("train", trained)):
        found[f"{mode}/layer1"] = golden_data.nchw(features.stem)
        for i, features_map in enumerate(features.maps, 2):
            found[f"{mode}/layer{i}"] = golden_data.nchw(features_map)
        found[f"{mode}/layer6"] = features.pooled
    found |= {f"bn/{key}": array for key, array in statistics(leaves, state).items()}
    golden_data.assert_recorded(found, case.outputs, case.rtol_of_max)


def check_decur(case: golden_data.Case) -> None:
    """Features, maps, the input's gradient and every parameter's gradient norm.

    In training the last maps have a dozen values a channel, by whose deviation rounding
    is divided: the recording, in float32, is off by its tolerance. So it is compared with
    our features in float64, and those in float32 with these, as MV-MR's recordings of
    the same networks are.
    """
    for name, config in case.config.items():
        _check_decur(case, name, config)


def _check_decur(case: golden_data.Case, name: str, config: dict[str, Any]) -> None:
    network = resnet.Backbone(int(name.removeprefix("resnet")))
    weights = {
        key: golden_data.make_weight(key, shape, dtype, case.meta["salt"])
        for key, (shape, dtype) in case.meta["manifest"][name].items()
    }
    variables, leaves = load(network, weights, config["in_channels"])
    x = golden_data.nhwc(case.inputs[f"{name}/x"])
    evaluated, trained, state = run(network, variables, x)
    with jax.enable_x64():
        _, exact, _ = jax.device_get(run(network, widen(variables), widen(x)))
    golden_data.assert_close(trained.pooled, exact.pooled, 2e-3, f"{name}, training")
    found: dict[str, Any] = {"eval/pooled": evaluated.pooled}
    found["train/pooled"] = exact.pooled
    named = {"maxpool": evaluated.stem}
    named |= {f"layer{i}": m for i, m in enumerate(evaluated.maps, 1)}
    for layer, features_map in named.items():
        found[f"eval/{layer}_chanmean"] = features_map.mean(axis=(1, 2))
        found[f"eval/{layer}_ch0"] = features_map[..., 0]
    found |= {f"train/{k}": array for k, array in statistics(leaves, state).items()}
    dx, gradients = _gradients(network, variables, x, case.inputs[f"{name}/cotangent"])
    found["eval/x"] = golden_data.nchw(dx)
    recorded = {
        key.removeprefix(f"{name}/"): array
        for arrays in (case.outputs, case.grads)
        for key, array in arrays.items()
        if key.startswith(f"{name}/")
    }
    _recorded_close(case, found, recorded)
    mine = [leaf for leaf in leaves if leaf.path.startswith("params/")]
    counts = {
        int(leaf) for key, leaf in found.items() if key.endswith("batches_tracked")
    }
    assert counts == {case.meta["gradnorm"][f"{name}/train_num_batches_tracked"]}
    _norms_close(case.meta["gradnorm"][f"{name}/eval"], mine, gradients)


def _gradients(
    network: backbone.Backbone, variables: Any, x: np.ndarray, cotangent: np.ndarray
) -> tuple[np.ndarray, Any]:
    """Gradients of the features' product with a cotangent: of the input, of params."""
    net = network.net(x.shape[-1], dtype=x.dtype)

    def total(params, x):
        features = net.apply({**variables, "params": params}, x, train=False)
        return (features.pooled * cotangent).sum()

    both = jax.jit(jax.grad(total, argnums=(0, 1)))(variables["params"], x)
    params, dx = jax.device_get(both)
    return dx, params


def check_mvmr(case: golden_data.Case) -> None:
    """h and z of backbone and projector in both modes, and all running statistics."""
    config = case.config
    name, small = config["backbone"], config["small_kernel"]
    if name == "resnet8x4":
        network = resnet_cifar.Backbone(default_stem=small)
    else:
        stem = "small" if small else "standard"
        network = resnet.Backbone(int(name.removeprefix("resnet")), stem)
    widths = str(config["out_dim"]).split("-")
    head = projector.Projector(tuple(map(int, widths)))
    leaves = torch_map.nest(
        leaves_of(network, 3), flax="backbone", torch="backbone"
    ) + torch_map.nest(
        projector.torch_leaves(head), flax="projector", torch="projector"
    )
    variables, _ = torch_map.to_flax(leaves, case.weights())
    net = network.net(3, dtype="float32")
    parts = {"backbone": net, "projector": head}

    @jax.jit
    def both(variables, x):
        found, states = {}, {}
        for mode in ("eval", "train"):
            h = x
            for part, module in parts.items():
                mine = {k: v.get(part, {}) for k, v in variables.items()}
                h, state = module.apply(
                    mine, h, train=mode == "train", mutable=["batch_stats"]
                )
                states[part] = state.get("batch_stats", {})
                h = h.pooled if part == "backbone" else h
                found[f"{mode}/{'h' if part == 'backbone' else 'z'}"] = h
        return found, states

    found, state = both(variables, golden_data.nhwc(case.inputs["x"]))
    flat = tree.flatten({"batch_stats": jax.device_get(state)})
    mine = [leaf for leaf in leaves if leaf.path in flat]
    stats = torch_map.to_torch(mine, tree.unflatten(flat))
    counts = {int(v) for key, v in stats.items() if key.endswith("batches_tracked")}
    for key, expected in case.outputs.items():
        if key == "train/num_batches_tracked":
            assert counts == {int(expected)}
        elif key.startswith("train/stats/"):
            published = key.removeprefix("train/stats/")
            # A mean near zero is a difference of large numbers.
            least = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(
                stats[published], expected, 1e-3, least, err_msg=key
            )
        else:
            limit = 2e-4 if key.startswith("eval/") else 2e-3
            golden_data.assert_close(found[key], expected, limit, key)


def _recorded_close(
    case: golden_data.Case, found: dict[str, Any], recorded: dict[str, np.ndarray]
) -> None:
    missing = sorted(set(recorded) - set(found))
    assert not missing, f"recorded but not computed: {missing}"
    tolerance = case.meta["tolerance"]
    for key, expected in recorded.items():
        np.testing.assert_allclose(
            found[key], expected, tolerance["rtol"], tolerance["atol"], err_msg=key
        )


def _norms_close(
    expected: dict[str, float], leaves: list[torch_map.Leaf], gradients: Any
) -> None:
    """Compares the gradient norms of all parameters, by published name."""
    tensors = torch_map.to_torch(leaves, {"params": gradients})
    for key, norm in expected.items():
        found = np.linalg.norm(np.asarray(tensors[key], np.float64))
        np.testing.assert_allclose(found, norm, rtol=1e-3, err_msg=key)


def check_vit(case: golden_data.Case) -> None:
    """Feature, tokens, and gradients of the feature's product with a cotangent."""
    config = case.config
    network = vit.Backbone(image_size=config["size"])
    leaves = leaves_of(network, config["in_channels"])
    variables, _ = torch_map.to_flax(leaves, case.weights())
    x = golden_data.nhwc(np.float32(case.inputs["x_f16"]))
    scale = config["size"] // x.shape[1]
    x = x.repeat(scale, axis=1).repeat(scale, axis=2)
    net = network.net(config["in_channels"])

    def total(params):
        features = net.apply({"params": params}, x, train=False)
        return (features.pooled * case.inputs["cotangent"]).sum(), features

    run = jax.jit(jax.grad(total, has_aux=True))
    gradients, features = jax.device_get(run(variables["params"]))
    found = {
        "feature": features.pooled,
        "tokens_first5": features.tokens[:, :5],
        "tokens_mean": features.tokens.mean(axis=1),
    }
    _recorded_close(case, found, case.outputs)
    tensors = torch_map.to_torch(leaves, {"params": gradients})
    tensors["pos_embed_first3"] = tensors["pos_embed"][:, :3]
    _recorded_close(case, tensors, case.grads)
    _norms_close(case.meta.get("gradnorm", {}), leaves, gradients)


def check_mit(case: golden_data.Case) -> None:
    """Head, tokens of every stage, gradients of the input and of all parameters."""
    for name, config in case.config.items():
        _check_mit(case, name, config)


def _check_mit(case: golden_data.Case, name: str, config: dict[str, Any]) -> None:
    network = mit.Backbone(name.removeprefix("mit_"), head=config["num_classes"])
    leaves = leaves_of(network, 3)
    weights = {
        key: golden_data.make_weight(key, shape, dtype, case.meta["salt"])
        for key, (shape, dtype) in case.meta["manifest"][name].items()
    }
    variables, _ = torch_map.to_flax(leaves, weights)
    net = network.net(3)

    def total(params, x):
        features = net.apply({"params": params}, x, train=False)
        cotangent = case.inputs[f"{name}/cotangent"]
        return (features.pooled * cotangent).sum(), features

    x = golden_data.nhwc(case.inputs[f"{name}/x"])
    run = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    (gradients, dx), features = jax.device_get(run(variables["params"], x))
    found = {
        "head": features.pooled,
        "pooled": features.maps[-1].mean(axis=(1, 2)),
        "x": golden_data.nchw(dx),
    }
    for i, features_map in enumerate(features.maps, 1):
        tokens = features_map.reshape(len(x), -1, features_map.shape[-1])
        found[f"norm{i}_tokenmean"] = tokens.mean(axis=1)
        found[f"norm{i}_first4"] = tokens[:, :4]
    recorded = {
        key.removeprefix(f"{name}/"): array
        for arrays in (case.outputs, case.grads)
        for key, array in arrays.items()
        if key.startswith(f"{name}/")
    }
    _recorded_close(case, found, recorded)
    norms = case.meta.get("gradnorm", {})
    _norms_close(norms.get(name, {}), leaves, gradients)


def check_clip_teacher(case: golden_data.Case) -> None:
    """Features of visual towers, and images enlarged to what a tower reads."""
    for name, config in case.config.items():
        network = vit.Backbone(
            image_size=config["image_size"],
            patch=config["patch"],
            features=config["width"],
            layers=config["layers"],
            heads=config["heads"],
            activation="quick_gelu" if config["quick_gelu"] else "gelu",
            style="clip",
            projection=config["out"],
            epsilon=1e-5,
        )
        weights = {
            key: golden_data.make_weight(key, shape, dtype, config["salt"])
            for key, (shape, dtype) in case.meta["manifest"][name].items()
        }
        variables, _ = torch_map.to_flax(leaves_of(network, 3), weights)
        net = network.net(3)
        run = jax.jit(lambda v, x, net=net: net.apply(v, x, train=False).pooled)
        found = run(variables, golden_data.nhwc(case.inputs[f"{name}/x"]))
        golden_data.assert_close(found, case.outputs[f"{name}/feat"], 1e-4, name)
    for key, x in case.inputs.items():
        if key.startswith("interp_"):
            large = images.resize_bilinear(golden_data.nhwc(x), (224, 224))
            found = golden_data.nchw(large[:, ::7, ::7])
            golden_data.assert_close(found, case.outputs[f"{key}_every7"], 1e-4, key)
            total = np.asarray(large, np.float64).sum()
            golden_data.assert_close(total, case.outputs[f"{key}_sum"], 1e-4, key)
