"""Work of traced programs: known numbers, loops, and the compiler's count without them."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mvjax.core import config as config_lib
from mvjax.cost import compiled
from mvjax.cost import flops
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[2]
SQUARE = jax.ShapeDtypeStruct((16, 16), jnp.float32)
PRODUCT = 2 * 16**3


def count(function, *arguments, **options) -> flops.Count:
    return flops.count(jax.jit(function).trace(*arguments).jaxpr, **options)


def make_program(config: str, *overrides: str, devices: int = 1) -> program_lib.Program:
    config = config_lib.load(str(ROOT / config), overrides)
    run = run_lib.Run(config, data_needed=False)
    return program_lib.Program(run, devices=jax.devices()[:devices])


def step_work(*arguments, **options) -> flops.Count:
    program = make_program(*arguments, **options)
    return flops.count(program.step.trace(*program.step_arguments()).jaxpr)


def repeat(x, *, length=5):
    return jax.lax.scan(lambda y, _: (y @ x, None), x, length=length)[0]


def test_a_product_counts_two_for_each_multiply_add():
    left = jax.ShapeDtypeStruct((3, 4, 5), jnp.bfloat16)
    right = jax.ShapeDtypeStruct((3, 5, 6), jnp.bfloat16)
    found = count(jnp.matmul, left, right)
    assert found.flops == 2 * 3 * 4 * 5 * 6
    assert found.bytes == 2 * 3 * (4 * 5 + 5 * 6 + 4 * 6)


def test_a_loop_counts_as_often_as_it_runs():
    assert count(repeat, SQUARE) == count(repeat, SQUARE, rounds=False).times(5)
    assert count(repeat, SQUARE).flops == 5 * PRODUCT
    nested = count(lambda x: jax.lax.map(repeat, jnp.stack([x] * 3)), SQUARE)
    assert nested.flops == 15 * PRODUCT
    fixed = count(lambda x: jax.lax.fori_loop(0, 7, lambda i, y: y @ x, x), SQUARE)
    assert fixed.flops == 7 * PRODUCT and fixed.open_loops == 0


def test_gradients_of_a_loop_count_too():
    found = count(jax.grad(lambda x: repeat(x).sum()), SQUARE)
    small = 16 * 16 * 20  # Additions of gradients.
    assert 15 * PRODUCT <= found.flops <= 15 * PRODUCT + small


def test_a_loop_that_the_data_end_is_told():
    def halve(x):
        return jax.lax.while_loop(lambda y: y.sum() > 1, lambda y: y @ x, x)

    found = count(lambda x: halve(x) + halve(x.T), SQUARE)
    assert found.open_loops == 2
    assert 2 * PRODUCT <= found.flops < 2 * PRODUCT + 2 * 16**2 * 5
    assert flops.open_loops(found) == "; of 2 loops, which the data end, one round"
    assert flops.open_loops(count(repeat, SQUARE)) == ""


def test_of_branches_the_longer_counts_and_of_devices_each():
    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, repeat, lambda x: x, x)

    assert count(branch, SQUARE).flops == 5 * PRODUCT
    mesh = jax.sharding.Mesh(np.array(jax.devices()), "data")
    rows, whole = (jax.sharding.PartitionSpec(p) for p in ("data", None))
    apart = jax.shard_map(
        jnp.matmul, mesh=mesh, in_specs=(rows, whole), out_specs=rows, check_vma=False
    )
    assert count(apart, SQUARE, SQUARE).flops == PRODUCT


def test_what_no_result_needs_does_not_count():
    def waste(x):
        _ = jnp.linalg.inv(x)
        return jax.nn.relu(repeat(x)), x @ x

    assert count(lambda x: waste(x)[1], SQUARE).flops == PRODUCT


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 3), "padding": "SAME"},
        {"window_strides": (1, 1), "padding": "VALID", "feature_group_count": 2},
        {"window_strides": (1, 2), "padding": ((2, 0), (1, 4)), "rhs_dilation": (2, 1)},
        {"window_strides": (1, 1), "padding": ((1, 1), (2, 2)), "lhs_dilation": (2, 3)},
    ],
)
@pytest.mark.parametrize("gradient", [None, 0, 1])
def test_convolutions_count_as_the_compiler_counts_them(options, gradient):
    groups = options.get("feature_group_count", 1)

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
        )

    def function(x, kernel):
        y, pull_back = jax.vjp(convolve, x, kernel)
        return y if gradient is None else pull_back(jnp.ones_like(y))[gradient]

    x = jax.ShapeDtypeStruct((4, 9, 8, 6), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 2, 6 // groups, 10), jnp.float32)
    traced = jax.jit(function).trace(x, kernel)
    theirs = traced.lower().cost_analysis()["flops"]
    assert flops.count(traced.jaxpr).flops == pytest.approx(theirs, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    ["configs/dim/sdim.py:debug", "configs/rerd/rerd.py:debug", "tests/toy/config.py"],
)
def test_without_rounds_a_step_counts_as_the_compiler_counts_it(config):
    program = make_program(config)
    traced = program.step.trace(*program.step_arguments())
    theirs = traced.lower().cost_analysis()["flops"]
    mine = flops.count(traced.jaxpr, rounds=False).flops
    # The compiler counts comparisons and integers, and no exponentials.
    tolerance = 0.5 if "toy" in config else 0.06
    assert mine == pytest.approx(theirs, rel=tolerance)


@pytest.mark.slow
def test_micro_batches_devices_and_seeds_count_whole():
    config = "configs/dim/sdim.py:debug"
    batch = "data.batch_size=32"
    one = step_work(config, batch).flops
    assert step_work(config, batch, "accumulate=4").flops == pytest.approx(
        one, rel=0.02
    )
    assert step_work(config, batch, devices=8).flops == one
    assert step_work(config, batch, "data.device_resident=True").flops == one
    seeds = step_work(config, batch, "seeds=2").flops
    assert seeds == pytest.approx(2 * one, rel=0.02)
    # Each device has the whole state to update.
    replicas = step_work(config, batch, "parallel=pmap", devices=8).flops
    assert replicas == pytest.approx(one, rel=0.05)


def test_show_says_the_same_with_micro_batches():
    texts = [
        compiled.step_table(
            make_program("tests/toy/config.py", *overrides, devices=devices)
        )
        for overrides, devices in (((), 1), (("accumulate=4",), 1), ((), 8))
    ]
    rows = [text.splitlines()[0] for text in texts]
    one, micro, split = (float(re.search(r" step +([\d.e+]+)", r)[1]) for r in rows)
    assert micro == pytest.approx(one, rel=0.1) and split == one
    assert rows[2].endswith("all 8 devices together")
