"""Golden check of CMX with two Swin Transformers."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax

from mvjax.convert import torch_map
from mvjax.models import fused_pair
from mvjax.models import swin
from tests import decur_golden_cmx
from tests import golden_data

NAMES = ("backbone_rgb", "backbone_x")


@dataclasses.dataclass(frozen=True)
class Backbone(swin.Backbone):
    """One of a size of its own."""

    style: str = "segmentation"
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def net(self, channels: int, *, dtype: Any = "float32", groups: int = 1):
        return swin.Net(
            self.config["embed_dim"],
            tuple(self.config["depths"]),
            tuple(self.config["num_heads"]),
            self.config["window_size"],
            segments=True,
            dtype=dtype,
        )


def check_cmx_swin(case: golden_data.Case) -> None:
    """The fused maps of all stages; every weight of the file has its place."""
    backbone = Backbone(config=case.config)
    table = fused_pair.table(backbone, NAMES, len(case.config["depths"]))
    weights = {f"backbone.{key}": array for key, array in case.weights().items()}
    variables, _ = torch_map.to_flax(table.leaves, weights)
    images = [golden_data.nhwc(case.inputs[name]) for name in ("rgb", "x")]
    net = fused_pair.Net((backbone, backbone), NAMES, (3, 3), "float32")
    train = dict.fromkeys((*NAMES, fused_pair.FUSION), False)
    run = jax.jit(lambda variables, images: net.apply(variables, images, train=train))
    fused = run(variables, images)
    assert {f"fused{i}" for i in range(len(fused.maps))} == set(case.outputs)
    for i, found in enumerate(fused.maps):
        name = f"fused{i}"
        decur_golden_cmx.close(case, golden_data.nchw(found), case.outputs[name], name)
