"""Golden checks of MV-MR's learning rates and decays."""

import numpy as np

from mvjax.train import schedules
from tests import golden_data


def settings(name: str, config: dict) -> tuple[dict, float]:
    """`config.optim.schedule` of a recorded curve, and its base."""
    if "first_cycle_steps" in config:
        fields = dict(
            name="cosine_cycles",
            period=float(config["first_cycle_steps"]),
            warmup=float(config["warmup_steps"]),
            growth=config["cycle_mult"],
            decay=config["gamma"],
            end=config["min_lr"] / config["max_lr"],
        )
        return fields, config["max_lr"]
    if "milestones" in config:
        milestones = tuple(map(float, config["milestones"]))
        fields = dict(name="multistep", milestones=milestones, factor=config["gamma"])
        return fields, config["lr"]
    if "train_batches" in config:
        assert config["T_max"] == config["train_batches"] and config["accumulate"] == 1
        fields = dict(
            name="sawtooth",
            epoch=config["train_batches"],
            validation=config["val_batches"],
            hold=config["warmup_epochs"],
        )
        return fields, config["lr"]
    base = config.get("lr", config.get("ref_wd"))
    least = config.get("eta_min", config.get("final_wd"))
    half = float(config["T_max"])
    return dict(name="cosine_wave", half=half, end=least / base), base


def check(case: golden_data.Case) -> None:
    """Each recorded curve; a decay is recorded after each call, the first included."""
    for key, expected in case.outputs.items():
        what, name = key.split("/")
        fields, base = settings(name, case.config[name])
        curve = schedules.make(
            {"unit": "step"} | fields,
            base,
            steps_per_epoch=1,
            total=float(len(expected)),
        )
        steps = np.arange(len(expected)) + (what == "wd")
        np.testing.assert_allclose(curve(steps), expected, 1e-6, 1e-12, err_msg=key)
