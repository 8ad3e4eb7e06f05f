"""Golden checks of deformable attention, alone and in a ResNet."""

from typing import Any

import jax
import numpy as np

from mvjax.convert import torch_map
from mvjax.models import rda
from mvjax.models import resnet_rda
from tests import golden_data


def close(case: golden_data.Case, found: Any, expected: np.ndarray, name: str) -> None:
    """Compares by the recorded tolerances."""
    tolerance = case.meta["tolerance"]
    np.testing.assert_allclose(
        found, expected, tolerance["rtol"], tolerance["atol"], err_msg=name
    )


def settings(config: dict[str, Any]) -> rda.Settings:
    """The published options as ours."""
    assert not config["attn_drop"] and not config["proj_drop"]
    position = "table"
    for name, flag in (
        ("depthwise", "dwc_pe"),
        ("fixed", "fixed_pe"),
        ("log", "log_cpb"),
    ):
        if config[flag]:
            position = name
            break
    return rda.Settings(
        heads=config["n_heads"],
        groups=config["n_groups"],
        stride=config["stride"],
        kernel=config["ksize"],
        sides=tuple(config["q_size"]),
        offset_range_factor=float(config["offset_range_factor"]),
        offsets=not config["no_off"],
        position=position if config["use_pe"] else "none",
    )


def check_module(case: golden_data.Case) -> None:
    """Outputs, places, grid, and gradients of the input and of all parameters."""
    for name, config in case.config.items():
        own = settings(config)
        channels = config["n_heads"] * config["n_head_channels"]
        own.check("settings", channels, tuple(config["feature"]))
        leaves = rda.torch_leaves(own)
        weights = {
            key: golden_data.make_weight(key, shape, dtype, case.meta["salt"])
            for key, (shape, dtype) in case.meta["manifest"][name].items()
        }
        variables, _ = torch_map.to_flax(leaves, weights)
        attend = rda.Attention(own)

        def total(params, x, cotangent, attend=attend):
            read = attend.apply({"params": params}, x)
            return (read.mixed * cotangent).sum(), read

        x, cotangent = (
            golden_data.nhwc(case.inputs[f"{name}/{part}"])
            for part in ("x", "cotangent")
        )
        run = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
        (gradients, dx), read = jax.device_get(run(variables["params"], x, cotangent))
        grid = np.broadcast_to(read.grid, read.places.shape)
        found = {
            "y": golden_data.nchw(read.mixed),
            "pos": read.places,
            "reference": grid,
        }
        found |= {"x": golden_data.nchw(dx)}
        tensors = torch_map.to_torch(leaves, {"params": gradients})
        assert not set(found) & set(tensors)
        recorded = {
            key.removeprefix(f"{name}/"): array
            for arrays in (case.outputs, case.grads)
            for key, array in arrays.items()
            if key.startswith(f"{name}/")
        }
        for key, expected in recorded.items():
            close(case, (found | tensors)[key], expected, f"{name}/{key}")
        norms = case.meta["gradnorm"][name]
        largest = max(norms.values())
        for key, expected in norms.items():
            norm = np.linalg.norm(np.asarray(tensors[key], np.float64))
            # The scores do not see the bias of keys: rounding errors alone.
            limit = case.meta["tolerance"]["rtol"] * expected + 1e-6 * largest
            assert abs(norm - expected) <= limit, f"{name}/{key}: {norm} {expected}"


def check_resnet(case: golden_data.Case) -> None:
    """Features of either modality, the second one through either's attention."""
    weights = case.weights()
    config = case.config
    assert config["rda"] and config["backbone"].startswith("resnet")
    network = resnet_rda.Backbone(int(config["backbone"].removeprefix("resnet")))
    ways = {"f1": (1, 1), "f2_with_da1": (2, 1), "f2_with_da2": (2, 2)}
    for key, expected in case.outputs.items():
        size, _, name = key.partition("/")
        trunk, attention = ways[name]
        leaves = network.beside_table(f"backbone_{trunk}", f"da{attention}").leaves
        mine = {n: weights[n] for leaf in leaves for n in leaf.torch_names}
        variables, _ = torch_map.to_flax(leaves, mine)
        x = golden_data.nhwc(np.float32(case.inputs[f"{size}/x{trunk}_f16"]))
        scale = int(size) // x.shape[1]
        x = x.repeat(scale, axis=1).repeat(scale, axis=2)
        network.check(x.shape[-1], x.shape[1:3])
        net = network.net(x.shape[-1])
        run = jax.jit(lambda v, x, net=net: net.apply(v, x, train=False).pooled)
        close(case, run(variables, x), expected, key)
