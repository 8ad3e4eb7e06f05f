"""Golden checks of RERD's training: trajectories and schedules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import state as state_lib
from mvjax.methods import rerd as rerd_method
from mvjax.train import optim
from mvjax.train import schedules
from mvjax.train import step as step_lib
from tests import golden_data
from tests import rerd_golden_models as models


@dataclasses.dataclass(frozen=True)
class Recorded(rerd_method.Method):
    """The method with the draws that a batch brings along."""

    def loss(self, variables, batch, rng):
        return super().loss(variables, batch, rng, sampled=batch["sampled"])

    def _regulariser(self, representations, batch):
        cost, metrics = super()._regulariser(representations, batch)
        return cost, metrics | {"msd": cost}


def check_traj(case: golden_data.Case) -> None:
    """Losses, gradient norms and parameters of a few steps, in float64."""
    with jax.enable_x64():
        _check_trajectory(case, "float64")


def check_traj_float32(case: golden_data.Case) -> None:
    """The same in float32, at the recordings' wider tolerance."""
    _check_trajectory(case, "float32")


def _check_trajectory(case: golden_data.Case, dtype: str) -> None:
    config, tolerance = case.config, case.meta["tolerance"]
    short, suffix = ("f64", "_f64") if dtype == "float64" else ("f32", "")
    fields = dataclasses.asdict(
        models.make_method(
            config["model"],
            dtype=dtype,
            objective=config["objective"],
            reg_lambda=config["reg_lambda"],
        )
    )
    method = Recorded(**fields)
    batch = models.make_batch(case.inputs, dtype)
    variables = models.start(case, method, batch, dtype)
    made = optim.make(
        {
            "name": config["optimizer"].lower(),
            "lr": config["lr"],
            "clip_norm": config["clip"],
            "momentum": config["momentum"] or 0.0,
        },
        variables["params"],
        steps_per_epoch=1,
        epochs=1,
    )
    step = jax.jit(
        step_lib.make_step(method, {"main": made.transform}, steps_per_epoch=1)
    )
    state = state_lib.TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        model_state={k: v for k, v in variables.items() if k != "params"},
        opt_state={"main": made.transform.init(variables["params"])},
        ema={},
    )
    found: dict[str, list[float]] = {"raw_loss": [], "reg": [], "grad_norm_preclip": []}
    for i in range(config["steps"]):
        sampled = models.recorded_keys(method, case.inputs, f"idx/step{i}/")
        state, metrics = step(state, {**batch, "sampled": sampled}, jax.random.key(0))
        found["raw_loss"].append(metrics["l1"])
        found["grad_norm_preclip"].append(metrics["grad_norm"])
        if "msd" in metrics:
            found["reg"].append(metrics["msd"])
            expected = np.float32(case.outputs["n_iters"][i].mean())
            np.testing.assert_allclose(
                metrics["sinkhorn_iterations"], expected, rtol=1e-6
            )
    rtol = tolerance[f"loss_rtol_{short}"]
    for name, values in found.items():
        if values:
            expected = case.outputs[name + suffix]
            np.testing.assert_allclose(values, expected, rtol=rtol, err_msg=name)
    _check_sums(case, method, state, f"checksums{suffix}", short)


def _check_sums(
    case: golden_data.Case,
    method: rerd_method.Method,
    state: state_lib.TrainState,
    name: str,
    short: str,
) -> None:
    """Compares sums and absolute sums of the final parameters and statistics."""
    leaves = method.torch_tables()["rerd"]
    tensors = models.to_torch(leaves, "params", state.params)
    stats = state.model_state["batch_stats"]
    tensors |= models.to_torch(leaves, "batch_stats", stats)
    rtol = case.meta["tolerance"][f"checksum_rtol_{short}"]
    compared = 0
    for key, (total, size) in case.meta[name].items():
        if key not in tensors:
            continue
        values = tensors[key].astype(np.float64)
        # A sum may cancel: its error is measured against the absolute sum.
        assert abs(values.sum() - total) <= rtol * size, key
        assert abs(np.abs(values).sum() - size) <= rtol * size, key
        compared += 1
    assert compared > len(case.meta[name]) // 2


def check_schedules(case: golden_data.Case) -> None:
    """Learning rates by position, as meant; released: by validation loss."""
    c, out = case.config, case.outputs
    warm = dict(warmup=c["warm_epoch"])
    top = c["max_lr"] / c["base_lr"]
    made = {
        "cyclic": ("cyclic", c["base_lr"], dict(half=c["step_up"], top=top)),
        "warmup_step": ("warmup_step", c["lr"], warm | dict(size=c["stepper_size"])),
        "warmup_exp": ("warmup_exponential", c["lr"], warm),
        "cosine_restarts": ("cosine_restarts", c["lr"], dict(period=c["T_0"])),
    }
    positions = np.arange(len(case.inputs["val_loss"]) + 1.0)
    released = np.concatenate([[0.0], case.inputs["val_loss"]])
    compared = set()
    for name, (schedule, base, fields) in made.items():
        for key in out:
            if not key.startswith(f"{name}_") or key.endswith("momentum"):
                continue
            t = jnp.asarray(released if "official" in key else positions)
            rates = schedules.SCHEDULES[schedule](t, len(t), base, **fields)
            np.testing.assert_allclose(
                rates, out[key], err_msg=key, **case.meta["tolerance"]
            )
            compared.add(key)
    missing = {k for k in out if not k.endswith("momentum")} - compared
    # The plateau is tested with the loop's control, in tests/train/test_plateau.py.
    assert missing <= {"plateau"}, f"recorded but not computed: {missing}"
