"""What a traced program computes and moves, loops as often as they run.

The compiler's own counts take the body of a loop once, on GPUs nothing for calls of
libraries, and are not to be had before the compilation. So this walks the program as JAX
traced it, before any optimisation and before it is divided among devices; only what no
result needs is left out.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import math
from typing import Any

from jax.extend import core as jax_core
import jax.numpy as jnp
import numpy as np

# What moves values and computes none.
_MOVES = frozenset(
    "broadcast_in_dim concatenate convert_element_type copy dynamic_slice "
    "dynamic_update_slice empty empty2 gather optimization_barrier pad reduce_precision "
    "reshape rev scatter select_n sharding_constraint slice sort split squeeze stack tie "
    "tile top_k transpose unstack".split()
)
_READS = ("dynamic_slice", "gather", "slice")
# What applies its program to single elements.
_ELEMENTWISE = ("scatter", "reduce", "select_and_")
_LOOPS = ("scan", "while")


@dataclasses.dataclass(frozen=True)
class Count:
    """Work of a program on all devices together.

    Attributes:
      flops: 2 for each multiply-add of a product or convolution, and 1 for each element
        that other arithmetic makes, or that a reduction takes.
      bytes: Of what each operation reads and writes, as if none were fused.
      open_loops: Loops whose number of rounds only the data tell; one round is counted.
    """

    flops: float = 0.0
    bytes: float = 0.0
    open_loops: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.open_loops + other.open_loops,
        )

    def times(self, number: int) -> "Count":
        """The work of so many rounds, or devices."""
        return Count(self.flops * number, self.bytes * number, self.open_loops)


def count(
    program: Any, *, rounds: bool = True, wanted: Sequence[bool] | None = None
) -> Count:
    """Counts the work of a program, such as `jax.jit(f).trace(x).jaxpr`.

    Args:
      program: A jaxpr.
      rounds: Whether loops count as often as they run, not once.
      wanted: Which of its results are needed; None, or of another number: all.
    """
    program = getattr(program, "jaxpr", program)
    results = program.outvars
    if wanted is None or len(wanted) != len(results):
        wanted = [True] * len(results)
    needed = {v for v, w in zip(results, wanted, strict=True) if w and _is_made(v)}
    total = Count()
    for equation in reversed(program.eqns):
        wanted = [v in needed for v in equation.outvars]
        if any(wanted) or equation.effects:
            needed.update(filter(_is_made, equation.invars))
            total += _work(equation, wanted, rounds)
    return total


def open_loops(work: Count) -> str:
    """What to say of loops whose rounds are not known; "" if there are none."""
    number = work.open_loops
    if not number:
        return ""
    return f"; of {number} loop{'s' * (number > 1)}, which the data end, one round"


def _is_made(value: Any) -> bool:
    return not isinstance(value, jax_core.Literal)


def _work(equation: Any, wanted: list[bool], rounds: bool) -> Count:
    """Work of one equation, with that of the programs that it runs."""
    name, params = equation.primitive.name, equation.params
    programs = () if name.startswith(_ELEMENTWISE) else tuple(_programs(params))
    if not programs:
        return _operation(equation)
    if name in _LOOPS:
        wanted = None  # Any result may go into the next round.
    parts = [count(part, rounds=rounds, wanted=wanted) for part in programs]
    if name == "cond":
        return max(parts, key=lambda part: part.flops)
    whole = sum(parts, Count(open_loops=int(name == "while")))
    if name == "scan":
        return whole.times(params["length"] if rounds else 1)
    if name == "shard_map":  # Each device runs it on its own rows.
        return whole.times(params["mesh"].size)
    return whole


def _programs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs among the parameters of an operation."""
    for value in params.values():
        for part in value if isinstance(value, (list, tuple)) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def _operation(equation: Any) -> Count:
    """Work of one operation."""
    inputs = [v.aval for v in equation.invars if hasattr(v.aval, "shape")]
    outputs = [v.aval for v in equation.outvars if hasattr(v.aval, "shape")]
    name, params = equation.primitive.name, equation.params
    touched = [*inputs, *outputs]
    if name in _READS:  # A part of its input, as large as its output.
        touched = 2 * outputs
    elif name == "dynamic_update_slice":
        touched = 2 * [inputs[1]]
    elif name.startswith("scatter"):
        touched = 2 * [inputs[2]]
    moved = sum(aval.size * aval.dtype.itemsize for aval in touched)
    if not any(jnp.issubdtype(aval.dtype, jnp.inexact) for aval in outputs):
        return Count(bytes=moved)
    size = sum(aval.size for aval in outputs)
    if name == "dot_general":
        contracted = params["dimension_numbers"][0][0]
        size *= 2 * math.prod(inputs[0].shape[axis] for axis in contracted)
    elif name == "conv_general_dilated":
        size = 2 * _multiplications(
            inputs[0].shape, inputs[1].shape, outputs[0], params
        )
    elif name in _MOVES:
        size = 0
    elif name.startswith("scatter"):
        size = inputs[2].size
    elif "window_dimensions" in params:
        size *= math.prod(params["window_dimensions"])
    elif name.startswith("reduce"):
        size = sum(aval.size for aval in inputs)
    return Count(float(size), float(moved))


def _multiplications(
    image: tuple[int, ...], kernel: tuple[int, ...], result: Any, params: dict[str, Any]
) -> int:
    """Multiplications of a convolution, without those by zeros that fill it up."""
    numbers = params["dimension_numbers"]
    places = 1
    for i, (a, k, r) in enumerate(
        zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:])
    ):
        at = np.arange(result.shape[r])[:, None] * params["window_strides"][i]
        at = at + np.arange(kernel[k]) * params["rhs_dilation"][i]
        at = at - params["padding"][i][0]
        real = (at >= 0) & (at % params["lhs_dilation"][i] == 0)
        real &= at // params["lhs_dilation"][i] < image[a]
        places *= int(real.sum())
    rows = result.shape[numbers.out_spec[0]] * result.shape[numbers.out_spec[1]]
    # Of a group the kernel's input features; batch groups share out the batch.
    return places * rows * kernel[numbers.rhs_spec[1]]
