"""The suite of all stages: each of its configs loads and has a few batches."""

import importlib.util
import pathlib

import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors
from mvjax.train import run as run_lib

ROOT = pathlib.Path(__file__).parents[1]


def get_suite(arg: str) -> dict:
    spec = importlib.util.spec_from_file_location("suite", ROOT / "configs/suite.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_suite(arg)


def test_every_method_and_every_folder_of_configs_has_a_stage(monkeypatch):
    monkeypatch.chdir(ROOT)
    suite = get_suite("debug")
    folders = {file.parent.name for file in (ROOT / "configs").glob("*/*.py")}
    assert {name.split("/")[0] for name in suite} == folders
    used = {config_lib.load(spec).method.name for spec, _ in suite.values()}
    methods = {file.stem for file in (ROOT / "mvjax/methods").glob("*.py")}
    # DeCUR's baselines share its step but for the loss.
    baselines = {"barlow_twins", "clip", "simclr", "vicreg"}
    assert methods - used - {"__init__"} == baselines


@pytest.mark.parametrize("arg", ["", "machine=gpu,dtype=bfloat16"])
def test_every_stage_has_some_batches_of_made_up_data(arg, monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, (spec, overrides) in get_suite(arg).items():
        config = config_lib.load(spec, overrides)
        assert config.data.synthetic, name
        assert run_lib.Run(config).steps_per_epoch == 4, name
        assert config.method.dtype == ("bfloat16" if arg else "float32"), name


def test_a_gpu_takes_the_published_batch(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, (spec, overrides) in get_suite("machine=gpu").items():
        published = config_lib.load(spec).data.batch_size
        batch = config_lib.load(spec, overrides).data.batch_size
        gpus = 4 if name.startswith("decur/") and name != "decur/cmx" else 1
        assert batch * gpus == published, name


def test_devices_enlarge_the_batch():
    for _, overrides in get_suite("machine=gpu,devices=32").values():
        assert int(overrides[0].removeprefix("data.batch_size=")) % 256 == 0
    with pytest.raises(errors.UserError, match="devices=0 must be at least 1"):
        get_suite("devices=0")


def test_debug_overrides_nothing():
    suite = get_suite("debug,machine=gpu")
    assert all(not overrides for _, overrides in suite.values())
    assert all(spec.endswith("debug") for spec, _ in suite.values())
    assert list(suite) == list(get_suite(""))


def test_other_machines_are_refused():
    with pytest.raises(errors.UserError, match="machine 'tpu'.*cpu, gpu"):
        get_suite("machine=tpu")
