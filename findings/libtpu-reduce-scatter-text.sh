#!/usr/bin/env bash
# A product whose sum is split over the chips of a TPU, and whose result is wanted in parts,
# needs a reduce-scatter. In the text of the compiled program there is none: libtpu writes an
# all-reduce of the whole result and a slice of it, inside a computation that is named
# all-reduce-scatter and run as one fusion. Who counts what is sent from the text counts it
# twice. Compiled without a TPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 libtpu==0.0.42.1 numpy==2.4.6
env -u XLA_FLAGS -u TPU_ACCELERATOR_TYPE JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 \
  ALLOW_MULTIPLE_LIBTPU_LOAD=1 "$folder/env/bin/python" - 2>/dev/null <<'PYTHON'
import re

import jax
from jax.experimental import topologies
import jax.numpy as jnp
import numpy as np

topology = topologies.get_topology_desc(
    platform="tpu", topology_name="v5e:2x4", chips_per_host_bounds=(2, 2, 1)
)
mesh = jax.sharding.Mesh(np.array(topology.devices), ("data",))


def split(*axes):
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


multiply = jax.jit(
    jnp.matmul,
    in_shardings=(split(None, "data"), split("data", None)),
    out_shardings=split("data", None),
)
shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1024, 8192), (8192, 4096))]
lowered = multiply.trace(*shapes).lower(lowering_platforms=("tpu",))
program = lowered.compile().as_text()
scatters = len(re.findall(r" reduce-scatter(-start)?\(", program))
reduces = re.findall(r"= (\S+?)\{\S* all-reduce\(", program)
named = len(re.findall(r"^%all-reduce-scatter\S* \(", program, re.M))
print(f"jax {jax.__version__}: {scatters} reduce-scatters, all-reduces of {reduces},")
print(f"{named} computation named all-reduce-scatter")
assert (scatters, reduces, named) == (0, ["f32[1024,4096]"], 1), "changed"
PYTHON
