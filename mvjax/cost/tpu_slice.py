"""What a step needs on a slice of TPUs that is not there: libtpu compiles it on a CPU.

libtpu writes to the terminal, reads environment variables and may abort, so a process of
its own (`python -m mvjax.cost.tpu_slice`) compiles; `report` starts it and shows what it
found, with the estimate of `roofline`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.core import settings
from mvjax.core import text
from mvjax.core import workdir as workdir_lib
from mvjax.cost import chips as chips_lib
from mvjax.cost import collectives as collectives_lib
from mvjax.cost import compiled
from mvjax.cost import flops
from mvjax.cost import roofline
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

EXAMPLES = {"v4": "2x2x2", "v5e": "4x8", "v5p": "2x2x2", "v6e": "4x8"}
# With these libtpu neither looks for a TPU nor for the lock of another process.
SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# With this it leaves out the search for the fastest form of each operation.
QUICK = {"JAX_EXEC_TIME_OPTIMIZATION_EFFORT": "-1.0"}
# XLA_FLAGS may hold flags of CPUs, on which libtpu aborts.
UNSET = ("XLA_FLAGS", "TPU_ACCELERATOR_TYPE")


@dataclasses.dataclass(frozen=True)
class Target:
    """A slice of TPUs.

    Attributes:
      name: As the user wrote it, `"v5e:4x8"`.
      chip: Which TPU.
      sides: Chips along each side.
    """

    name: str
    chip: chips_lib.Chip
    sides: tuple[int, ...]

    @property
    def chips(self) -> int:
        """Number of chips."""
        return math.prod(self.sides)


def parse(name: str) -> Target:
    """Reads `v5e:4x8`.

    Raises:
      UserError: No such TPU, or no such slice of it.
    """
    kind, _, shape = name.partition(":")
    chip = chips_lib.get(kind)
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})*", shape):
        shape = ""
    sides = tuple(map(int, shape.split("x"))) if shape else ()
    if len(sides) != roofline.DIMENSIONS[kind]:
        count, example = roofline.DIMENSIONS[kind], EXAMPLES[kind]
        raise errors.UserError(
            f"--target={errors.cut(name)}: a slice of {kind} has {count} sides, such as "
            f"{kind}:{example}."
        )
    return Target(name, chip, sides)


def check_installed() -> None:
    """Raises `UserError` where libtpu is missing."""
    if importlib.util.find_spec("libtpu") is None:
        raise errors.UserError(
            "--target needs libtpu, the compiler of TPUs: pip install 'mvjax[tpu]'."
        )


def report(
    config: Any,
    target: Target,
    *,
    environment: Mapping[str, str],
    quick: bool = False,
    cache: pathlib.Path | None = None,
) -> str:
    """Compiles the step of a config for a slice and describes it; see `find`."""
    given = dict(environment=environment, quick=quick, cache=cache)
    return describe(find(config, target, **given), target, config)


def find(
    config: Any,
    target: Target,
    *,
    environment: Mapping[str, str],
    quick: bool = False,
    cache: pathlib.Path | None = None,
) -> dict[str, Any]:
    """What the step of a config needs on a slice, see `measure`; takes minutes.

    libtpu spends most of that time on the search for the fastest form of each product,
    convolution and Fourier transform: 58 minutes of two cores did not suffice for a
    ResNet-50 and wavelets at 224 pixels, which `quick` compiles in seven.

    Args:
      config: A complete config; its batch size is that of all chips together.
      target: The slice.
      environment: That of this process.
      quick: Whether it leaves that search out. FLOPs and collectives are the same,
        activations take more memory, and bytes to memory are other ones.
      cache: Folder of downloaded data.

    Raises:
      UserError: libtpu knows no such slice, or the step does not fit it.
    """
    with tempfile.TemporaryDirectory(prefix="mvjax-target-") as folder:
        given, found = (pathlib.Path(folder, n) for n in ("config.json", "found.json"))
        config_lib.save(config, given)
        command = [sys.executable, "-m", __name__, given, target.name, found]
        ended = subprocess.run(
            [*map(str, command), *([str(cache)] if cache else [])],
            env=clean_environment(environment) | (QUICK if quick else {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if not found.exists():
            raise errors.UserError(_last_words(ended))
        result = json.loads(found.read_text())
    if "error" in result:
        raise errors.UserError(result["error"])
    return result | {"quick": quick}


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which libtpu compiles without a TPU."""
    kept = {k: v for k, v in environment.items() if k not in UNSET}
    return kept | SETTINGS


def _last_words(ended: subprocess.CompletedProcess) -> str:
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "nothing"
    return f"The compiler of --target ended with {ended.returncode}; it said: {last}"


