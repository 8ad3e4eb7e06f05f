"""`--fast-cpu`: where it is refused, what it sets, and that the numbers stay the same."""

from importlib import metadata
import importlib.util
import os
import pathlib
import subprocess
import sys
import types

import ml_collections
import pytest

from mvjax import cli
from mvjax.commands import common
from mvjax.core import errors
from mvjax.core import process_settings

FLAG = "--xla_cpu_experimental_onednn_custom_call=true"
DEVICES = "--xla_force_host_platform_device_count"
VERSION = tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2])
COMMANDS = [
    ("train", "--config=no.py", "--workdir=w"),
    ("chain", "no.py", "--workdir=w"),
    ("search", "no.py", "--workdir=w", "--draw=seed=1|2"),
    ("evaluate", "--workdir=w"),
    ("embed", "--workdir=w", "--dataset=test", "--output=w.npz"),
    ("bench", "--config=no.py"),
]
# One process computes both: the setting is the process's, an option of the compiler undoes
# it for one program.
STEP = """
import sys
from mvjax import cli

arguments = ["bench", "--config=no.py", "--fast-cpu"]
cli._prepare(cli.make_parser().parse_args(arguments))

import jax
from flax import linen as nn
import jax.numpy as jnp
import numpy as np
from mvjax.models.layers import conv

class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        for i, strides in enumerate([(1, 1), (2, 2), (1, 1)]):
            x = nn.swish(conv.Conv2D(32, strides=strides, name=f"conv{i}")(x))
        return nn.Dense(64, name="dense")(nn.relu(x.reshape(len(x), -1)))

rng = np.random.default_rng(0)
x, y = (jnp.asarray(rng.normal(size=n), jnp.float32) for n in [(8, 16, 16, 24), (8, 64)])
variables = Net().init(jax.random.key(0), x)
step = jax.value_and_grad(lambda v, x: jnp.mean((Net().apply(v, x) - y) ** 2), (0, 1))
lowered = jax.jit(step).lower(variables, x)
undo = {"xla_cpu_experimental_onednn_custom_call": False}
fast, plain = lowered.compile(), lowered.compile(compiler_options=undo)
# The first kernel's and the images' gradients, so forward and input-gradient convolutions.
assert fast.as_text().count("__onednn$convolution") >= 5, "oneDNN is not called"
assert "__onednn" not in plain.as_text()
for a, b in zip(*map(jax.tree.leaves, (fast(variables, x), plain(variables, x)))):
    bound = 3e-6 * float(jnp.max(jnp.abs(b)))  # 25 roundings, of sums in another order.
    np.testing.assert_allclose(a, b, rtol=0, atol=bound)
"""


@pytest.fixture
def jaxlib(monkeypatch):
    """Has jaxlib 0.11 be there, without libtpu and what brings GPUs."""
    monkeypatch.setattr(metadata, "version", lambda name: "0.11.2")
    monkeypatch.setattr(metadata, "entry_points", lambda group: ())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return monkeypatch


@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: argv[0])
def test_each_command_that_takes_steps_refuses_it_in_one_line(
    capsys, tmp_path, monkeypatch, argv
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main([*argv, "--fast-cpu"])
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.endswith(", or leave --fast-cpu out.")
    # The tests have eight devices.
    reason = "needs jaxlib 0.11 " if VERSION < (0, 11) else "is for a single device"
    assert line.startswith(f"mvjax: error: --fast-cpu {reason}")
    assert FLAG not in os.environ["XLA_FLAGS"]
    assert "JAX_ENABLE_COMPILATION_CACHE" not in os.environ
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.9.2", "0.10.2"])
def test_an_older_jaxlib_would_do_nothing(jaxlib, version):
    jaxlib.setattr(metadata, "version", lambda name: version)
    words = rf"finds {version}: with Python 3.12 or later `pip install 'jax>=0.11"
    with pytest.raises(errors.UserError, match=words):
        process_settings.use_onednn({}, alone=True)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"JAX_PLATFORMS": "cuda,cpu"}, "set JAX_PLATFORMS=cpu"),
        ({"JAX_NUM_CPU_DEVICES": "8"}, "leave out JAX_NUM_CPU_DEVICES"),
        ({"XLA_FLAGS": f"{DEVICES}=1 {DEVICES}=2"}, f"or leave|and {DEVICES}"),
    ],
)
def test_it_is_for_one_cpu(jaxlib, environment, words):
    before = dict(environment)
    with pytest.raises(errors.UserError, match=words):
        process_settings.use_onednn(environment, alone=True)
    assert environment == before


def test_it_is_for_one_process_without_other_accelerators(jaxlib):
    with pytest.raises(errors.UserError, match="leave out --coordinator and"):
        process_settings.use_onednn({}, alone=False)
    jaxlib.setattr(metadata, "entry_points", lambda group: ("xla_cuda12",))
    with pytest.raises(errors.UserError, match="set JAX_PLATFORMS=cpu, or leave"):
        process_settings.use_onednn({}, alone=True)
    process_settings.use_onednn({"JAX_PLATFORMS": "cpu"}, alone=True)
    found = types.SimpleNamespace()
    jaxlib.setattr(importlib.util, "find_spec", lambda name: found)
    with pytest.raises(errors.UserError, match="libtpu.*use an environment without"):
        process_settings.use_onednn({}, alone=True)


def test_it_sets_the_flag_before_the_users_and_turns_the_cache_off(jaxlib):
    environment = {"XLA_FLAGS": f"--xla_x {DEVICES}=1", "JAX_NUM_CPU_DEVICES": "1"}
    process_settings.use_onednn(environment, alone=True)
    assert environment == {
        "XLA_FLAGS": f"{FLAG} --xla_x {DEVICES}=1",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }


def test_configs_with_code_from_outside_are_refused():
    config = ml_collections.ConfigDict({"method": {"name": "mrdd_consistency"}})
    foreign = ml_collections.ConfigDict({"method": {"name": "mine.net"}})
    asked, plain = (types.SimpleNamespace(fast_cpu=wanted) for wanted in (True, False))
    common.check_fast_cpu(asked, config)
    common.check_fast_cpu(plain, foreign)
    with pytest.raises(errors.UserError, match="names mine.net: leave --fast-cpu out"):
        common.check_fast_cpu(asked, foreign)


@pytest.mark.only_cpu
@pytest.mark.skipif(VERSION < (0, 11), reason="needs jaxlib 0.11")
def test_values_and_gradients_are_the_same_and_nothing_is_said(tmp_path):
    """One process, set as the command line does it, with a cache for what it can keep."""
    names = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "NPROC")  # Those of the tests.
    kept = {name: text for name, text in os.environ.items() if name not in names}
    here = str(pathlib.Path(process_settings.__file__).parents[2])
    given = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": here,
    }
    done = subprocess.run(
        [sys.executable, "-c", STEP], env=kept | given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and not (tmp_path / "xla").exists()
