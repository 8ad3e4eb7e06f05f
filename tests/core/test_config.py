"""Configs: loading, overriding, refusing."""

import pathlib

import pytest

from mvjax.core import config as config_lib
from mvjax.core import errors

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob("configs/*/*.py"))
DIGITS = str(ROOT / "configs/mrdd/consistency.py") + ":dataset=digits"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
@pytest.mark.parametrize("arg", ["", "variant=released", "debug"])
def test_every_config_loads_and_survives_a_round_trip(path, arg, tmp_path):
    config = config_lib.load(f"{path}:{arg}")
    config_lib.save(config, tmp_path / "config.json")
    again = config_lib.read(tmp_path / "config.json")
    assert again.to_dict() == config.to_dict()


def test_overrides_keep_the_type():
    config = config_lib.load(
        DIGITS,
        [
            "optim.lr=3e-4",
            "epochs=7",
            "method.ch_mult=(1, 2)",
            "data.synthetic=true",
            "data.limit=100",
            "checkpoint.best=",
            "optim.clip_norm=2",
        ],
    )
    assert config.optim.lr == 3e-4
    assert config.epochs == 7
    assert config.method.ch_mult == (1, 2)
    assert config.data.synthetic is True
    assert config.data.limit == 100
    assert config.checkpoint.best == ""
    assert config.optim.clip_norm == 2.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "Did you mean 'lr'"),
        ("optimm.lr=1", "Did you mean 'optim'"),
        ("epochs=1.5", "wants int"),
        ("optim.lr=fast", "wants float"),
        ("data.synthetic=maybe", "wants bool"),
        ("optim=1", "holds several settings"),
        ("epochs", "lacks a value"),
        ("epochs.x=1", "Unknown key"),
        ("steps=5", "Unknown key"),
        ("epochs=0", "at least 1"),
        ("accumulate=7", "does not divide"),
    ],
)
def test_bad_overrides_are_refused_by_name(override, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(DIGITS, [override])


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("dataset=digitz", "Did you mean 'digits'"),
        ("variant=papr", "Did you mean 'paper'"),
        ("datset=digits", "Did you mean 'dataset'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arg, message):
    with pytest.raises(errors.UserError, match=message):
        config_lib.load(f"{ROOT}/configs/mrdd/consistency.py:{arg}")


def test_a_missing_file_lists_the_configs(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(errors.UserError, match="configs/mrdd/consistency.py"):
        config_lib.load("configs/mrdd/consistncy.py")
