"""What a run's compiled step needs: one measurement for all commands, and its tables."""

from collections.abc import Iterator, Sequence
import contextlib
import tempfile
import time
from typing import Any, NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np

from mvjax.core import text
from mvjax.core import tree
from mvjax.cost import flops
from mvjax.train import log
from mvjax.train import optim
from mvjax.train import program as program_lib
from mvjax.train import sharding

BARS = " ▁▂▃▄▅▆▇█"


class Step(NamedTuple):
    """The step of a run, traced and compiled.

    Attributes:
      traced: As JAX traced it, before any division among devices.
      compiled: As the compiler made it.
      work: FLOPs and bytes on all devices together, loops as often as they run.
      trace_seconds: Time until it could be compiled.
      compile_seconds: Time that the compiler took.
    """

    traced: jax.stages.Traced
    compiled: jax.stages.Compiled
    work: flops.Count
    trace_seconds: float
    compile_seconds: float

    @property
    def memory(self) -> Any:
        """Bytes on one device as the compiler counts them; None: it does not tell."""
        return self.compiled.memory_analysis()

    @property
    def peak_bytes(self) -> int:
        """Bytes in a device's memory while the step runs.

        They are the arguments, the results that do not take their place, the temporaries
        and the program.
        """
        memory = self.memory
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            - memory.alias_size_in_bytes
            + memory.temp_size_in_bytes
            + memory.generated_code_size_in_bytes
        )


def measure(
    program: program_lib.Program,
    arguments: Sequence[Any] | None = None,
    *,
    platforms: Sequence[str] | None = None,
) -> Step:
    """Compiles the step of a run.

    Args:
      program: The program of the run.
      arguments: State, batch and root keys, or their shapes; None: those of the run.
      platforms: What to compile for, such as `("tpu",)`; None: the devices' own.
    """
    start = time.perf_counter()
    traced = program.step.trace(*(arguments or program.step_arguments()))
    lowered = traced.lower(lowering_platforms=platforms)
    middle = time.perf_counter()
    compiled = lowered.compile()
    end = time.perf_counter()
    work = flops.count(traced.jaxpr)
    return Step(traced, compiled, work, middle - start, end - middle)


@contextlib.contextmanager
def empty_cache() -> Iterator[None]:
    """Has JAX keep all programs in a cache of its own for the block, empty at first.

    What was compiled in the block is read from there by a `Program.fresh()`; programs that
    JAX has in memory it knows by the traced function.
    """
    settings = {
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    with tempfile.TemporaryDirectory(prefix="mvjax-cache-") as folder:
        settings["jax_compilation_cache_dir"] = folder
        old = {name: getattr(jax.config, name) for name in settings}
        try:
            for name, value in settings.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()  # JAX asks for its settings only once.
            yield
        finally:
            for name, value in old.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def step_table(program: program_lib.Program) -> str:
    """FLOPs of the step, and memory as the compiler counts it."""
    step = measure(program)
    devices = program.mesh.size
    where = "" if devices == 1 else f", all {devices} devices together"
    loops = flops.open_loops(step.work)
    rows = [
        ("FLOPs of a step", f"{step.work.flops:.4g}{where}{loops}"),
        ("state and batch", text.mebibytes(step.memory.argument_size_in_bytes)),
        ("temporary memory", text.mebibytes(step.memory.temp_size_in_bytes)),
        ("donated", text.mebibytes(step.memory.alias_size_in_bytes)),
    ]
    return "\n".join(text.align(rows))


def parameter_table(program: program_lib.Program) -> str:
    """Every parameter: path, shape, type, trained or frozen, how, sharding.

    How are its group of `config.optim`, its weight decay and, where the optimiser of some
    parameter has it, the coefficient of the trust ratio; 0: there is none for this one.
    """
    trained = log.trained_components(program.run)
    params = program.run.shapes["params"]
    shardings = sharding.state_shardings(program.mesh, params)
    specs = tree.flatten(jax.tree.map(lambda s: str(tuple(s.spec)), shardings))
    treated: dict[str, optim.Treatment] = {}
    for made in program.optimizers.values():
        treated |= made.treatments
    head = ("group", "decay", "trust")
    if not any(treatment.trust for treatment in treated.values()):
        head = head[:-1]
    lines = [("parameter", "shape", "type", "", *head, "sharding")]
    for path, leaf in tree.flatten(params).items():
        state = "trained" if path.split("/")[0] in trained else "frozen"
        shape = " x ".join(map(str, leaf.shape))
        told = [""] * len(head)
        if path in treated:
            group, *numbers = treated[path][: len(head)]
            told = [group, *(f"{x:g}" for x in numbers)]
        lines.append((path, shape, str(leaf.dtype), state, *told, specs[path]))
    return "\n".join(text.align(lines))


def state_table(program: program_lib.Program) -> str:
    """Memory of the state's parts, whole and on each device of the mesh."""
    state = program.state_target
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
        whole = sum(count_bytes(leaf.shape, leaf.dtype) for leaf in leaves)
        mine = sum(count_bytes(s, x.dtype) for s, x in zip(shards, leaves, strict=True))
        split = sum(s != x.shape for s, x in zip(shards, leaves, strict=True))
        row = (text.mebibytes(whole), text.mebibytes(mine), f"{split} of {len(leaves)}")
        lines.append((name, *row))
    mesh = " x ".join(f"{k} {v}" for k, v in program.mesh.shape.items())
    return "\n".join([*text.align(lines, right=(1, 2, 3)), f"mesh: {mesh}"])


def count_bytes(shape: tuple[int, ...], dtype: Any) -> int:
    """Bytes of an array."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def learning_rates(program: program_lib.Program, points: int = 60) -> str:
    """Learning-rate curve of each optimiser as a line of bars."""
    steps = np.linspace(0, max(program.run.total_steps - 1, 0), points).astype(int)
    lines = []
    for update, made in program.optimizers.items():
        for group, schedule in made.schedules.items():
            values = np.array([float(schedule(s)) for s in steps])
            top = values.max() or 1.0
            bars = "".join(BARS[int(round(v / top * (len(BARS) - 1)))] for v in values)
            lines.append(
                f"{update}/{group}: |{bars}| first {values[0]:.3g}, "
                f"greatest {values.max():.3g}, last {values[-1]:.3g}"
            )
    return "\n".join(lines)
