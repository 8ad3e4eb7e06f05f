"""Tables about a run: parameters, memory, work of a step, learning rate."""

from typing import Any

import jax
import numpy as np

from mvjax.core import tree
from mvjax.train import constants
from mvjax.train import flops
from mvjax.train import run as run_lib
from mvjax.train import sharding
from mvjax.train import step as step_lib

BARS = " ▁▂▃▄▅▆▇█"


def run_table(run: run_lib.Run, started: str) -> str:
    """What a run prints before its first step."""
    config = run.config
    rows = [
        ("run", started),
        ("devices", f"{jax.device_count()} x {jax.devices()[0].device_kind}"),
        ("mesh", " x ".join(f"{k} {v}" for k, v in run.mesh.shape.items())),
        (
            "data",
            f"{config.data.name}{' (synthetic)' if config.data.get('synthetic') else ''}"
            f", {len(run.source('train'))} training records",
        ),
        (
            "steps",
            f"{run.total_steps} of {run.batch_size} items, {run.steps_per_epoch} an epoch",
        ),
    ]
    return _align(rows) + "\n" + component_table(run)


def trained_components(run: run_lib.Run) -> set[str]:
    """Names of the components that some update trains."""
    return {
        name
        for update in run.method.updates
        for name in step_lib.trainable(
            update, run.shapes["params"], tuple(run.config.freeze)
        )
    }


def component_table(run: run_lib.Run) -> str:
    """Parameters of each component, and whether it is trained."""
    trained = trained_components(run)
    lines = [("component", "leaves", "parameters", "")]
    total = 0
    for name, leaves in sorted(run.shapes["params"].items()):
        sizes = [int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(leaves)]
        total += sum(sizes)
        state = "trained" if name in trained else "frozen"
        lines.append((name, str(len(sizes)), f"{sum(sizes):,}", state))
    lines.append(("total", "", f"{total:,}", ""))
    return _align(lines, right=(1, 2))


def parameter_table(run: run_lib.Run) -> str:
    """Every parameter: path, shape, type, trained or frozen, sharding."""
    trained = trained_components(run)
    shapes = tree.flatten(run.shapes["params"])
    shardings = sharding.state_shardings(run.mesh, run.shapes["params"])
    specs = tree.flatten(jax.tree.map(lambda s: str(tuple(s.spec)), shardings))
    lines = [("parameter", "shape", "type", "", "sharding")]
    for path, leaf in shapes.items():
        state = "trained" if path.split("/")[0] in trained else "frozen"
        shape = " x ".join(map(str, leaf.shape))
        lines.append((path, shape, str(leaf.dtype), state, specs[path]))
    return _align(lines)


def state_table(run: run_lib.Run) -> str:
    """Memory of the state's parts, whole and on each device of the mesh."""
    state = run.state_target
    parts = {
        "parameters": state.params,
        "optimiser state": state.opt_state,
        "statistics": state.model_state,
        "moving average": state.ema,
    }
    lines = [("part of the state", "whole", "on each device", "split leaves")]
    for name, part in parts.items():
        leaves = jax.tree.leaves(part)
        if not leaves:
            continue
        shards = [leaf.sharding.shard_shape(leaf.shape) for leaf in leaves]
        whole = sum(_bytes(leaf.shape, leaf.dtype) for leaf in leaves)
        mine = sum(_bytes(s, x.dtype) for s, x in zip(shards, leaves, strict=True))
        split = sum(s != x.shape for s, x in zip(shards, leaves, strict=True))
        row = (_mebibytes(whole), _mebibytes(mine), f"{split} of {len(leaves)}")
        lines.append((name, *row))
    mesh = " x ".join(f"{k} {v}" for k, v in run.mesh.shape.items())
    return _align(lines, right=(1, 2, 3)) + f"\nmesh: {mesh}"


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def step_arguments(run: run_lib.Run) -> tuple[Any, Any, Any]:
    """Shapes of what a run's step takes: state, batch, root keys."""
    batch = run.example_input()
    if run.constant_shapes:
        batch = batch | {constants.KEY: run.constant_shapes}
    several = (len(run.seeds),) if len(run.seeds) > 1 else ()
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            (*several, *x.shape), x.dtype, sharding=run.batch_sharding
        ),
        batch,
    )
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), several))
    return run.state_target, batch, keys


def step_cost(run: run_lib.Run) -> str:
    """FLOPs of the step, and memory as the compiler counts it."""
    traced = run.step.trace(*step_arguments(run))
    memory = traced.lower().compile().memory_analysis()
    work = flops.count(traced.jaxpr)
    where = "" if run.mesh.size == 1 else f", all {run.mesh.size} devices together"
    rows = [
        ("FLOPs of a step", f"{work.flops:.4g}{where}{flops.open_loops(work)}"),
        ("state and batch", _mebibytes(memory.argument_size_in_bytes)),
        ("temporary memory", _mebibytes(memory.temp_size_in_bytes)),
        ("donated", _mebibytes(memory.alias_size_in_bytes)),
    ]
    return _align(rows)


def learning_rates(run: run_lib.Run, points: int = 60) -> str:
    """Learning-rate curve of each optimiser as a line of bars."""
    steps = np.linspace(0, max(run.total_steps - 1, 0), points).astype(int)
    lines = []
    for update, made in run.optimizers.items():
        for group, schedule in made.schedules.items():
            values = np.array([float(schedule(s)) for s in steps])
            top = values.max() or 1.0
            bars = "".join(BARS[int(round(v / top * (len(BARS) - 1)))] for v in values)
            lines.append(
                f"{update}/{group}: |{bars}| first {values[0]:.3g}, "
                f"greatest {values.max():.3g}, last {values[-1]:.3g}"
            )
    return "\n".join(lines)


def evaluation_lines(step: int, results: dict[str, dict[str, float]]) -> list[str]:
    """One line for each evaluator."""
    lines = []
    for label, metrics in results.items():
        values = ", ".join(
            f"{k} {v:.4g}"
            for k, v in metrics.items()
            if not k.endswith("_std") and not k.startswith(("raw", "untrained"))
        )
        lines.append(f"step {step}, {label}: {values}")
    return lines


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _align(rows: list[tuple[Any, ...]], right: tuple[int, ...] = ()) -> str:
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            str(c).rjust(w) if i in right else str(c).ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def describe_data(run: run_lib.Run) -> dict[str, Any]:
    """What identifies the data: name, sizes and fingerprints of the splits."""
    return {
        "name": run.config.data.name,
        "synthetic": bool(run.config.data.get("synthetic", False)),
        "views": {n: list(v.shape) for n, v in run.spec.views.items()},
        "records": {s: len(run.source(s)) for s in run.splits},
        "fingerprint": {s: run.source(s).fingerprint() for s in run.splits},
    }
