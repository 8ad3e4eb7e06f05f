"""The debug run of a published config, made quicker: `short.py:name=dim/sdim`."""

import importlib.util
import pathlib

import ml_collections

from mvjax.core import config as config_lib

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
CODES = {"mrdd/consistency": "shared", "dim/sdim": "shared/x", "dim/edim": "private/x"}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    arg = config_lib.parse(arg, name="mrdd/consistency", stage1="", epochs=2)
    config_lib.choose("name", arg.name, tuple(CODES))
    spec = importlib.util.spec_from_file_location("short", CONFIGS / f"{arg.name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stage1 = f",stage1={arg.stage1}" if arg.stage1 else ""
    c = module.get_config(f"debug,dataset=digits{stage1}")
    c.epochs = arg.epochs
    if arg.name == "mrdd/consistency":
        c.method.ch_mult = (1,)
    c.checkpoint.every_epochs = 1
    probe = dict(name="knn", features=(CODES[arg.name],), k=3, runs=1, every_epochs=2)
    c.evals = dict(knn=probe)
    return c