# The process that compiles.


def main(arguments: Sequence[str]) -> None:
    """Compiles; arguments are a config, a target, the file of the result, the cache."""
    given, name, found, *cache = arguments
    # The step is traced for TPUs. Layers that have another form for CPUs ask for this.
    jax.default_backend = lambda: "tpu"
    target, file = parse(name), pathlib.Path(given)
    # The caller has loaded this config, and so decided what it may import.
    own = settings.foreign_code(workdir_lib.read_json(file))
    try:
        run = run_lib.Run(
            config_lib.read(file, allow_code=own),
            cache=pathlib.Path(cache[0]) if cache else None,
            data_needed=False,
        )
        program = program_lib.Program(run, devices=find_devices(target))
        version = importlib.metadata.version("libtpu")
        result = measure(program, "tpu") | {"compiler": f"libtpu {version}"}
    except errors.UserError as error:
        result = {"error": str(error)}
    except jax.errors.JaxRuntimeError as error:
        result = {"error": explain(str(error), target)}
    pathlib.Path(found).write_text(json.dumps(result))


def find_devices(target: Target) -> list:
    """Abstract devices of a slice.

    Raises:
      UserError: libtpu knows no such slice.
    """
    from jax.experimental import topologies

    # A host has up to 2 x 2 chips. Both cores of a v4 are one device, as on its hosts.
    host = [min(side, 2) for side in target.sides[:2]]
    options = {"chips_per_host_bounds": (*host, 1)}
    if target.chip.name == "v4":
        options["chip_config_name"] = "megacore"
    try:
        topology = topologies.get_topology_desc(
            platform="tpu", topology_name=target.name, **options
        )
    except jax.errors.JaxRuntimeError as error:
        raise errors.UserError(
            f"--target={target.name}: {_first_line(error)}"
        ) from None
    return list(topology.devices)


def explain(message: str, target: Target) -> str:
    """One line for what the compiler said."""
    line = _first_line(message)
    if "ran out of memory" not in line.lower():
        return f"libtpu cannot compile the step for {target.name}: {line}"
    return (
        f"The step does not fit the memory of {target.name}: {line} Take more chips, a "
        "smaller config.data.batch_size, a larger config.accumulate or config.mesh.fsdp."
    )


def _first_line(message: Any) -> str:
    line = str(message).strip().splitlines()[0]
    return re.sub(r"^[A-Z_]+: ", "", line)[:400]


def measure(program: program_lib.Program, platform: str) -> dict[str, Any]:
    """Compiles the step of a run and reads what it needs on each chip, as JSON."""
    start = time.perf_counter()
    state, batch, keys = program.step_arguments()
    step = compiled.measure(program, (state, batch, keys), platforms=(platform,))
    once = flops.count(step.traced.jaxpr, rounds=False)
    cost = step.compiled.cost_analysis() or {}
    hlo = step.compiled.as_text()
    found = collectives_lib.parse(hlo, program.mesh.size)
    return {
        "chips": program.mesh.size,
        "mesh": dict(program.mesh.shape),
        "parameters": chip_bytes(state.params),
        "optimiser": chip_bytes(state.opt_state),
        "rest": chip_bytes((state.model_state, state.ema)),
        "batch": chip_bytes(batch),
        "activations": step.memory.temp_size_in_bytes,
        "program": step.memory.generated_code_size_in_bytes,
        "peak": step.peak_bytes,
        "flops": cost.get("flops", math.nan) * step.work.flops / once.flops,
        "bytes": cost.get("bytes accessed", math.nan) * step.work.bytes / once.bytes,
        "loops": step.work.open_loops,
        "collectives": [dataclasses.asdict(c) for c in found],
        "seconds": time.perf_counter() - start,
    }


