"""Golden checks of DeCUR's optimisers and schedules."""

from typing import Any

import jax
import numpy as np

from mvjax.train import optim
from mvjax.train import schedules
from tests import golden_data


def _settings(name: str, config: dict[str, Any], steps: int) -> dict[str, Any]:
    """`config.optim` of a published optimiser: two groups by rank, rates of their own."""
    own = config[name]
    fields: dict[str, Any] = {"weight_decay": config["wd"]}
    if name == "lars":
        fields |= {"momentum": own["momentum"], "trust": own["eta"]}
    else:
        assert own["decay_on_1d_params_too"], "ours decays what the config says"
        fields |= {"b1": own["betas"][0], "b2": own["betas"][1], "eps": own["eps"]}
    return dict(
        name=name,
        lr=config["lr_w"],
        schedule=dict(name="cosine", unit="step", length=float(steps)),
        groups=dict(biases=dict(rank="vector", lr=config["lr_b"]), rest=dict()),
        **fields,
    )


def check_optim(case: golden_data.Case) -> None:
    """Parameters after every step of the optimisers on given gradients."""
    config = case.config
    assert config["schedule"].startswith("cosine per step over "), config["schedule"]
    length = int(config["schedule"].split()[-1])
    params = {
        key.removeprefix("param/"): array
        for key, array in case.inputs.items()
        if key.startswith("param/")
    }
    grads = {name: case.inputs[f"grads/{name}"] for name in params}
    found = {}
    for name in sorted({key.split("/")[0] for key in case.outputs}):
        made = optim.make(
            _settings(name, config, length),
            params,
            steps_per_epoch=1,
            epochs=float(length),
        )
        path = _path(made, params, grads)
        found |= {f"{name}/{key}": np.asarray(array) for key, array in path.items()}
    tolerance = case.meta["tolerance"]
    assert set(found) == set(case.outputs)
    for key, expected in case.outputs.items():
        np.testing.assert_allclose(
            found[key], expected, tolerance["rtol"], tolerance["atol"], err_msg=key
        )


def _path(made: optim.Optimizer, params: dict, grads: dict) -> dict[str, jax.Array]:
    """Parameters after each step, stacked."""

    def step(carry: tuple[dict, Any], grads: dict) -> tuple[tuple[dict, Any], dict]:
        params, state = carry
        updates, state = made.transform.update(grads, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        return (params, state), params

    start = params, made.transform.init(params)
    return jax.jit(lambda: jax.lax.scan(step, start, grads)[1])()


def _curve(settings: dict[str, Any], base: float, length: int) -> np.ndarray:
    """Rates of all epochs, or of all steps of what goes by steps."""
    unit = "step" if settings["name"] == "warmup_poly" else "epoch"
    made = schedules.make(
        settings | dict(unit=unit), base, steps_per_epoch=1, total=length
    )
    return np.asarray(jax.jit(jax.vmap(made))(np.arange(length)))


def check_schedules(case: golden_data.Case) -> None:
    """Rates of every recorded curve."""
    tolerance, checked = case.meta["tolerance"], set()

    def compare(name: str, found: np.ndarray) -> None:
        np.testing.assert_allclose(
            found, case.outputs[name], tolerance["rtol"], tolerance["atol"], name
        )
        checked.add(name)

    for name, config in case.config.items():
        if "power" in config:
            settings = dict(name="warmup_poly", power=config["power"])
            settings["warmup"] = float(config["warmup"])
            for lag, key in enumerate((name, "cmx_lr_used")):
                found = _curve(
                    settings | dict(lag=lag), config["base"], config["total"]
                )
                compare(key, found)
            continue
        settings = dict(name="cosine")
        if not config["cos"]:
            milestones = tuple(map(float, config["schedule"]))
            settings = dict(name="multistep", milestones=milestones)
        expected = case.outputs[name]
        bases = [config["lr"]] if "lr" in config else expected[0]
        found = [_curve(settings, float(base), config["epochs"]) for base in bases]
        compare(name, np.stack(found, axis=-1).reshape(expected.shape))
    assert checked == set(case.outputs)
