"""Data that lie on the device give the numbers of data that are streamed."""

import jax
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.train import feed
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib
from tests.train import test_loop

RESIDENT = "data.device_resident=True"
KEEP = ("data.last_batch=keep", "data.batch_size=32")  # Epochs of 32 and 16 rows.


@pytest.mark.parametrize(
    "extra", [(), ("seeds=2",), ("accumulate=2", "data.shuffle=False")], ids=str
)
def test_resident_data_give_the_numbers_of_streamed_data(tmp_path, extra):
    settings = ("optim.name=sgd", "log_every_steps=5", *extra)
    streamed = test_loop.train(tmp_path / "streamed", *settings)
    resident = test_loop.train(tmp_path / "resident", *settings, RESIDENT)
    test_loop.assert_near(streamed.params, resident.params, atol=1e-6)
    np.testing.assert_allclose(
        test_loop.losses(tmp_path / "streamed"),
        test_loop.losses(tmp_path / "resident"),
        rtol=1e-5,
    )


def test_resident_data_resume_in_the_middle_of_an_epoch(tmp_path):
    whole = test_loop.train(tmp_path / "whole", RESIDENT)
    test_loop.train(tmp_path / "parts", RESIDENT, "epochs=2")
    test_loop.assert_same_bits(whole, test_loop.train(tmp_path / "parts", RESIDENT))


def test_resident_data_on_eight_devices(tmp_path):
    one = test_loop.train(tmp_path / "one", "optim.name=sgd", RESIDENT)
    eight = test_loop.train(tmp_path / "eight", "optim.name=sgd", RESIDENT, devices=8)
    test_loop.assert_near(one.params, eight.params, atol=2e-5)


@pytest.mark.parametrize("resident", [False, True], ids=["streamed", "resident"])
def test_steps_move_nothing_between_host_and_device_but_batches(resident):
    program = test_loop.make_program(f"data.device_resident={resident}")
    state = program.initial_state()
    with feed.make(program, 0) as batches:
        state, _, _ = batches.advance(state, 2)  # Compiles.
        # Explicit transfers, such as those of batches, are allowed.
        with jax.transfer_guard("disallow"):
            for _ in range(3):
                state, _, count = batches.advance(state, 2)
        assert count == (2 if resident else 1)


@pytest.mark.parametrize("resident", [False, True], ids=["streamed", "resident"])
def test_a_step_on_cpu_starts_when_the_one_before_has_ended(resident):
    """Else both would need their memory at once."""
    program = test_loop.make_program(f"data.device_resident={resident}")
    state, ready = program.initial_state(), []
    with feed.make(program, 0) as batches:
        name, of = ("_scan", batches) if resident else ("step", program)
        step = getattr(of, name)

        def watched(state, *rest):
            ready.append(all(leaf.is_ready() for leaf in jax.tree.leaves(state)))
            return step(state, *rest)

        setattr(of, name, watched)
        for _ in range(20):
            state, _, _ = batches.advance(state, 2)
    assert len(ready) == 20 and all(ready)


def test_a_whole_run_compiles_one_step(tmp_path):
    program = test_loop.make_program("data.device_resident=True", "log_every_steps=5")
    with feed.make(program, 0) as batches:
        state = program.initial_state()
        for limit in (5, 3, 1, 5):
            state, _, _ = batches.advance(state, limit)
        assert batches._scan._cache_size() == 1
    assert int(state.step) == 14


def test_a_short_last_batch_is_a_step_of_its_own(tmp_path):
    whole = test_loop.train(tmp_path / "whole", *KEEP)
    assert whole.step == 8  # Four epochs of two steps.
    test_loop.train(tmp_path / "parts", *KEEP, "epochs=2")
    test_loop.assert_same_bits(whole, test_loop.train(tmp_path / "parts", *KEEP))


@pytest.mark.slow
def test_short_last_batches_on_eight_devices_and_of_several_seeds(tmp_path):
    one = test_loop.train(tmp_path / "one", *KEEP, "optim.name=sgd")
    eight = test_loop.train(tmp_path / "eight", *KEEP, "optim.name=sgd", devices=8)
    test_loop.assert_near(one.params, eight.params, atol=2e-5)
    two = test_loop.train(tmp_path / "two", *KEEP, "optim.name=sgd", "seeds=2")
    first = jax.tree.map(lambda leaf: leaf[0], two.params)
    test_loop.assert_near(one.params, first, atol=2e-5)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((RESIDENT,), "device_resident=True reads whole batches only"),
        (("data.batch_size=28", "accumulate=7"), "epoch of 20 does not divide"),
        (("data.last_batch=short",), "carry, keep"),
    ],
    ids=str,
)
def test_short_last_batches_that_cannot_be_read_are_refused(extra, message):
    with pytest.raises(errors.UserError, match=message):
        feed.check(test_loop.make_program(*KEEP, *extra))


def test_a_stream_beside_that_is_too_short_is_named():
    run = test_loop.make_run()
    with run.config.unlocked():
        run.config.data.beside.labels = dict(split="test", batch_size=21)
    program = program_lib.Program(run_lib.Run(run.config), devices=jax.devices()[:1])
    says = r"beside\.labels\.batch_size is 21, but the split 'test' has only 20 rec"
    with pytest.raises(errors.UserError, match=says):
        feed.check(program)