def chip_bytes(tree: Any) -> int:
    """Bytes of the part of a tree of sharded shapes that one device holds."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


# What it found, in words.


def describe(found: Mapping[str, Any], target: Target, config: Any) -> str:
    """Tables of what `measure` found, and the estimate."""
    dtype, work = _work(found, config)
    blocks = [
        _head(found, target, config),
        _needs(found, target.chip),
        _collectives(work.collectives),
        _step(roofline.estimate(target.chip, dtype, work), target.chip, dtype),
        _scaling(found, target, dtype, work),
    ]
    blocks.append("Assumptions:\n" + "\n".join(f"- {a}" for a in roofline.ASSUMPTIONS))
    return "\n\n".join(blocks)


# Of one stage among several; what is longest of three bounds the step.
SUMMARY = (
    "stage",
    "batch",
    "fits",
    "memory of a chip",
    "apart",
    "together",
    "bound by",
)


def summarise(found: Mapping[str, Any], target: Target, config: Any) -> list[str]:
    """The cells of `SUMMARY` behind the first."""
    dtype, work = _work(found, config)
    estimate = roofline.estimate(target.chip, dtype, work)
    parts = dataclasses.asdict(estimate)
    needs, has = (size / 2**30 for size in (found["peak"], target.chip.memory))
    return [
        str(config.data.batch_size),
        "yes" if needs <= has else "no",
        f"{needs:.1f} of {has:g} GiB",
        _ms(estimate.apart),
        _ms(estimate.together),
        max(parts, key=parts.get),
    ]


def _work(found: Mapping[str, Any], config: Any) -> tuple[str, roofline.Work]:
    """The type of the products, and what a chip does in a step."""
    collectives = (collectives_lib.Collective(**c) for c in found["collectives"])
    work = roofline.Work(found["flops"], found["bytes"], tuple(collectives))
    return config.method.get("dtype", "float32"), work


def _head(found: Mapping[str, Any], target: Target, config: Any) -> str:
    mesh = " x ".join(f"{k} {v}" for k, v in found["mesh"].items())
    size = config.data.batch_size
    compiled = f"by {found['compiler']} in {found['seconds']:.0f} s"
    if found.get("quick"):
        compiled += (
            ", quickly: activations take less in training, bytes to memory differ"
        )
    return _table(
        [
            ("target", f"{target.name}, {found['chips']} chips"),
            ("mesh", mesh),
            ("batch", f"{size}, {size / found['chips']:g} for each chip"),
            ("compiled", compiled),
        ]
    )


def _needs(found: Mapping[str, Any], chip: chips_lib.Chip) -> str:
    share = found["peak"] / chip.memory
    rows = [("on each chip", "")]
    for label, key in (
        ("parameters", "parameters"),
        ("optimiser state", "optimiser"),
        ("statistics and averages", "rest"),
        ("batch", "batch"),
        ("activations, gradients", "activations"),
        ("program", "program"),
    ):
        rows.append((label, _mebibytes(found[key])))
    peak = f"{_mebibytes(found['peak'])} of {_mebibytes(chip.memory)} ({share:.1%})"
    rows.append(("peak memory", peak))
    rows.append(("FLOPs", f"{found['flops']:.4g}"))
    loops = flops.open_loops(flops.Count(open_loops=found["loops"]))
    rows.append(("bytes to memory", f"{found['bytes']:.4g}{loops}"))
    return _table(rows)


def _collectives(found: Sequence[collectives_lib.Collective]) -> str:
    if not found:
        return "no collectives"
    rows = [("collective", "number", "chips", "MiB", "MiB sent by a chip")]
    for c in found:
        sent = collectives_lib.sent_bytes(c)
        sizes = (f"{size / 2**20:.3f}" for size in (c.bytes, sent))
        rows.append((c.kind, str(c.count), str(c.group), *sizes))
    return _table(rows)


def _step(estimate: roofline.Estimate, chip: chips_lib.Chip, dtype: str) -> str:
    peak, bandwidth = chip.peak(dtype) / 1e12, chip.bandwidth / 1e9
    rows = [
        ("a step lasts at least", ""),
        ("compute", f"{_ms(estimate.compute)} at {peak:g} TFLOP/s ({dtype})"),
        ("memory", f"{_ms(estimate.memory)} at {bandwidth:g} GB/s"),
        (
            "collectives",
            f"{_ms(estimate.collectives)} at {chip.link / 1e9:g} GB/s and "
            f"{roofline.HOP * 1e6:g} us a hop",
        ),
        ("apart", f"{_ms(estimate.apart)}, collectives after the rest"),
        ("together", f"{_ms(estimate.together)}, everything at once"),
    ]
    return _table(rows)


def _scaling(
    found: Mapping[str, Any], target: Target, dtype: str, work: roofline.Work
) -> str:
    mesh = found["mesh"]
    if mesh["data"] != found["chips"] or found["chips"] == 1:
        return (
            "scaling: estimated only where config.mesh.data takes several chips, all."
        )
    points = roofline.scaling(target.chip, dtype, work, compiled=found["chips"])
    first = points[0][1]
    rows = [("chips", "apart", "efficiency", "together", "efficiency")]
    for chips, estimate in points:
        rows.append(
            (
                str(chips),
                _ms(estimate.apart),
                f"{first.apart / estimate.apart:.1%}",
                _ms(estimate.together),
                f"{first.together / estimate.together:.1%}",
            )
        )
    return _table(rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.4g} ms"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.2f} MiB"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(text.align(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
