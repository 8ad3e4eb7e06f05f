"""Golden checks of what DeCUR's backbones are transferred with."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.convert import torch_table
from mvjax.core import backbone
from mvjax.core import state as state_lib
from mvjax.methods import classify
from mvjax.methods import segment
from mvjax.models import resnet
from mvjax.models import resnet_rda
from mvjax.models import vit
from mvjax.models.decoders import fcn
from mvjax.train import optim
from mvjax.train import step as step_lib
from tests import golden_data
from tests.decur_golden_rda import close

KEY = jax.random.key(0)
VIEWS = ("s1", "s2")


def weights(case: golden_data.Case, name: str) -> dict[str, np.ndarray]:
    """The state dict of one of several networks."""
    return {
        key: golden_data.make_weight(key, shape, dtype, case.meta["salt"])
        for key, (shape, dtype) in case.meta["manifest"][name].items()
    }


def load(
    method: Any, tensors: dict[str, np.ndarray]
) -> tuple[dict[str, Any], torch_table.Table]:
    """Variables of a method from a published file, and the one table that has its keys."""
    tables = {
        name: table
        for name, table in method.torch_tables().items()
        if name.startswith("decur")
    }
    named = {
        name: set().union(*(leaf.torch_names for leaf in table))
        for name, table in tables.items()
    }
    nearest = min(tables, key=lambda name: len(named[name] ^ set(tensors)))
    table = tables[nearest]
    return torch_map.to_flax(table, tensors, ignore=table.ignore)[0], table


def images(case: golden_data.Case, key: str, scale: int) -> np.ndarray:
    """Recorded images as floats, each pixel repeated."""
    x = golden_data.nhwc(np.float32(case.inputs[key]))
    return x.repeat(scale, axis=1).repeat(scale, axis=2)


def network_of(name: str, config: dict[str, Any]) -> backbone.Backbone:
    """The backbone of one of the cases."""
    if name.startswith("vit"):
        return vit.Backbone()
    return resnet_rda.Backbone() if name.endswith("rda") else resnet.Backbone()


def check_be(case: golden_data.Case) -> None:
    """Logits and losses of late fusions and single modalities, and a linear probe."""
    config = case.config
    names = {key.partition("/")[0] for key in case.outputs}
    for name in sorted(names - {"linear_probe"}):
        _check_classifier(case, name)
    if "linear_probe" in names:
        _check_probe(case, config)


def _labels(case: golden_data.Case) -> dict[str, np.ndarray]:
    return {"tags": case.inputs["labels"]}


def _classifier(case: golden_data.Case, name: str, **fields: Any) -> classify.Method:
    found = re.search("s[12]", name)
    view, *also = (found[0],) if found else VIEWS
    return classify.Method(
        backbone=network_of(name, case.config),
        view=view,
        also=tuple(also),
        classes=case.inputs["labels"].shape[1],
        objective="bce",
        target="tags",
        **fields,
    )


def _check_classifier(case: golden_data.Case, name: str) -> None:
    method = _classifier(case, name, frozen=("*",))
    variables, _ = load(method, weights(case, name))
    prefix, scale = (
        ("vit_", "vit_upsample") if name.startswith("vit") else ("", "upsample")
    )
    views = {
        view: images(case, f"{prefix}{view}_f16", case.config[scale])
        for view in method.components
    }
    rows = len(next(iter(views.values())))
    targets = {key: array[:rows] for key, array in _labels(case).items()}

    @jax.jit
    def run(variables, batch):
        loss, _ = method.loss(variables, batch, KEY)
        return loss, method.predict(variables, batch)["logits"]

    loss, logits = run(variables, {"views": views, "targets": targets})
    found = {"logits": logits, "loss": loss}
    for key, expected in case.outputs.items():
        if key.startswith(f"{name}/"):
            close(case, found[key.removeprefix(f"{name}/")], expected, key)


def _check_probe(case: golden_data.Case, config: dict[str, Any]) -> None:
    """Steps of the classifier alone while the norms go on drifting."""
    method = _classifier(case, "single_s1", frozen=("backbone",), frozen_norm="drift")
    start, table = load(method, weights(case, "single_s1"))
    x = images(case, "s1_f16", config["upsample"])
    batch = {"views": {"s1": x}, "targets": _labels(case)}
    head = {"head": start["params"]["head"]}
    settings = dict(
        name="sgd",
        lr=config["lr"],
        momentum=config["momentum"],
        weight_decay=0.0,
        schedule=dict(name="constant", unit="step"),
        groups=dict(rest=dict()),
    )
    made = optim.make(settings, head, steps_per_epoch=1, epochs=3.0)
    state = state_lib.TrainState(
        step=jnp.zeros((), jnp.int32),
        params=start["params"],
        model_state={"batch_stats": start["batch_stats"]},
        opt_state={"main": made.transform.init(head)},
        ema={},
        lr_scale=jnp.ones(()),
    )
    step = jax.jit(
        step_lib.make_step(
            method, {"main": made.transform}, steps_per_epoch=1, freeze=("backbone",)
        )
    )
    losses = []
    for _ in case.outputs["linear_probe/losses"]:
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["loss"]))
    variables = {"params": state.params, **state.model_state}
    logits = jax.jit(method.predict)(variables, batch)["logits"]
    tensors = torch_map.to_torch(table, jax.device_get(variables))
    found = {"losses": losses, "eval_logits_after": logits}
    found |= {key.removeprefix("backbone."): array for key, array in tensors.items()}
    for key, expected in case.outputs.items():
        part, _, name = key.partition("/")
        if part == "linear_probe":
            close(case, found[name], expected, key)


def check_geonrw(case: golden_data.Case) -> None:
    """Logits, loss and classes of the fully convolutional networks."""
    config = case.config
    for name in sorted({key.partition("/")[0] for key in case.outputs}):
        shapes = case.meta["manifest"][name]
        widths = [s[0] for key, (s, _) in shapes.items() if re.match(r"uc\d.w", key)]
        method = segment.Method(
            backbone=network_of(name, config),
            view="x1",
            also=() if name.startswith("rgb") else ("x2",),
            classes=config["classes"],
            ignore=0,
            head=fcn.Decoder(widths=tuple(widths), align_corners=True),
            frozen=("*",),
        )
        variables, _ = load(method, weights(case, name))
        views = {
            view: images(case, f"{view}_f16", config["upsample"])
            for view in method.components
        }
        targets = {"mask": case.inputs["labels"]}

        @jax.jit
        def run(variables, batch, method=method):
            loss, _ = method.loss(variables, batch, KEY)
            return loss, method.predict(variables, batch)["logits"]

        loss, logits = run(variables, {"views": views, "targets": targets})
        strided = golden_data.nchw(logits)[..., ::2, ::2]
        close(case, strided, case.outputs[f"{name}/logits_strided2"], name)
        close(case, loss, case.outputs[f"{name}/loss"], f"{name}/loss")
        alike = np.argmax(logits, axis=-1) == case.outputs[f"{name}/argmax"]
        assert alike.mean() >= case.meta["tolerance"]["argmax_agreement"], name
