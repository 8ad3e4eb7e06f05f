"""The search of a batch size: what it finds, and how little it compiles for that."""

import pathlib

import jax
import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.cost import batch_size
from mvjax.cost import compiled
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

CONFIG = str(pathlib.Path(__file__).parents[1] / "toy" / "config.py")
SIZES = [2**i for i in range(1, 13)]


def make_program(*overrides: str, devices: int = 1) -> program_lib.Program:
    run = run_lib.Run(config_lib.load(CONFIG, overrides))
    return program_lib.Program(run, devices=jax.devices()[:devices])


@pytest.mark.parametrize(
    ("need", "most"),
    [
        (lambda n: 500 + 3 * n, 4),
        (lambda n: 500 + 3 * n + n * n // 50, 7),  # Pairs of rows.
        (lambda n: max(900, 300 + 5 * n), 6),  # The state outweighs small batches.
        (lambda n: 500 + 3 * n if n < 100 else None, 6),  # No compiler gets so far.
        (lambda n: 40, 3),
    ],
)
@pytest.mark.parametrize("limit", [60, 506, 530, 1200, 4000, 5000, 12000, 10**6])
def test_the_largest_size_that_fits_is_found(need, most, limit):
    asked = []

    def count(size):
        asked.append(size)
        return need(size)

    found = batch_size.search(SIZES, count, limit)
    fits = [n for n in SIZES if need(n) is not None and need(n) <= limit]
    assert found.size == max(fits, default=None)
    assert found.tried == {n: need(n) for n in asked}
    assert len(asked) == len(found.tried) <= most
    if found.size and found.size < SIZES[-1]:
        above = 2 * found.size
        assert above in found.tried or found.above[0] == above
        assert above not in found.tried or found.above is None
    if found.above:  # The line lies below a convex truth.
        assert limit < found.above[1] <= need(found.above[0])


def test_sizes_divide_over_devices_and_micro_batches(monkeypatch):
    devices = jax.devices()
    for count, settings, expected in [
        (1, (), [2, 4, 8, 16, 32]),
        (8, (), [8, 16, 32]),
        (8, ("mesh.data=2", "mesh.model=4"), [2, 4, 8, 16, 32]),
        (8, ("accumulate=2",), [16, 32]),
        (1, ("accumulate=4", "data.limit=12"), [4, 8]),
        (3, ("mesh.fsdp=3",), [3, 6, 12, 24, 48]),
    ]:
        monkeypatch.setattr("jax.devices", lambda *a, n=count: devices[:n])
        run = run_lib.Run(config_lib.load(CONFIG, settings))
        assert batch_size.candidates(run) == expected
    with pytest.raises(errors.UserError, match="7 records, fewer than the smallest"):
        monkeypatch.setattr("jax.devices", lambda *a: devices)
        batch_size.candidates(run_lib.Run(config_lib.load(CONFIG, ["data.limit=7"])))


def test_what_a_step_needs_is_of_one_device_with_the_batches_behind_it():
    one = make_program()
    row = (6 + 6) * 4 + 2 * 4  # Two views, label and index.
    needed = batch_size.need(one)
    assert needed == compiled.measure(one).peak_bytes + 2 * 16 * row
    eight = make_program(devices=8)
    rows = eight.step_arguments()[1]["index"]
    assert rows.sharding.shard_shape(rows.shape) == (2,)
    assert batch_size._beside(eight) == batch_size._beside(one) // 8


def test_data_on_the_device_count_as_a_whole():
    resident = make_program("data.device_resident=True", "seeds=2")
    assert batch_size._beside(resident) == 48 * ((6 + 6) * 4 + 2 * 4)


def test_a_compiler_that_runs_out_of_memory_says_it_does_not_fit(monkeypatch):
    def fail(text):
        def measure(program):
            raise jax.errors.JaxRuntimeError(text)

        monkeypatch.setattr(compiled, "measure", measure)

    fail("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm")
    assert batch_size.need(make_program()) is None
    fail("INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        batch_size.need(make_program())


def test_devices_of_a_cpu_share_its_memory(monkeypatch):
    monkeypatch.setattr("mvjax.core.memory.available", lambda: 80 << 20)
    one, eight = (make_program(devices=n).mesh for n in (1, 8))
    assert batch_size.limit(one) == 20 << 20
    assert batch_size.limit(eight) == 2 << 20  # Whole mebibytes.
