"""What README says of files is true."""

import pathlib
import re
import subprocess
import sys

import jax
import numpy as np

from mvjax.core import config as config_lib
from mvjax.core import tree
from mvjax.train import loop
from mvjax.train import program as program_lib
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[1]
PRINTED = """
import jax, numpy, orbax.checkpoint
{code}
assert jax.device_count() == 1, jax.devices()
numpy.savez({output!r}, **{{jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state)}})
"""


def test_plain_orbax_opens_a_checkpoint_of_eight_devices(tmp_path, monkeypatch):
    config = config_lib.load(
        str(ROOT / "tests/toy/config.py"),
        ["epochs=1", "mesh.data=2", "mesh.fsdp=4", "method.width=8", "ema_decay=0.9"],
    )
    final = loop.train(
        program_lib.Program(run_lib.Run(config)), tmp_path / "w", progress=False
    )
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (code,) = [block for block in blocks if "PyTreeCheckpointer" in block]
    path = str(tmp_path / "w" / "checkpoints" / "3" / "state")
    code = re.sub(r'"[^"]*/checkpoints/\d+/state"', repr(path), code)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    code = PRINTED.format(code=code, output=str(tmp_path / "found.npz"))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        for part in ("params", "model_state", "ema"):
            leaves = tree.flatten(jax.device_get(getattr(final, part)))
            for name, leaf in leaves.items():
                key = f"{part}.{name.replace('/', '.')}"
                np.testing.assert_array_equal(found[key], leaf, err_msg=key)
        assert found["step"] == 3 and found["lr_scale"] == 1
        assert any(key.startswith("opt_state.main.") for key in found.files)
