"""Golden check of CMX with two Swin Transformers."""

import jax
import numpy as np

from mvjax.convert import torch_map
from mvjax.models import cross_modal_fusion
from mvjax.models import swin
from tests import golden_data


def network(config: dict) -> swin.Net:
    """The encoder of a recording."""
    return swin.Net(
        config["embed_dim"],
        tuple(config["depths"]),
        tuple(config["num_heads"]),
        config["window_size"],
        segments=True,
    )


def leaves(net: swin.Net) -> list[torch_map.Leaf]:
    """The table of both encoders and what fuses them."""
    fusion = cross_modal_fusion.torch_leaves(len(net.depths))
    return [
        *torch_map.nest(swin.fused_leaves(net, second=False), flax="rgb"),
        *torch_map.nest(swin.fused_leaves(net, second=True), flax="x"),
        *torch_map.nest(fusion, flax="fusion"),
    ]


def check_cmx_swin(case: golden_data.Case) -> None:
    """The fused maps of all stages, and no weight is left over."""
    net = network(case.config)
    table, weights = leaves(net), case.weights()
    variables, _ = torch_map.to_flax(table, weights)
    assert set(torch_map.to_torch(table, variables)) == set(weights)
    fusion = cross_modal_fusion.Fusion(net.heads)

    def of(name):
        return {kind: held[name] for kind, held in variables.items() if name in held}

    @jax.jit
    def run(a, b):
        maps = []
        for i in range(len(net.depths)):
            a, b = (
                net.apply(of(name), x, i, train=False, method="stage")
                for name, x in (("rgb", a), ("x", b))
            )
            a, b = fusion.apply(of("fusion"), a, b, i, method="rectify")
            left = (
                net.apply(of(name), x, i, method="leave")
                for name, x in (("rgb", a), ("x", b))
            )
            maps.append(
                fusion.apply(of("fusion"), *left, i, train=False, method="fuse")
            )
        return maps

    maps = run(*(golden_data.nhwc(case.inputs[name]) for name in ("rgb", "x")))
    assert {f"fused{i}" for i in range(len(maps))} == set(case.outputs)
    for i, found in enumerate(maps):
        np.testing.assert_allclose(
            golden_data.nchw(found),
            case.outputs[f"fused{i}"],
            **case.meta["tolerance"],
            err_msg=f"stage {i}",
        )
