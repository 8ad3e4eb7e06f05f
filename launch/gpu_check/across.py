"""How far one platform's first steps are from the CPU's, from the same weights and batches.

    python launch/gpu_check/across.py CONFIG --folder=F --key=K
        [--reference=K --kind=agreement|default]

Without a reference it makes one. Two processes, not one: some layers choose their program
by the platform that a process has by default, and users of a CPU have no other. SGD takes
the place of the config's optimiser, as in `tests/agreement.py`. Compared are

- `loss`: the losses of some steps, relative to them;
- `gradient`: what one step of learning rate 1 changes, relative to the largest change of
  its leaf. A leaf whose changes are below a hundredth of the largest one of its component
  is measured by that: there are exact zeros, such as of a bias before a batch norm;
- `parameters`: the leaves after those steps, relative to their largest values.

`agreement` multiplies in all of float32's digits and decides. `default` multiplies as the
user's run does, on newer GPUs in TF32 with 11 bits of the 24, and only says how much that
changes.
"""

import argparse
import os
import pathlib
import sys
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import worker  # noqa: E402

STEPS = 3
LEAST = 1e-2  # Of the largest gradient of a component.
# One CPU device and two, which only add in another order, differ by up to 2e-6 in the losses
# and by 2e-7 to 1.3e-2 in the gradients, most stages by less than 1e-4: the largest are where
# a unit of a small network is on one side of zero or on the other. In bfloat16 three stages
# are 4e-4 to 5e-3 and 0.3 to 0.9 apart. A leaf that starts at zero has moved by its gradients
# alone, so the limit of parameters is that of gradients.
LIMITS = {"loss": 1e-4, "gradient": 5e-2, "parameters": 5e-2}
Arrays = dict[str, np.ndarray]


def make_program(spec: str) -> Any:
    """The program of a config with SGD, on all devices that there are."""
    import agreement
    import jax

    from mvjax.train import program as program_lib
    from mvjax.train import run as run_lib

    config = agreement.make_config(spec, {})
    with config.unlocked():
        config.optim.schedule = {"name": "constant", "unit": "epoch"}
        if "dtype" in config.method:
            config.method.dtype = "float32"
        config.mesh.data = jax.device_count()
    return program_lib.Program(run_lib.Run(config))


def take_steps(program: Any, variables: Any) -> Arrays:
    """Losses, gradients and parameters of the first steps."""
    import agreement
    import jax

    from mvjax.core import tree
    from mvjax.train import feed as feed_lib
    from mvjax.train import sharding

    state = program.place_state([variables])
    if program.run.constant_shapes:
        program.run.keep_constants(program.fetch(state.eval_variables), store=False)
    with feed_lib.Streamed(program, 0) as feed:
        batches = [feed.read() for _ in range(STEPS)]
    start = tree.flatten(jax.device_get(state.params))

    def step(state: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        batch = sharding.put_batch(batch, program.batch_sharding)
        return program.step(state, batch, program.root_keys)

    scale = np.float32(1 / agreement.SGD["lr"])
    scale = sharding.put_batch(scale, state.lr_scale.sharding)
    moved, _ = step(state.replace(lr_scale=scale), batches[0])
    moved = tree.flatten(jax.device_get(moved.params))
    found = {f"gradient {p}": start[p] - moved[p] for p in start}
    state, losses = program.place_state([variables]), []
    for batch in batches:
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    end = tree.flatten(jax.device_get(state.params))
    found |= {f"parameters {p}": leaf for p, leaf in end.items()}
    return found | {"loss": np.array(losses)}


def compare(one: Arrays, other: Arrays) -> dict[str, Any]:
    """Largest differences, with the leaf that each is of; `nan` is the largest."""
    losses = [one["loss"], other["loss"]]
    found = {"losses": [list(map(float, x)) for x in losses]}
    found["loss"] = float(np.max(np.abs(losses[0] - losses[1]) / np.abs(losses[0])))
    for kind in ("gradient", "parameters"):
        leaves = {k[len(kind) + 1 :]: k for k in one if k.startswith(f"{kind} ")}
        sizes = {p: float(np.abs(one[key]).max()) for p, key in leaves.items()}
        shares = {}
        for path, key in leaves.items():
            least = 1e-3
            if kind == "gradient":
                mine = path.split("/")[0]
                least = LEAST * max(
                    size for p, size in sizes.items() if p.split("/")[0] == mine
                )
            difference = np.abs(one[key] - other[key]).max()
            least = max(least, sizes[path])
            # A component that nothing trains differs by nothing from nothing.
            shares[path] = float(difference / least) if difference else 0.0
        worst = max(shares, key=lambda p: np.nan_to_num(shares[p], nan=np.inf))
        found[kind], found[f"worst {kind}"] = shares[worst], worst
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--reference", default="")
    parser.add_argument("--kind", default="agreement", choices=("agreement", "default"))
    args = parser.parse_args()
    if args.kind == "agreement":
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    from mvjax.core import process_settings

    process_settings.thread_convolutions(os.environ)  # As the command line does.
    arrays = args.folder / "references"
    arrays.mkdir(exist_ok=True)
    if not args.reference:
        result = make_reference(args, arrays / f"{args.key}.npz")
    else:
        device = worker.Device(args.folder)
        device.share()
        result = compare_with(args, arrays / f"{args.reference}.npz")
    worker.write(args.folder, args.key, result)
    sys.exit(not result["ok"])


def make_reference(args: argparse.Namespace, file: pathlib.Path) -> dict[str, Any]:
    """Takes the steps from fresh variables and keeps both."""
    import jax

    from mvjax.core import tree

    program = make_program(args.config)
    variables = jax.device_get(program.run.fresh_variables())
    found = take_steps(program, variables)
    start = {f"start {k}": x for k, x in tree.flatten(variables).items()}
    np.savez(file, **{k.replace("/", "|"): x for k, x in (start | found).items()})
    return {"ok": bool(np.isfinite(found["loss"]).all())}


def compare_with(args: argparse.Namespace, file: pathlib.Path) -> dict[str, Any]:
    """Takes the steps from the variables of a reference."""
    import jax

    from mvjax.core import tree

    with np.load(file) as stored:
        reference = {k.replace("|", "/"): stored[k] for k in stored.files}
    program = make_program(args.config)
    shapes = program.run.shapes
    leaves = {k: reference[f"start {k}"] for k in tree.flatten(shapes)}
    variables = tree.unflatten(leaves)
    found = compare(reference, take_steps(program, variables))
    agrees = all(found[kind] <= most for kind, most in LIMITS.items())
    found["device"] = jax.devices()[0].device_kind
    return found | {"ok": agrees or args.kind == "default", "agrees": agrees}


if __name__ == "__main__":
    main()
