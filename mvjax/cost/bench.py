"""Measures what a config's training step costs.

The parts are measured apart, so that the table tells which one to mend: compilation; the
step with a batch that lies on the device; the input without the device; and both
together, fed as in training. `cost/bench_tables.py` shows and compares what is found.
"""

import collections
from collections.abc import Callable, Sequence
import contextlib
import hashlib
from importlib import metadata
import json
import os
import platform
import time
from typing import Any

import jax

from mvjax import __version__
from mvjax.core import errors
from mvjax.core import process_settings
from mvjax.core import state as state_lib
from mvjax.cost import bench_tables as report_lib
from mvjax.cost import chips
from mvjax.cost import compiled as compiled_lib
from mvjax.data import batch as batch_lib
from mvjax.train import feed as feed_lib
from mvjax.train import log
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from mvjax.train import sharding

WARM_UP = 3  # Steps that are not counted.
GROUP = report_lib.GROUP


def measure(
    program: program_lib.Program,
    *,
    steps: int = 20,
    name: str = "",
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
    alone: Callable[[], Any] = contextlib.nullcontext,
    fast_cpu: bool = False,
) -> report_lib.Report:
    """Measures a config from untrained variables; needs no stage before and no workdir.

    Args:
      program: What to measure.
      steps: Measured steps, after `WARM_UP` others.
      name: The config, as on the command line.
      overrides: Its overrides, without prefix.
      say: Told what comes next.
      alone: Makes a context in which nothing else uses the devices. Steps are timed in
        it; compilation comes before it.
      fast_cpu: Whether the process has been set to use oneDNN, whose programs cannot be
        kept in a cache.

    Raises:
      UserError: The config does not fit the data, or there are none.
    """
    if steps < 1:
        raise errors.UserError(f"--steps must be at least 1, not {steps}.")
    run = program.run
    _need_data(run)
    # What is frozen is the same in all seeds, as after a warm start.
    state = program.place_state([run.fresh_variables()] * len(run.seeds))
    once, samples = {}, {}
    if run.constant_shapes:
        say("computing frozen features of all records")
        start = time.perf_counter()
        run.keep_constants(program.fetch(state.eval_variables), store=False)
        once["constants_seconds"] = time.perf_counter() - start
    say("reads the input alone")
    batch, samples["input"] = _time_input(program, steps)
    put, samples["put"] = _time_put(program, batch, steps)
    keys = program.root_keys
    peak = _peak(program)
    with contextlib.nullcontext() if fast_cpu else compiled_lib.empty_cache():
        say("compiles the step")
        compiled = compiled_lib.measure(program, (state, put, keys))
        shapes = jax.tree.map(_shape, (state, put, keys))
        with alone(), process_settings.Holes() as holes:
            say("repeats the step with one batch")
            state, samples["step"] = _time_step(program, state, put, keys, steps, holes)
            say("takes steps as training does")
            samples["loop"] = _time_loop(program, state, steps)
        once |= _memory(program, compiled)
        # Of several processes only the first one writes to a cache.
        if jax.process_count() == 1 and not fast_cpu:
            say("reads the step from the cache")
            again = compiled_lib.measure(program.fresh(), shapes)
            once["warm_compile_seconds"] = again.compile_seconds
    once["trace_seconds"] = compiled.trace_seconds
    once["compile_seconds"] = compiled.compile_seconds
    flops = compiled.work.flops or None
    once |= {"flops": flops} if flops else {}
    amounts = {"items": run.batch_size, "batches": 1, "flops": flops, "peak": None}
    if flops and peak:  # Seconds that the step would take at the peak.
        amounts["peak"] = flops / (peak["flops"] * program.mesh.size)
    return {
        "format": report_lib.FORMAT,
        "config": _describe_config(run.config, name, overrides),
        "environment": _describe_environment(program, fast_cpu=fast_cpu),
        "peak": peak,
        "figures": report_lib.figures(once, samples, amounts),
        "amounts": amounts,
        "samples": samples,
    }


def _shape(array: jax.Array) -> jax.ShapeDtypeStruct:
    """What a program knows of an array."""
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _need_data(run: run_lib.Run) -> None:
    """Opens the training split; says how to do without its files."""
    data = run.config.data
    _ = run.spec  # Unknown data sets and options, which made-up records do not mend.
    try:
        run.source("train")
    except errors.UserError as error:
        if data.get("synthetic", True):
            raise
        hint = "--config.data.synthetic=True"
        if run.batch_size > 512:
            hint += f" --config.data.limit={2 * run.batch_size}"
        raise errors.UserError(f"{error} Or measure on made-up data: {hint}") from None
    _ = run.steps_per_epoch  # At least one batch.


