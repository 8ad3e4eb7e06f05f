"""Golden checks of MRDD's training: optimisers, schedules and whole trajectories."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.convert import torch_map
from mvjax.core import method as method_lib
from mvjax.core import state as state_lib
from mvjax.methods import mrdd_consistency
from mvjax.methods import mrdd_disentangle
from mvjax.train import optim
from mvjax.train import step as step_lib
from tests import golden_data
from tests import mrdd_golden_models as models

# Hard-coded in the published code, as is the clipping of stage 1.
WEIGHT_DECAY = 1e-4
BETAS = {"adam": {"b1": 0.9, "b2": 0.999}, "adamw": {"b1": 0.9, "b2": 0.95}}
CLIP_NORM = 1.0
DECAY_RATE = 0.1  # Where a recording does not name its own.
# Biases in front of a batch norm walk randomly under Adam and move the final features
# (as the recording's notes say).
FINAL_FEATURES_RTOL = 2e-2


def _optim(name: str, lr: float, schedule: dict[str, Any], **fields: Any) -> dict:
    """`config.optim` of a published optimiser."""
    fields |= BETAS.get(name, {})
    return dict(
        name=name, lr=lr, weight_decay=WEIGHT_DECAY, schedule=schedule, **fields
    )


def _schedule(name: str, rate: float = DECAY_RATE) -> dict[str, Any]:
    """`config.optim.schedule` of a published schedule."""
    if name == "consine":
        return dict(name="cosine_periodic", periods=10, end=rate**3)
    return dict(name=name)


def check_optim(case: golden_data.Case) -> None:
    """Parameter paths of the optimisers, learning rates of all epochs, clipping."""
    config, inputs = case.config, case.inputs
    number = range(len(config["shapes"]))
    params = {f"p{i}": inputs[f"p{i}"] for i in number}
    grads = [
        {f"p{i}": inputs[f"g{i}"][s] for i in number} for s in range(config["steps"])
    ]
    outputs = {}
    names = {key.split("/")[0] for key in case.outputs}
    for name in sorted(names - {"schedule", "clip"}):
        made = optim.make(
            _optim(name, config["lr"], _schedule("constant")),
            params,
            steps_per_epoch=1,
            epochs=config["epochs"],
        )
        for s, after in enumerate(_path(made, params, grads)):
            outputs |= {f"{name}/step{s + 1}/{k}": v for k, v in after.items()}
    for key in [k for k in case.outputs if k.startswith("schedule/")]:
        rate = config.get("lr_decay_rate", DECAY_RATE)
        schedule = _schedule(key.removeprefix("schedule/"), rate)
        outputs[key] = _rates(config, schedule)
    clipped, _ = optim.clip_by_global_norm(CLIP_NORM).update(grads[0], None)
    outputs |= {f"clip/g{i}": clipped[f"p{i}"] for i in number}
    outputs["clip/norm"] = np.sqrt(sum(np.sum(g**2) for g in grads[0].values()))
    golden_data.assert_recorded(outputs, case.outputs, case.rtol_of_max)


def _path(made: optim.Optimizer, params: dict, grads: list[dict]) -> list[dict]:
    """Parameters after each step."""

    @jax.jit
    def step(params: dict, state: Any, grads: dict) -> tuple[dict, Any]:
        updates, state = made.transform.update(grads, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    state, path = made.transform.init(params), []
    for g in grads:
        params, state = step(params, state, g)
        path.append(params)
    return path


def _rates(config: dict[str, Any], schedule: dict[str, Any]) -> np.ndarray:
    """Learning rate of each epoch."""
    made = optim.make(
        _optim("sgd", config["lr"], schedule),
        {"p": np.zeros(1)},
        steps_per_epoch=1,
        epochs=config["epochs"],
    )
    (rate,) = made.schedules.values()
    return np.stack([rate(epoch) for epoch in range(config["epochs"])])


@dataclasses.dataclass(frozen=True)
class RecordedConsistency(mrdd_consistency.Method):
    """Stage 1 with noise from the batch."""

    def loss(self, variables, batch, rng):
        return self.loss_given(variables, batch, batch["noise"])


@dataclasses.dataclass(frozen=True)
class RecordedDisentangle(mrdd_disentangle.Method):
    """Stage 2 with noise from the batch."""

    def loss(self, variables, batch, rng):
        return self.loss_given(variables, batch, batch["noise"])


def _train(
    method: method_lib.Method,
    optim_config: dict[str, Any],
    variables: dict[str, Any],
    batches: list[method_lib.Batch],
    *,
    epochs: int,
    freeze: tuple[str, ...] = (),
) -> tuple[state_lib.TrainState, dict[str, np.ndarray], optim.Optimizer]:
    """Trains through the project's own step, one step an epoch, as recorded.

    Returns:
      The last state, metrics `[steps]` by name, the optimiser.
    """
    (update,) = method.updates
    part = step_lib.trainable(update, variables["params"], freeze)
    made = optim.make(optim_config, part, steps_per_epoch=1, epochs=epochs)
    step = step_lib.make_step(
        method, {update.name: made.transform}, steps_per_epoch=1, freeze=freeze
    )
    step = jax.jit(step)
    state = state_lib.TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        model_state={k: v for k, v in variables.items() if k != "params"},
        opt_state={update.name: made.transform.init(part)},
        ema={},
    )
    history = []
    for batch in batches:
        state, metrics = step(state, batch, jax.random.key(0))
        history.append(jax.device_get(metrics))
    return state, {k: np.stack([m[k] for m in history]) for k in history[0]}, made


def _checksums(tensors: dict[str, np.ndarray], keys: list[str]) -> np.ndarray:
    """Sum and absolute sum of each tensor, `[keys, 2]`."""
    tensors = {key: tensors[key].astype(np.float64) for key in keys}
    return np.array([(np.sum(x), np.sum(np.abs(x))) for x in tensors.values()])


def _assert_checksums(found: np.ndarray, case: golden_data.Case) -> None:
    """Compares row by row, each at the scale of its own absolute sum."""
    keys = case.meta["extra"]["checksum_keys"]
    rows = zip(keys, found, case.outputs["checksums"], strict=True)
    for key, ours, recorded in rows:
        golden_data.assert_close(ours, recorded, case.rtol_of_max, f"checksum {key}")


def check_train_stage1(case: golden_data.Case) -> None:
    """Losses, gradient norms, rates, weights and features along the trajectory."""
    config, inputs = case.config, case.inputs
    method = models.consistency_method(config, RecordedConsistency)
    (leaves,) = method.torch_tables().values()
    variables, _ = torch_map.to_flax(leaves, case.weights())
    batch = models.make_batch(case, method.views)
    batches = [
        batch
        | {
            "noise": {
                "mask": np.moveaxis(inputs["mask_u"][s], 0, 1),  # [B, V, N]
                "code": inputs["eps_z"][s],
            }
        }
        for s in range(config["steps"])
    ]
    rate = config.get("lr_decay_rate", DECAY_RATE)
    schedule = _schedule(config["scheduler"], rate)
    optim_config = _optim(config["optim"], config["lr"], schedule, clip_norm=CLIP_NORM)
    state, history, made = _train(
        method, optim_config, variables, batches, epochs=config["epochs"]
    )
    (rates,) = made.schedules.values()
    outputs = {
        "loss": history["loss"],
        "grad_norm_before_clip": history["grad_norm"],
        "lr": np.stack([rates(s) for s in range(config["steps"])]),
    }
    recorded = dict(case.outputs)
    codes = jax.jit(method.predict)(state.eval_variables, batch)
    golden_data.assert_close(
        codes["shared"], recorded.pop("final_eval_mu"), FINAL_FEATURES_RTOL, "features"
    )
    tensors = torch_map.to_torch(leaves, jax.device_get(state.variables))
    _assert_checksums(_checksums(tensors, case.meta["extra"]["checksum_keys"]), case)
    del recorded["checksums"]
    golden_data.assert_recorded(outputs, recorded, case.rtol_of_max)


def check_train_stage2(case: golden_data.Case) -> None:
    """Losses and weights along the trajectory of the released objective."""
    config, inputs = case.config, case.inputs
    method = models.disentangle_method(
        config, RecordedDisentangle, objective="released", teacher_mode="train"
    )
    leaves = method.torch_tables()["mrdd"]
    before = case.weights()
    variables, _ = torch_map.to_flax(leaves, before)
    batch = models.make_batch(case, method.views)
    no_noise = np.zeros_like(inputs["eps_v"][0])
    batches = [
        batch
        | {
            "noise": {
                "teacher": inputs["eps_c"][s],
                "specific": inputs["eps_v"][s],
                "decoded": no_noise,
            }
        }
        for s in range(config["steps"])
    ]
    schedule = _schedule(config.get("scheduler", "constant"))
    state, history, _ = _train(
        method,
        _optim(config["optim"], config["lr"], schedule),
        variables,
        batches,
        epochs=config.get("epochs", config["steps"]),
    )
    keys = case.meta["extra"]["checksum_keys"]
    decoders = [key for key in keys if "._decoder." in key]
    outputs = {
        "loss": np.stack([history[f"total/{name}"] for name in method.views], axis=1),
        "decoder_checksum_before": _checksums(before, decoders),
    }
    after = torch_map.to_torch(leaves, jax.device_get(state.variables))
    _assert_checksums(_checksums(after, keys), case)
    recorded = {k: v for k, v in case.outputs.items() if k != "checksums"}
    golden_data.assert_recorded(outputs, recorded, case.rtol_of_max)
    _assert_untouched(before, after)


def _assert_untouched(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> None:
    """Teacher weights and decoders keep every bit; the teacher's statistics move."""
    for key, old in before.items():
        teacher = key.startswith("consis_enc.")
        statistic = key.rpartition(".")[2].startswith(("running_", "num_batches_"))
        same = np.array_equal(after[key], old)
        if teacher and statistic:
            # The released code runs the teacher's encoder in train mode and never its
            # decoders.
            assert same != key.startswith("consis_enc._encoder."), key
        elif teacher or "._decoder." in key or ".to_decoder_input." in key:
            assert same, key
