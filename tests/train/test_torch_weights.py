"""Runs that go on from what PyTorch's optimisers have gathered."""

import pathlib

import jax
import numpy as np
import pytest

from mvjax.convert import published
from mvjax.convert import torch_file
from mvjax.convert import torch_optimizer
from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import tree
from mvjax.train import checkpoint
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import torch_weights

# Three steps of torch 2.13's AdamW and of the released LARS, and the parameters behind a
# fourth one. Parameter j has the gradient sin(0.7 k + i + j) of its entry k in step i;
# number 5 has none, and no state.
GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "torch"
SMALL = ["method.widths=(8,8)", "method.dim_common=4", "method.backbone.widths=(2,4)"]
OPTIMIZERS = {
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.01},
    "lars": {
        "name": "lars",
        "lr": 0.2,
        "weight_decay": 1e-6,
        "groups": {"biases": {"rank": "vector", "lr": 0.0048}, "rest": {}},
    },
}


def make_run(kind: str) -> run_lib.Run:
    config = config_lib.load("configs/decur/crops.py:debug", SMALL)
    with config.unlocked():
        config.optim = OPTIMIZERS[kind]
    return run_lib.Run(config)


def gradients(run: run_lib.Run, file: pathlib.Path) -> dict:
    """Those of the fourth step, as a tree like the parameters."""
    tensors = torch_file.read(file)["model"]
    found, memory = {}, {}
    for key, x in tensors.items():
        if key.split(".")[-1] not in torch_optimizer._BUFFERS:
            j = memory.setdefault(x.__array_interface__["data"][0], len(memory))
            values = np.sin(np.arange(x.size, dtype=np.float32) * 0.7 + 3 + j)
            found[key] = values.reshape(x.shape).astype(np.float32)
    return convert(run, file, tensors | found)


def convert(run: run_lib.Run, file: pathlib.Path, tensors: dict) -> dict:
    """Parameters of a state dict."""
    copy = file.parent / "copy.npz"
    np.savez(copy, **{k.removeprefix("module."): x for k, x in tensors.items()})
    return published.read(run.method, copy, run.shapes).variables["params"]


@pytest.mark.parametrize(
    "kind", [pytest.param("adamw", marks=pytest.mark.slow), "lars"]
)
def test_the_next_step_is_that_of_torch(kind, tmp_path):
    file = tmp_path / f"optimizer_{kind}.pth"
    file.write_bytes((GOLDEN / file.name).read_bytes())
    run = make_run(kind)
    text = torch_weights.from_torch(run, file, tmp_path / "run", optimizer=True)
    step = 3 * run.steps_per_epoch
    assert f"behind epoch 3, at step {step}" in text
    program = program_lib.Program(run)
    with checkpoint.Checkpoints(tmp_path / "run", read_only=True) as saved:
        state, _ = saved.restore(program.state_target, step)
    assert state.steps_done == step
    (optimizer,) = program.optimizers.values()
    (name,) = state.opt_state
    grads = gradients(run, file)
    updates, _ = jax.jit(optimizer.transform.update)(
        grads, state.opt_state[name], state.params
    )
    found = tree.flatten(jax.tree.map(np.add, state.params, updates))
    before = torch_file.read(file)["model"]
    with np.load(GOLDEN / f"optimizer_{kind}.npz") as after:
        wanted = tree.flatten(convert(run, file, before | dict(after)))
    start = tree.flatten(state.params)
    assert sum((x == start[path]).all() for path, x in wanted.items()) == 1
    for path in [path for path, x in wanted.items() if (x != start[path]).any()]:
        x = wanted[path]
        np.testing.assert_allclose(found[path], x, rtol=1e-5, atol=1e-7, err_msg=path)


def test_states_that_do_not_fit_are_named(tmp_path):
    adamw, lars = (GOLDEN / f"optimizer_{kind}.pth" for kind in ("adamw", "lars"))
    for file, kind, message in (
        (adamw, "lars", "The state is that of Adam"),
        (lars, "adamw", "The state is that of an optimiser with momentum alone"),
    ):
        with pytest.raises(errors.UserError, match=message):
            torch_weights.from_torch(
                make_run(kind), file, tmp_path / "run", optimizer=True
            )
    content = torch_file.read(adamw)

    def expect(message, **changes):
        held = content | changes
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch_file, "read", lambda path: held)
            with pytest.raises(errors.UserError, match=message):
                torch_optimizer.read("a.pth", held["model"])

    expect("holds no state of an optimiser", optimizer=None)
    expect("how many epochs are done", epoch="three")
    for state in ({0: [1]}, {0: {"step": "three"}}):
        broken = content["optimizer"] | {"state": state}
        expect("holds no state of an optimiser", optimizer=broken)
    optimizer = content["optimizer"]
    groups = optimizer["param_groups"]
    expect("groups of 10", optimizer=optimizer | {"param_groups": groups[:1]})
    late = optimizer["state"][1] | {"step": np.float32(2)}
    late = optimizer | {"state": optimizer["state"] | {1: late}}
    expect("steps of some are 2, of others 3", optimizer=late)
    other = optimizer["state"] | {0: {"square_avg": np.zeros(3)}}
    expect("the optimiser holds square_avg", optimizer=optimizer | {"state": other})