def _time_input(
    program: program_lib.Program, steps: int
) -> tuple[batch_lib.Record, list[float]]:
    """A batch, and seconds of each: means of `GROUP`, since several are read at once."""
    with feed_lib.Streamed(program, 0) as feed:
        batch = feed.read()
        group = _time(lambda: [feed.read() for _ in range(GROUP)], steps, warm_up=1)
    return batch, [seconds / GROUP for seconds in group]


def _time_put(
    program: program_lib.Program, batch: batch_lib.Record, steps: int
) -> tuple[Any, list[float]]:
    """The batch on the device, and seconds that it takes to get there."""

    def put() -> Any:
        return jax.block_until_ready(sharding.put_batch(batch, program.batch_sharding))

    return put(), _time(put, steps)


def _time_step(
    program: program_lib.Program,
    state: state_lib.TrainState,
    batch: Any,
    keys: jax.Array,
    steps: int,
    holes: process_settings.Holes,
) -> tuple[state_lib.TrainState, list[float]]:
    """The state, and seconds of each step, awaited one by one.

    The holes are filled after the first step, as training does.
    """

    def step() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(program.step(state, batch, keys))

    step()
    holes.fill()
    seconds = _time(step, steps)
    return state, seconds


def _time(
    call: Callable[[], Any], count: int, *, warm_up: int = WARM_UP
) -> list[float]:
    """Seconds of each call but for the first ones."""
    seconds = []
    for _ in range(warm_up + count):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[warm_up:]


def _time_loop(
    program: program_lib.Program, state: state_lib.TrainState, steps: int
) -> list[float]:
    """Seconds of a step in training's own feed, which runs ahead of the device.

    A sample is the mean of at least `GROUP` steps, or of all if there are fewer; data
    that lie on the device take as many steps at once as they can.
    """
    pending: collections.deque = collections.deque()
    marks: list[tuple[int, float]] = []  # Steps that are done, and when.
    ahead = 0 if program.run.config.data.device_resident else log.AHEAD
    done, total = 0, WARM_UP + steps
    # Files that the input alone has read are quick to read again.
    with feed_lib.make(program, (steps + 1) * GROUP + 1) as feed:
        # Marks lag where sending a step off takes as long as the step, so the last ones
        # too are made with others on their way.
        while done < total + ahead:
            goal = WARM_UP if done < WARM_UP else max(total, done + 1)
            state, metrics, count = feed.advance(state, goal - done)
            done += count
            pending.append((metrics, done))
            if len(pending) > ahead:
                metrics, finished = pending.popleft()
                jax.block_until_ready(metrics)
                marks.append((finished, time.perf_counter()))
        jax.block_until_ready(state)
    return _intervals([mark for mark in marks if mark[0] >= WARM_UP], min(GROUP, steps))


def _intervals(marks: list[tuple[int, float]], group: int) -> list[float]:
    """Mean seconds of the steps between marks that are `group` steps apart, or more."""
    samples = []
    done, start = marks[0]
    for now, end in marks[1:]:
        if now - done >= group:
            samples.append((end - start) / (now - done))
            done, start = now, end
    return samples


def _peak(program: program_lib.Program) -> dict[str, Any] | None:
    """What the devices could do; None: unknown."""
    chip = chips.find(program.mesh.devices.flat[0].device_kind)
    if chip is None:
        return None
    dtype = str(program.run.config.method.get("dtype", "float32"))
    return {"chip": chip.name, "dtype": dtype, "flops": chip.peak(dtype)}


def _memory(
    program: program_lib.Program, compiled: compiled_lib.Step
) -> dict[str, float]:
    """Bytes of each device and of this process, those that are known."""
    found = {}
    sizes = compiled.memory
    if sizes is not None:
        found["argument_bytes"] = sizes.argument_size_in_bytes
        found["temporary_bytes"] = sizes.temp_size_in_bytes
    mine = [
        d for d in program.mesh.devices.flat if d.process_index == jax.process_index()
    ]
    peaks = [(d.memory_stats() or {}).get("peak_bytes_in_use") for d in mine]
    if all(peaks):
        found["device_peak_bytes"] = max(peaks)
    try:
        import resource
    except ImportError:  # Not Unix.
        return found
    unit = 1 if platform.system() == "Darwin" else 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {"process_peak_bytes": used * unit}


def _describe_config(config: Any, name: str, overrides: Sequence[str]) -> dict:
    """The resolved config, as JSON has it, and what names it."""
    text = json.dumps(config.to_dict(), sort_keys=True)
    return {
        "name": name,
        "overrides": list(overrides),
        "hash": hashlib.sha256(text.encode()).hexdigest()[:12],
        "values": json.loads(text),
    }


def _describe_environment(
    program: program_lib.Program, *, fast_cpu: bool
) -> dict[str, Any]:
    """What else times depend on."""
    return {
        "mvjax": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib") + (" with oneDNN" if fast_cpu else ""),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": program.mesh.devices.flat[0].device_kind,
        "devices": program.mesh.size,
        "processes": jax.process_count(),
        "mesh": dict(program.mesh.shape),
    }
