#!/usr/bin/env bash
# Orbax's BestN keeps another checkpoint than the best one as soon as one metric is NaN:
# of the scores 0.5, NaN, 0.4 with the largest wanted, the best is deleted. And of two
# equal scores best_step() gives the later one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import logging, math, sys
logging.disable(logging.CRITICAL)
from importlib import metadata
import numpy as np
import orbax.checkpoint as ocp

policies = ocp.checkpoint_managers.preservation_policy


def keep(name, scores):
    """Saves a step for each score; returns the steps that are left and the best."""
    score = lambda metrics: metrics["score"]
    options = ocp.CheckpointManagerOptions(
        best_fn=score,
        best_mode="max",
        preservation_policy=policies.AnyPreservationPolicy(
            [policies.LatestN(1), policies.BestN(get_metric_fn=score, n=1, reverse=False)]
        ),
    )
    with ocp.CheckpointManager(f"{sys.argv[1]}/{name}", options=options) as manager:
        for step, value in enumerate(scores, start=1):
            manager.save(
                step,
                args=ocp.args.StandardSave({"x": np.ones(2)}),
                metrics={"score": value},
            )
        manager.wait_until_finished()
        return sorted(manager.all_steps()), manager.best_step()


print("orbax-checkpoint", metadata.version("orbax-checkpoint"))
plain = keep("plain", [0.5, 0.3, 0.4])
nan, tie = keep("nan", [0.5, math.nan, 0.4]), keep("tie", [0.5, 0.5, 0.4])
print("0.5, 0.3, 0.4: kept, best", plain)
print("0.5, NaN, 0.4: kept, best", nan)
print("0.5, 0.5, 0.4: kept, best", tie)
assert plain == ([1, 3], 1), "changed: a plain run"
assert 1 not in nan[0], "changed: the best of 0.5, NaN, 0.4 is kept"
assert tie[1] == 2, "changed: the earlier of equal scores is the best"
PYTHON
