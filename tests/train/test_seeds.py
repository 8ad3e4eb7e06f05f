"""Many seeds at once are the runs that they would be alone."""

import json

import jax
import numpy as np
import pytest

from mvjax.core import errors
from mvjax.train import seeds
from tests.train import test_loop

SETTINGS = ("epochs=2", "optim.name=sgd")


def test_each_seed_is_the_run_that_it_would_be_alone(tmp_path):
    together = test_loop.train(tmp_path / "three", *SETTINGS, "seeds=3", "seed=5")
    assert together.step.tolist() == [6, 6, 6]
    for i, seed in enumerate((5, 6, 7)):
        alone = test_loop.train(tmp_path / str(seed), *SETTINGS, f"seed={seed}")
        test_loop.assert_near(seeds.pick(together.params, i), alone.params, atol=1e-6)


def test_figures_are_those_of_the_seeds(tmp_path):
    test_loop.train(tmp_path, *SETTINGS, "seeds=3")
    found = json.loads((tmp_path / "evaluation.json").read_text())
    values = [e["knn"]["raw/accuracy"] for e in found["each"]]
    assert len(values) == 3
    results = found["results"]["knn"]
    assert results["raw/accuracy"] == pytest.approx(np.mean(values))
    assert results["raw/accuracy_std"] == pytest.approx(np.std(values, ddof=1))
    log = [m for m in test_loop.lines(tmp_path) if "loss" in m]
    assert log[-1]["loss_std"] > 0


def test_seeds_resume_to_the_same_bits(tmp_path):
    whole = test_loop.train(tmp_path / "whole", "epochs=2", "seeds=2")
    test_loop.train(tmp_path / "parts", "epochs=1", "seeds=2")
    test_loop.assert_same_bits(
        whole, test_loop.train(tmp_path / "parts", "epochs=2", "seeds=2")
    )


def test_a_replica_is_read_from_the_checkpoint(tmp_path):
    state = test_loop.train(tmp_path, *SETTINGS, "seeds=2")
    run = test_loop.make_run("seeds=2")
    with run.checkpoints(tmp_path, read_only=True) as saved:
        variables, _ = saved.variables(replica=1)
        test_loop.assert_same_bits(variables["params"], seeds.pick(state.params, 1))
        with pytest.raises(errors.UserError, match="holds 2 of them"):
            saved.variables(replica=2)


def test_a_stage_takes_the_same_seed_of_the_stage_before(tmp_path):
    state = test_loop.train(tmp_path, *SETTINGS, "seeds=2")
    program = test_loop.make_program("seeds=2")
    run = program.run
    with run.config.unlocked():
        run.config.warm_start = {
            "a": dict(source=str(tmp_path), take=dict(left="left"))
        }
    started = jax.device_get(program.initial_state())
    test_loop.assert_same_bits(started.params["left"], state.params["left"])
    assert not np.array_equal(
        started.params["right"]["kernel"], state.params["right"]["kernel"]
    )


@pytest.mark.slow
def test_seeds_are_sharded_like_one(tmp_path):
    one = test_loop.train(tmp_path / "one", *SETTINGS, "seeds=2")
    mesh = ("mesh.data=2", "mesh.fsdp=4")
    eight = test_loop.train(tmp_path / "eight", *SETTINGS, "seeds=2", *mesh, devices=8)
    test_loop.assert_near(one.params, eight.params, atol=2e-5)


def test_intervals_are_students():
    results = [{"a": {"x": v, "x_std": 9.0}} for v in (1.0, 2.0, 3.0)]
    (low, high) = seeds.intervals(results)["a"]["x"]
    # The 97.5 % point of Student's t with two degrees of freedom is 4.3027.
    assert (low, high) == pytest.approx(
        (2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), 1e-4
    )
    assert seeds.mean(results) == {"a": {"x": 2.0, "x_std": 1.0}}
