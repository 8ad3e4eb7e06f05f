#!/usr/bin/env bash
# Steps that are dispatched one after the other without waiting overlap in memory on a CPU,
# though each needs the result of the one before: the scratch buffer of the next is taken
# before the last one's is freed. The process grows by at least one whole buffer over one
# that waits a moment for each step.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat > "$folder/steps.py" <<'PYTHON'
import ctypes
import resource
import sys
import time

# Freed memory stays with the process, so that its peak shows what lived side by side.
libc = ctypes.CDLL(None)
for option, value in ((-8, 1), (-4, 0), (-1, -1)):  # One arena, no mmap, no trimming.
    libc.mallopt(option, value)

import jax
import jax.numpy as jnp

wait = sys.argv[1] == "wait"


@jax.jit
def step(x):
    y = jnp.dot(x, x.T)  # 256 MB of scratch memory.
    return x + 1e-9 * jnp.dot(y, x)


x = jnp.ones((8192, 64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(12):
    x = step(x)
    if wait:
        x.block_until_ready()
        time.sleep(0.1)
x.block_until_ready()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
PYTHON
waited=$(JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/steps.py" wait)
queued=$(JAX_PLATFORMS=cpu "$folder/env/bin/python" "$folder/steps.py" queue)
echo "jax 0.10.2: 12 steps with 256 MB of scratch take $waited MB if each is waited for, $queued MB if not"
test "$queued" -ge $((waited + 200))
