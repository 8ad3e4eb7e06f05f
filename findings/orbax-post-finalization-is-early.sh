#!/usr/bin/env bash
# Orbax's `post_finalization_callback` of asynchronous checkpoints is called before the
# checkpoint has its final name: whoever hashes or uploads the step's folder there finds
# none. Only after `wait_until_finished` is it where it stays.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 orbax-checkpoint==0.12.1 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/env/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import pathlib
import sys

import numpy as np
import orbax.checkpoint as ocp

print("orbax-checkpoint", importlib.metadata.version("orbax-checkpoint"))
root = pathlib.Path(sys.argv[1]) / "checkpoints"
seen = []


def look():
    """Notes which folders there are."""
    seen.append(sorted(path.name for path in root.iterdir()))


asked = ocp.options.AsyncOptions(post_finalization_callback=look)
options = ocp.CheckpointManagerOptions(
    enable_async_checkpointing=True, async_options=asked
)
with ocp.CheckpointManager(root, options=options) as manager:
    manager.save(3, args=ocp.args.StandardSave({"x": np.zeros(1000)}))
    manager.wait_until_finished()
    after = sorted(path.name for path in root.iterdir())
print("in the callback:", seen)
print("after waiting: ", after)
assert after == ["3"], "changed: another name"
assert seen and all("3" not in names for names in seen), "changed: it has its name"
PYTHON
