"""Golden checks of CMX with its larger heads."""

import re
from typing import Any

import jax
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import decoder
from mvjax.methods import segment
from mvjax.models import mit
from mvjax.models import transfer
from mvjax.models.decoders import conv
from mvjax.models.decoders import deeplab
from mvjax.models.decoders import mlp
from mvjax.models.decoders import upernet
from tests import golden_data
from tests.decur_golden_rda import close
from tests.decur_golden_transfer import images

KEY = jax.random.key(0)
VIEWS = {"rgb": "rgb_f16", "x": "x_f16"}
HEAD, AUXILIARY = "decode_head.", "aux_head."


def decoder_of(name: str, shapes: dict[str, Any]) -> decoder.Decoder:
    """The head of a published name, as wide as its recorded weights."""
    if name == "UPernet":
        return upernet.Decoder(width=shapes["decode_head.conv_seg.weight"][0][1])
    if name == "deeplabv3+":
        return deeplab.Decoder(width=shapes["decode_head.block.4.weight"][0][1])
    if name == "MLPDecoder":
        return mlp.Decoder(width=shapes["decode_head.linear_pred.weight"][0][1])
    return conv.Decoder()


def load(
    case: golden_data.Case, method: segment.Method, batch: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Variables with the recorded weights, which are made by key, and those by key."""
    shapes = jax.eval_shape(method.init, KEY, batch)
    table = method.torch_tables()["cmx"]
    empty = torch_map.to_torch(
        table, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    )
    tensors = {
        key: golden_data.make_weight(key, x.shape, x.dtype, case.meta["salt"])
        for key, x in empty.items()
    }
    return torch_map.to_flax(table, tensors)[0], tensors


def check_decoders(case: golden_data.Case) -> None:
    """Scores of both heads, and the loss."""
    config = case.config
    views = {
        view: images(case, key, config.get("upsample", 1))
        for view, key in VIEWS.items()
    }
    batch = {"views": views, "targets": {"mask": case.inputs["labels"]}}
    for name, shapes in case.meta["manifest"].items():
        auxiliary = any(key.startswith(AUXILIARY) for key in shapes)
        method = segment.Method(
            backbone=mit.Backbone(size=config["backbone"].removeprefix("mit_")),
            view="rgb",
            also=("x",),
            classes=config["num_classes"],
            ignore=config.get("background", 255),
            fusion="cmx",
            head=decoder_of(name, shapes),
            auxiliary=conv.Decoder(stage=3, released=True) if auxiliary else None,
            frozen=("*",),
        )
        variables, tensors = load(case, method, batch)
        heads = {k: x for k, x in tensors.items() if k.startswith((HEAD, AUXILIARY))}
        held = {key: [list(x.shape), str(x.dtype)] for key, x in heads.items()}
        assert held == shapes, name

        @jax.jit
        def run(variables, batch, method=method):
            loss, _ = method.loss(variables, batch, KEY)
            maps = method.maps(variables, batch)[0]
            found = {
                component: head.net(method.classes).apply(
                    transfer.component(variables, component),
                    maps,
                    case.inputs["labels"].shape[1:],
                    train=False,
                )
                for component, head in method.decoders.items()
            }
            return loss, found

        loss, scores = run(variables, batch)
        found = {"logits": scores["head"], "aux": scores.get(segment.AUXILIARY)}
        for key, expected in case.outputs.items():
            part, _, rest = key.partition("/")
            if part != name:
                continue
            if rest == "loss":
                close(case, loss, expected, key)
                continue
            kind, stride = re.fullmatch(r"(.*)_strided(\d+)", rest).groups()
            step = int(stride)
            plane = golden_data.nchw(found[kind])[..., ::step, ::step]
            close(case, plane, expected, key)
